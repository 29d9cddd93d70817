/* SPDX-License-Identifier: MIT */
/*
 * thaw -- `zalloc thaw`, `zalloc resume` and `zalloc stats PID`: what may be asked of a running
 * process.
 */
#include <stdio.h>
#include <string.h>

#include "base/fmt.h"
#include "base/stat.h"
#include "tool/live.h"
#include "tool/tool.h"

#define TEXT_BYTES (64 * 1024)

static int want_pid(int argc, char **argv)
{
    if (argc < 2)
        return za_tool_complain("%s: a process id is missing", argv[0]);
    if (argc > 2)
        return za_tool_complain("%s: unexpected argument \"%s\"", argv[0], argv[2]);
    return 0;
}

/* The pager is not there, or not yet: what it would have to know is left for it. */
static int thaw_nothing(struct za_live *l)
{
    if (!za_live_set_held(l, 1))
        return EXIT_NO;
    (void)printf("nothing to thaw: process %d has never taken a page out, and will not before "
                 "`zalloc resume %d`\n",
                 (int)l->pid, (int)l->pid);
    return 0;
}

static int thaw_done(const struct za_live *l)
{
    const struct za_door *d = &l->anchor.door;
    unsigned long long pages = d->pages, bytes = pages << l->pager.page_shift, left = d->left;
    (void)printf(
        "%llu pages (%llu bytes) brought back; process %d stays whole until `zalloc resume "
        "%d`\n",
        pages, bytes, (int)l->pid, (int)l->pid);
    if (left == 0)
        return 0;
    (void)za_tool_complain("process %d: %llu pages could not be brought back", (int)l->pid, left);
    return EXIT_NO;
}

int za_tool_thaw(int argc, char **argv)
{
    struct za_live l;
    int rc = want_pid(argc, argv);
    if (rc != 0)
        return rc;
    if (!za_live_find(&l, argv[1]))
        return EXIT_NO;
    switch (za_live_ask(&l, ZA_DOOR_HOLD)) {
    case ZA_LIVE_DONE: return thaw_done(&l);
    case ZA_LIVE_NO_WORKER: return thaw_nothing(&l);
    default: return EXIT_NO;
    }
}

int za_tool_resume(int argc, char **argv)
{
    struct za_live l;
    int rc = want_pid(argc, argv);
    if (rc != 0)
        return rc;
    if (!za_live_find(&l, argv[1]))
        return EXIT_NO;
    bool held = l.anchor.door.held != 0;
    enum za_live_end end = za_live_ask(&l, ZA_DOOR_RELEASE);
    if (end == ZA_LIVE_FAILED || (end == ZA_LIVE_NO_WORKER && !za_live_set_held(&l, 0)))
        return EXIT_NO;
    if (end == ZA_LIVE_DONE && l.anchor.door.left != 0) {
        (void)za_tool_complain(
            "process %d stays whole: the kernel refuses to watch its memory again "
            "just now; try later",
            (int)l.pid);
        return EXIT_NO;
    }
    (void)printf(held ? "process %d may take cold pages out again\n"
                      : "process %d was not held: nothing has changed\n",
                 (int)l.pid);
    return 0;
}

/* Gauges are measured by the worker; counters are right at every moment. */
static bool refresh(struct za_live *l)
{
    enum za_live_end end = ZA_LIVE_NO_WORKER;
    if (!za_live_stopped(l))
        end = za_live_ask(l, ZA_DOOR_STATS);
    if (end == ZA_LIVE_NO_WORKER)
        (void)za_tool_complain("process %d: nobody there to measure (stopped, or no worker yet): "
                               "gauges are as last measured",
                               (int)l->pid);
    return end != ZA_LIVE_FAILED;
}

int za_tool_stats_of(const char *pid, bool json)
{
    static char text[TEXT_BYTES];
    struct za_live l;
    struct za_fmt f;
    if (!za_live_find(&l, pid) || !refresh(&l))
        return EXIT_NO;
    if (!za_live_read(&l, (uintptr_t)l.anchor.stats, za_stats, sizeof(za_stats))) {
        (void)za_tool_complain("process %d has ended", (int)l.pid);
        return EXIT_NO;
    }
    za_fmt_init(&f, text, sizeof(text));
    if (json)
        za_stat_json(&f);
    else
        za_stat_print(&f);
    (void)fwrite(f.buf, 1, f.len, stdout);
    if (f.len > 0 && f.buf[f.len - 1] != '\n')
        (void)putchar('\n');
    return 0;
}
