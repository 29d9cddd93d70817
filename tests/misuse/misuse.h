/* SPDX-License-Identifier: MIT */
/*
 * misuse -- what the programs here share: saying the pointer before misusing it.
 *
 * Each program does one wrong thing, on purpose, and returns 0 if nobody stops it.  NAME.expect
 * holds the one line it must die with; PTR there is the pointer the program announced.
 */
#ifndef ZA_TESTS_MISUSE_MISUSE_H
#define ZA_TESTS_MISUSE_MISUSE_H

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Prints p as za_fatal_ptr does, without stdio: its buffers would come from the heap under test.
 * From here on the program has 20 seconds.
 */
static inline void *announce(void *p)
{
    char text[19] = "0x", *at = text + 2;
    uintptr_t v = (uintptr_t)p;
    int shift = 60;

    while (shift > 0 && !(v >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[(v >> shift) & 15];
    *at++ = '\n';
    alarm(20);
    if (write(1, text, (size_t)(at - text)) < 0)
        _exit(3);
    return p;
}

/* The same pointer, its history hidden from the compiler. */
static inline void *hide(void *p)
{
    __asm__ volatile("" : "+r"(p));
    return p;
}

/* A pointer some bytes into a block. */
static inline void *inside(void *p, size_t bytes)
{
    return hide((char *)p + bytes);
}

#endif
