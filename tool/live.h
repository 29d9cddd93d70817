/* SPDX-License-Identifier: MIT */
/*
 * live -- a running process under libzalloc.so, seen through the anchor in its memory
 * (pager/door.h).
 */
#ifndef ZA_TOOL_LIVE_H
#define ZA_TOOL_LIVE_H

#include <sys/types.h>

#include "pager/door.h"

struct za_live {
    pid_t pid;
    uintptr_t at;            /* where its anchor is */
    struct za_anchor anchor; /* a copy, as last read */
    struct za_pager pager;   /* likewise */
};

enum za_live_end {
    ZA_LIVE_DONE,
    ZA_LIVE_NO_WORKER, /* its pager has not started, or could not: nobody is there to answer */
    ZA_LIVE_FAILED,    /* a line has been printed */
};

/* Finds the process named by `text` and reads its anchor; false after a line on standard error. */
bool za_live_find(struct za_live *l, const char *text);
/*
 * Asks and waits for the answer, which is in l->anchor.door afterwards. Gives up on a process that
 * shows no progress for ten seconds.
 */
enum za_live_end za_live_ask(struct za_live *l, enum za_door_op op);
/* Without asking: from now on nothing is taken out (1), or it may be again (0). */
bool za_live_set_held(struct za_live *l, uint32_t held);
bool za_live_read(const struct za_live *l, uintptr_t from, void *to, size_t len);
bool za_live_stopped(const struct za_live *l);

#endif
