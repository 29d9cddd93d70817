/* SPDX-License-Identifier: MIT */
/* plugin -- the library that life.c loads and unloads: makes and drops blocks. */
#include <stdlib.h>
#include <string.h>

char *plugin_make(size_t n);
void plugin_drop(char *p);

static char *own;

__attribute__((constructor)) static void construct(void)
{
    own = malloc(77);
}

__attribute__((destructor)) static void destruct(void)
{
    free(own);
}

char *plugin_make(size_t n)
{
    char *p = malloc(n);
    memset(p, 'p', n);
    return p;
}

void plugin_drop(char *p)
{
    free(p);
}
