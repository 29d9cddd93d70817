/* SPDX-License-Identifier: MIT */
/* realloc_freed_large -- a freed large block given to realloc. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = announce(malloc(3000000));

    free(hide(p));
    if (realloc(hide(p), 6000000))
        return 4;
    return 0;
}
