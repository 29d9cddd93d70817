/* SPDX-License-Identifier: MIT */
/*
 * live -- finds the anchor in another process, puts requests into its letter box, waits.
 *
 * Everything goes through process_vm_readv and process_vm_writev, which the kernel allows to whom
 * it allows to trace the process; nothing is stopped, attached to or signalled.
 */
#define _GNU_SOURCE
#include "tool/live.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "tool/tool.h"

#define PIECE ((size_t)1 << 20)
#define LOOK_NS 10000000L
#define LOOKS (10 * (1000000000L / LOOK_NS)) /* ten seconds */

bool za_live_read(const struct za_live *l, uintptr_t from, void *to, size_t len)
{
    struct iovec here = {to, len}, there = {(void *)from, len};
    return process_vm_readv(l->pid, &here, 1, &there, 1, 0) == (ssize_t)len;
}

static bool write_word(const struct za_live *l, size_t offset, uint32_t word)
{
    struct iovec here = {&word, sizeof(word)};
    struct iovec there = {(void *)(l->at + offsetof(struct za_anchor, door) + offset),
                          sizeof(word)};
    return process_vm_writev(l->pid, &here, 1, &there, 1, 0) == (ssize_t)sizeof(word);
}

/* ---- what to say ----------------------------------------------------------------------------- */

static FILE *open_proc(pid_t pid, const char *name)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    return fopen(path, "re");
}

/* The letter behind the name in /proc/PID/stat; 0: no such process. */
static char state_of(pid_t pid)
{
    char line[512], *end = NULL;
    FILE *f = open_proc(pid, "stat");
    if (f && fgets(line, sizeof(line), f))
        end = strrchr(line, ')');
    if (f)
        (void)fclose(f);
    return end && end[1] == ' ' ? end[2] : '\0';
}

bool za_live_stopped(const struct za_live *l)
{
    char s = state_of(l->pid);
    return s == 'T' || s == 't';
}

static bool gone(pid_t pid)
{
    char s = state_of(pid);
    return s == '\0' || s == 'Z' || s == 'X';
}

static bool no_such(pid_t pid)
{
    (void)za_tool_complain("no process %d", (int)pid);
    return false;
}

static bool not_permitted(pid_t pid)
{
    char scope = '0';
    FILE *f = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
    if (f) {
        scope = (char)fgetc(f);
        (void)fclose(f);
    }
    if (scope == '0')
        (void)za_tool_complain("process %d: not permitted; be its user, or root", (int)pid);
    else
        (void)za_tool_complain(
            "process %d: not permitted; be root (kernel.yama.ptrace_scope is %c)", (int)pid, scope);
    return false;
}

static bool refused(pid_t pid, int err)
{
    if (gone(pid))
        return no_such(pid);
    if (err == EPERM || err == EACCES)
        return not_permitted(pid);
    (void)za_tool_complain("process %d: %s", (int)pid, strerror(err));
    return false;
}

static bool other_version(pid_t pid)
{
    (void)za_tool_complain("process %d runs under another version of libzalloc; use its own zalloc",
                           (int)pid);
    return false;
}

/* ---- finding the anchor ---------------------------------------------------------------------- */

enum find { NOT_HERE, FOUND, FORBIDDEN };

struct mapping {
    uintptr_t from, to;
    bool file_data; /* private, writable, of a file */
    bool ours;      /* of a file named libzalloc.so */
};

static bool parse(const char *line, struct mapping *m)
{
    unsigned long from, to, inode;
    char perms[5];
    if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &from, &to, perms, &inode) != 4 || to <= from)
        return false;
    m->from = from;
    m->to = to;
    m->file_data = inode != 0 && strcmp(perms, "rw-p") == 0;
    m->ours = strstr(line, "/libzalloc.so") != NULL;
    return true;
}

static bool genuine(const char *p, uintptr_t at)
{
    const struct za_anchor *a = (const struct za_anchor *)p;
    return memcmp(a->magic, ZA_ANCHOR_MAGIC, sizeof(a->magic)) == 0 && (uintptr_t)a->self == at;
}

static enum find search(struct za_live *l, const struct mapping *m, char *buf)
{
    for (uintptr_t at = m->from; at < m->to; at += PIECE) {
        size_t n = za_min(PIECE, m->to - at);
        if (!za_live_read(l, at, buf, n)) {
            if (errno == EPERM)
                return FORBIDDEN;
            continue;
        }
        for (size_t i = 0; i + offsetof(struct za_anchor, bytes) <= n; i += ZA_ANCHOR_ALIGN) {
            if (!genuine(buf + i, at + i))
                continue;
            l->at = at + i;
            return FOUND;
        }
    }
    return NOT_HERE;
}

/* *ours: a file of our name is mapped. */
static enum find search_all(struct za_live *l, FILE *maps, bool *ours)
{
    char line[4400];
    struct mapping m;
    enum find end = NOT_HERE;
    char *buf = malloc(PIECE);
    while (buf && end == NOT_HERE && fgets(line, sizeof(line), maps)) {
        if (!parse(line, &m))
            continue;
        *ours |= m.ours;
        if (m.file_data)
            end = search(l, &m, buf);
    }
    free(buf);
    return end;
}

static bool read_anchor(struct za_live *l)
{
    static const uint64_t mine[ZA_LAYOUT_WORDS] = ZA_LAYOUT;
    const struct za_anchor *a = &l->anchor;
    if (!za_live_read(l, l->at, &l->anchor, sizeof(l->anchor)) || !genuine((const char *)a, l->at))
        return refused(l->pid, ESRCH);
    if (a->bytes != sizeof(*a) || memcmp(a->layout, mine, sizeof(mine)) != 0)
        return other_version(l->pid);
    if (!za_live_read(l, (uintptr_t)a->pager, &l->pager, sizeof(l->pager)))
        return refused(l->pid, errno);
    return true;
}

static bool parse_pid(const char *text, pid_t *pid)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    *pid = (pid_t)n;
    return errno == 0 && end != text && !*end && n > 0 && n == (long)*pid;
}

bool za_live_find(struct za_live *l, const char *text)
{
    bool ours = false;
    memset(l, 0, sizeof(*l));
    if (!parse_pid(text, &l->pid)) {
        (void)za_tool_complain("\"%s\" is no process id", text);
        return false;
    }
    FILE *maps = open_proc(l->pid, "maps");
    if (!maps)
        return errno == ENOENT ? no_such(l->pid) : refused(l->pid, errno);
    enum find end = search_all(l, maps, &ours);
    bool unreadable = ferror(maps) != 0;
    (void)fclose(maps);
    if (end == FORBIDDEN || unreadable)
        return refused(l->pid, EPERM);
    if (end == FOUND)
        return read_anchor(l);
    if (gone(l->pid))
        return no_such(l->pid);
    if (ours)
        return other_version(l->pid);
    (void)za_tool_complain("process %d does not run under libzalloc", (int)l->pid);
    return false;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static bool post(struct za_live *l, enum za_door_op op, uint32_t *ring)
{
    *ring = l->anchor.door.ring + 1;
    return write_word(l, offsetof(struct za_door, op), (uint32_t)op) &&
           write_word(l, offsetof(struct za_door, ring), *ring);
}

/* A child that forks had no worker with it: its fault thread starts one when the bell is touched. */
static void wake_worker(const struct za_live *l)
{
    char byte;
    if (!l->pager.worker_up && l->pager.mirror)
        (void)za_live_read(l, l->pager.mirror + l->pager.size, &byte, 1);
}

static bool moved(const struct za_door *was, const struct za_door *is)
{
    return was->working != is->working || was->answered != is->answered ||
           was->progress != is->progress;
}

static enum za_live_end give_up(struct za_live *l)
{
    uint32_t answered = l->anchor.door.answered;
    (void)write_word(l, offsetof(struct za_door, ring), answered); /* the request is withdrawn */
    if (gone(l->pid))
        (void)za_tool_complain("process %d has ended", (int)l->pid);
    else if (za_live_stopped(l))
        (void)za_tool_complain("process %d is stopped (signal or debugger) and cannot answer; "
                               "continue it first",
                               (int)l->pid);
    else
        (void)za_tool_complain("process %d has not answered within 10 seconds", (int)l->pid);
    return ZA_LIVE_FAILED;
}

/* Waits for the answer to `ring`; another asker's request may have come in between. */
static enum za_live_end await(struct za_live *l, enum za_door_op op, uint32_t ring)
{
    const struct timespec look = {0, LOOK_NS};
    const struct za_door *d = &l->anchor.door;
    for (long quiet = 0; quiet < LOOKS; quiet++) {
        struct za_door was = *d;
        (void)nanosleep(&look, NULL);
        if (!za_live_read(l, l->at, &l->anchor, sizeof(l->anchor)) ||
            !genuine(l->anchor.magic, l->at))
            return give_up(l);
        if (d->answered == ring)
            return ZA_LIVE_DONE;
        if (moved(&was, d))
            quiet = 0;
        if (d->ring != ring && d->ring == d->answered && !post(l, op, &ring))
            return give_up(l);
        if (za_live_stopped(l))
            return give_up(l);
    }
    return give_up(l);
}

enum za_live_end za_live_ask(struct za_live *l, enum za_door_op op)
{
    uint32_t ring;
    if (l->pager.life != ZA_LIFE_STARTED)
        return ZA_LIVE_NO_WORKER;
    if (za_live_stopped(l))
        return give_up(l);
    if (!post(l, op, &ring)) {
        (void)refused(l->pid, errno);
        return ZA_LIVE_FAILED;
    }
    wake_worker(l);
    return await(l, op, ring);
}

bool za_live_set_held(struct za_live *l, uint32_t held)
{
    return write_word(l, offsetof(struct za_door, held), held) || refused(l->pid, errno);
}
