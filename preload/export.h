/* SPDX-License-Identifier: MIT */
/*
 * export -- the one way a name leaves the library; everything else is hidden.
 *
 * Code of ours never calls an exported name: it calls the za_ function behind it, so that a program
 * that defines a malloc of its own, or a wrapper loaded before us, cannot come between our own
 * halves.
 */
#ifndef ZA_PRELOAD_EXPORT_H
#define ZA_PRELOAD_EXPORT_H

#include "base/base.h"

#define ZA_EXPORT __attribute__((visibility("default")))
/* Another exported name for a function of the same file; gcc wants its attributes too. */
#ifdef __has_attribute
#if __has_attribute(copy)
#define ZA_COPY(target) __attribute__((copy(target)))
#endif
#endif
#ifndef ZA_COPY
#define ZA_COPY(target)
#endif
#define ZA_EXPORT_ALIAS(target) ZA_EXPORT ZA_COPY(target) __attribute__((alias(#target)))

#endif
