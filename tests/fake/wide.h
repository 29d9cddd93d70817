/* SPDX-License-Identifier: MIT */
/*
 * wide -- an operating system whose pages are larger than this machine's: 16 or 64 KiB made of
 * small ones that come and go together.
 *
 * It refuses what the kernel with such pages refuses and this one would let pass: an address or a
 * length that is no multiple of the page fails the test.  What it cannot have is their atomicity
 * towards the program: a page is moved in one call of this machine's, small page by small page, and
 * a first touch brings a small page alone, which becomes whole when it is copied to, filled or
 * moved.
 */
#ifndef ZA_TESTS_FAKE_WIDE_H
#define ZA_TESTS_FAKE_WIDE_H

#include <stddef.h>

/*
 * After za_os_init: makes za_os one of such pages (a power of two); the machine's own if it has
 * them, or smaller ones are asked for.
 */
void wide_start(size_t page_bytes);

#endif
