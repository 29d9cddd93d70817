/* SPDX-License-Identifier: MIT */
/*
 * core -- `zalloc core CORE [-o OUT]`: a core file with every page in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool/expand.h"
#include "tool/tool.h"

struct names {
    const char *core;
    const char *out;
};

static int arguments(int argc, char **argv, struct names *n)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0 && i + 1 < argc)
            n->out = argv[++i];
        else if (strcmp(argv[i], "-o") == 0)
            return za_tool_complain("core: -o needs the name of a file");
        else if (argv[i][0] == '-' && argv[i][1] != '\0')
            return za_tool_complain("core: unknown option \"%s\"", argv[i]);
        else if (n->core)
            return za_tool_complain("core: unexpected argument \"%s\"", argv[i]);
        else
            n->core = argv[i];
    }
    return n->core ? 0 : za_tool_complain("core: a core file is missing");
}

static int no(const char *path, const char *why)
{
    (void)za_tool_complain("%s: %s", path, why);
    return EXIT_NO;
}

static void lost(const char *core, uint64_t pages, const char *why)
{
    if (pages > 0)
        (void)za_tool_complain("%s: %llu pages lost: %s", core, (unsigned long long)pages, why);
}

static int tell(const struct names *n, const struct za_core *c, const struct za_expanded *s)
{
    uint64_t back = s->stored + s->limbo;
    unsigned long long bytes = back << s->page_shift;
    uint64_t gone = s->cut + s->absent + s->filed + s->damaged + s->unwritten + s->unknown;
    (void)printf("%s: %llu pages (%llu bytes) put back: %llu from the store, %llu from limbo; %llu "
                 "were there, %llu are lost\n",
                 n->out, (unsigned long long)back, bytes, (unsigned long long)s->stored,
                 (unsigned long long)s->limbo, (unsigned long long)s->at_home,
                 (unsigned long long)gone);
    if (c->cut > 0)
        (void)za_tool_complain("%s: cut short: the last %llu bytes are missing", n->core,
                               (unsigned long long)c->cut);
    lost(n->core, s->cut, "what they need is beyond its end");
    lost(n->core, s->absent, "what they need was not dumped");
    lost(n->core, s->filed, "they were in the file tier, whose file died with the process");
    lost(n->core, s->damaged, "damaged, their checksums differ");
    lost(n->core, s->unwritten, "no segment has their address");
    lost(n->core, s->unknown, "their records are not in it");
    return gone || c->cut ? EXIT_NO : 0;
}

static int expand(const struct names *n, struct za_core *c, struct za_expand *x)
{
    struct za_expanded sum;
    const char *bad = za_core_copy(c, n->out);
    if (bad)
        return no(n->out, bad);
    if (!za_expand_all(x, &sum)) {
        bad = strerror(errno);
        (void)unlink(n->out);
        return no(n->out, bad);
    }
    bad = za_core_finish(c);
    if (bad) {
        (void)unlink(n->out);
        return no(n->out, bad);
    }
    return tell(n, c, &sum);
}

int za_tool_core(int argc, char **argv)
{
    struct names n = {NULL, NULL};
    struct za_core c;
    struct za_expand *x = NULL;
    char *name = NULL;
    int rc = arguments(argc, argv, &n);
    if (rc != 0)
        return rc;
    if (!n.out) {
        if (asprintf(&name, "%s.expanded", n.core) < 0)
            return no(n.core, strerror(ENOMEM));
        n.out = name;
    }
    const char *bad = za_core_open(&c, n.core);
    if (!bad)
        bad = za_expand_find(&c, &x);
    rc = bad ? no(n.core, bad) : expand(&n, &c, x);
    za_expand_free(x);
    za_core_close(&c);
    free(name);
    return rc;
}
