/* SPDX-License-Identifier: MIT */
/*
 * life_plugin -- a library that allocates when it comes and when it goes; loaded by life.
 *
 * Bound to its own malloc it must not free what libc allocated for it (strdup): no replaced malloc
 * survives that, since libc's own free is called with a block that is not libc's.
 */
#include <stdlib.h>
#include <string.h>

void *plugin_block(size_t len);
int plugin_right(void);

static char *kept[8];

__attribute__((constructor)) static void come(void)
{
    for (unsigned i = 0; i < 8; i++) {
        kept[i] = malloc(30000u << i % 4);
        if (kept[i])
            memset(kept[i], 'a' + (int)i, 30000);
    }
}

int plugin_right(void)
{
    for (unsigned i = 0; i < 8; i++)
        for (unsigned k = 0; k < 30000; k++)
            if (!kept[i] || kept[i][k] != 'a' + (int)i)
                return 0;
    return 1;
}

/* The caller frees it, with whatever free it has. */
void *plugin_block(size_t len)
{
    return malloc(len);
}

__attribute__((destructor)) static void leave(void)
{
    if (!plugin_right())
        abort();
    for (unsigned i = 0; i < 8; i++)
        free(kept[i]);
}
