/* SPDX-License-Identifier: MIT */
/* double_free_large -- a large block, freed twice. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = announce(malloc(5000000));

    free(hide(p));
    free(hide(p));
    return 0;
}
