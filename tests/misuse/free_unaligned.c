/* SPDX-License-Identifier: MIT */
/* free_unaligned -- a pointer one byte into a block. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = malloc(200);

    free(announce(inside(p, 1)));
    return 0;
}
