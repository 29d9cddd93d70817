/* SPDX-License-Identifier: MIT */
/* free_interior_large -- a pointer one page into a large block. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = malloc(5000000);

    free(announce(inside(p, 4096)));
    return 0;
}
