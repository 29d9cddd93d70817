/* SPDX-License-Identifier: MIT */
/*
 * file -- plain files by raw system calls: a whole buffer out, one environment variable in.
 *
 * No stdio, no malloc, no errno, no cancellation point.
 */
#ifndef ZA_PRELOAD_FILE_H
#define ZA_PRELOAD_FILE_H

#include "base/base.h"

/* Writes all of it; 0 or -errno. */
int za_file_write(int fd, const char *s, size_t len);
/* Creates or empties `path` and writes all of it; 0 or -errno. */
int za_file_replace(const char *path, const char *s, size_t len);
/* Value of a variable in /proc/self/environ: its length, cut at cap - 1; -ENOENT and others. */
long za_file_variable(const char *name, char *out, size_t cap);

#endif
