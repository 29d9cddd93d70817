/* SPDX-License-Identifier: MIT */
/*
 * check -- what the programs of tests/conform share:
 * a check that tells where it failed and goes on, and the end.
 *
 * The programs are built without the compiler's knowledge of malloc (-fno-builtin):
 * every call is made.
 */
#ifndef ZA_CONFORM_CHECK_H
#define ZA_CONFORM_CHECK_H

#include <stdio.h>
#include <stdlib.h>

static int check_failures;

#define CHECK(e) \
    do { \
        if (!(e)) { \
            check_failures++; \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #e); \
        } \
    } while (0)

static inline int check_end(void)
{
    return check_failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
