/* SPDX-License-Identifier: MIT */
/* free_after_realloc -- the old pointer freed after realloc moved the block. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = announce(malloc(64)), *q = realloc(hide(p), 100000);

    if (q == p)
        return 4;
    free(hide(p));
    return 0;
}
