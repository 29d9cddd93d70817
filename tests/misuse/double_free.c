/* SPDX-License-Identifier: MIT */
/* double_free -- freed twice in a row. */
#include "tests/misuse/misuse.h"

int main(void)
{
    void *p = announce(malloc(100));

    free(hide(p));
    free(hide(p));
    return 0;
}
