/* SPDX-License-Identifier: MIT */
/* realloc_freed -- a freed block given to realloc. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = announce(malloc(200));

    free(hide(p));
    if (realloc(hide(p), 4000))
        return 4;
    return 0;
}
