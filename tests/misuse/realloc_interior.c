/* SPDX-License-Identifier: MIT */
/* realloc_interior -- a pointer into a block given to realloc. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = malloc(200), *q = announce(inside(p, 16));

    if (realloc(hide(q), 4000))
        return 4;
    return 0;
}
