/* SPDX-License-Identifier: MIT */
/* free_deep_in_large -- a pointer into a later unit of a large block. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = malloc(5000000);

    free(announce(inside(p, 3 * (size_t)65536)));
    return 0;
}
