/* SPDX-License-Identifier: MIT */
/* free_interior -- a pointer one granule into a block. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = malloc(200);

    free(announce(inside(p, 16)));
    return 0;
}
