/* SPDX-License-Identifier: MIT */
/* double_free_aligned -- an aligned block, freed twice. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = announce(aligned_alloc(256, 512));

    free(hide(p));
    free(hide(p));
    return 0;
}
