/* SPDX-License-Identifier: MIT */
/*
 * tier -- see tier.h.
 *
 * Locks: none.  May sleep: in I/O.  May fault: own memory only.  Allocates: keys, via ops.
 */
#include "compress/tier.h"

#include <errno.h>
#include <string.h>

#include "base/stat.h"
#include "compress/segment.h"
#include "os/os.h"

static uint64_t place_of(uint32_t slot)
{
    return (uint64_t)slot * ZA_SEGMENT_BYTES;
}

static uint32_t whole_blocks(uint32_t bytes)
{
    return (uint32_t)za_align_up(bytes, ZA_TIER_BLOCK);
}

size_t za_tier_key_bytes(void)
{
    return za_align_up(ZA_TIER_FILES * sizeof(uint8_t[ZA_CHACHA_KEY]), za_os->page_size);
}

static void scramble(const struct za_tier *t, const struct za_tier_place *p, uint32_t at,
                     void *bytes, uint32_t len)
{
    uint8_t nonce[ZA_CHACHA_NONCE] = {0};
    memcpy(nonce, &p->serial, sizeof(p->serial));
    za_chacha20(t->keys[p->file], nonce, at, bytes, len);
}

/* ---- files ---- */

static void drop_file(struct za_tier *t, struct za_tier_file *f)
{
    if (f->fd >= 0)
        (void)za_os->close(f->fd);
    memset(t->keys[f - t->file], 0, ZA_CHACHA_KEY);
    *f = (struct za_tier_file){.fd = -1};
}

/* 0: file i is new, and empty. */
static int new_file(struct za_tier *t, unsigned i)
{
    struct za_tier_file *f = &t->file[i];
    int r = t->dir < 0 ? t->dir : za_os->random(t->keys[i], ZA_CHACHA_KEY);
    int fd = r < 0 ? r : za_os->tier_open(t->dir);
    if (fd < 0)
        return fd;
    *f = (struct za_tier_file){.fd = fd, .used = true, .mine = true, .born = t->serial + 1};
    return 0;
}

/* May the file be written? A seal is broken when nobody else has the file any more. */
static bool may_write(struct za_tier_file *f)
{
    if (!f->used || !f->mine || f->for_good)
        return false;
    if (f->sealed && za_os->tier_alone(f->fd) == 1) {
        f->sealed = false;
        f->sweep = f->left_bytes > 0;
    }
    return !f->sealed;
}

/* A file to write to: one there is, or a new one. */
static int choose(struct za_tier *t)
{
    int vacant = -1;
    for (unsigned i = 0; i < ZA_TIER_FILES; i++) {
        if (may_write(&t->file[i]))
            return (int)i;
        if (!t->file[i].used && vacant < 0)
            vacant = (int)i;
    }
    if (vacant < 0)
        return -EMFILE;
    int r = new_file(t, (unsigned)vacant);
    return r < 0 ? r : vacant;
}

int za_tier_open(struct za_tier *t, const char *path, const struct za_store_ops *ops)
{
    memset(t, 0, sizeof(*t));
    for (unsigned i = 0; i < ZA_TIER_FILES; i++)
        t->file[i].fd = -1;
    t->dir = za_os->tier_dir(path);
    if (t->dir < 0)
        return t->dir;
    t->keys = ops->map(za_tier_key_bytes());
    int r = t->keys ? new_file(t, 0) : -ENOMEM;
    if (r < 0) {
        za_tier_close(t, ops);
        return r;
    }
    (void)za_os->hide(t->keys, za_tier_key_bytes());
    return 0;
}

void za_tier_forget(struct za_tier *t, const struct za_store_ops *ops)
{
    void *keys = t->keys;

    memset(t, 0, sizeof(*t)); /* first: segment.h I8 */
    t->dir = -1;
    if (keys)
        ops->unmap(keys, za_tier_key_bytes());
}

void za_tier_close(struct za_tier *t, const struct za_store_ops *ops)
{
    for (unsigned i = 0; t->keys && i < ZA_TIER_FILES; i++)
        drop_file(t, &t->file[i]);
    if (t->dir >= 0)
        (void)za_os->close(t->dir);
    za_tier_forget(t, ops);
}

static uint64_t occupied(const struct za_tier *t, bool by_me)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < ZA_TIER_FILES; i++)
        if (t->file[i].mine || !by_me)
            sum += t->file[i].held_bytes + t->file[i].left_bytes;
    return sum;
}

uint64_t za_tier_bytes(const struct za_tier *t)
{
    return occupied(t, false);
}

int za_tier_oldest(struct za_tier *t)
{
    unsigned used = 0;
    int oldest = -1;
    for (unsigned i = 0; i < ZA_TIER_FILES; i++) {
        if (!t->file[i].used)
            continue;
        used++;
        if (oldest < 0 || t->file[i].born < t->file[oldest].born)
            oldest = (int)i;
    }
    return used > ZA_TIER_FILES / 2 && !may_write(&t->file[oldest]) ? oldest : -1;
}

/* ---- writing and reading ---- */

/*
 * What is kept for moving takes the living half of any segment, and more: from memory there come no
 * larger ones than the other part of max_bytes has room for.
 */
uint32_t za_tier_room(const struct za_tier *t, enum za_tier_use use)
{
    uint64_t kept = use == ZA_TIER_MOVES ? 0 : za_min(ZA_SEGMENT_BYTES, t->max_bytes / 2);
    uint64_t taken = occupied(t, true) + kept;
    uint64_t room = taken < t->max_bytes ? t->max_bytes - taken : 0;
    if (!t->max_bytes)
        return ZA_SEGMENT_BYTES;
    if (room < za_min(ZA_SEGMENT_BYTES / 2, t->max_bytes / 4))
        return 0;
    return (uint32_t)za_align_down(za_min(room, ZA_SEGMENT_BYTES), ZA_TIER_BLOCK);
}

int za_tier_write(struct za_tier *t, uint32_t slot, char *image, uint32_t bytes,
                  struct za_tier_place *p)
{
    uint32_t blocks = whole_blocks(bytes);
    int i = choose(t);
    if (i < 0)
        return i;
    struct za_tier_file *f = &t->file[i];
    *p = (struct za_tier_place){(uint8_t)i, slot, bytes, ++t->serial};
    memset(image + bytes, 0, blocks - bytes);
    scramble(t, p, 0, image, blocks);
    int r = za_os->tier_write(f->fd, image, blocks, place_of(slot));
    if (r < 0) {
        (void)za_os->tier_punch(f->fd, place_of(slot), blocks); /* what it had taken already */
        return r;
    }
    f->segments++;
    f->held_bytes += blocks;
    return 0;
}

void za_tier_gone(struct za_tier *t, const struct za_tier_place *p)
{
    struct za_tier_file *f = &t->file[p->file];
    uint32_t blocks = whole_blocks(p->bytes);
    f->segments--;
    f->held_bytes -= blocks;
    if (!may_write(f) || za_os->tier_punch(f->fd, place_of(p->slot), blocks) < 0)
        f->left_bytes += blocks;
    if (!f->segments && (!f->mine || f->sealed || f->left_bytes))
        drop_file(t, f);
}

static int look(const struct za_tier *t, const struct za_tier_place *p, struct za_reader *r,
                uint32_t at, uint32_t len)
{
    uint32_t from = (uint32_t)za_align_down(at, ZA_TIER_AROUND);
    uint32_t end = (uint32_t)za_align_up(at + len, ZA_TIER_AROUND);
    uint32_t to = (uint32_t)za_min(end, whole_blocks(p->bytes));
    r->serial = 0;
    int err = za_os->tier_read(t->file[p->file].fd, r->window, to - from, place_of(p->slot) + from);
    if (err < 0)
        return err;
    r->serial = p->serial;
    r->from = from;
    r->to = to;
    return 0;
}

int za_tier_read(const struct za_tier *t, const struct za_tier_place *p, struct za_reader *r,
                 uint32_t at, uint32_t len, void *to)
{
    bool there = r->serial == p->serial && at >= r->from && at + len <= r->to;
    za_stat_add(there ? ZA_STAT_FILE_AROUND : ZA_STAT_FILE_READS, 1);
    int err = there ? 0 : look(t, p, r, at, len);
    if (err < 0)
        return err;
    memcpy(to, r->window + (at - r->from), len);
    scramble(t, p, at, to, len);
    return 0;
}

/* ---- forks and new threads ---- */

static bool lend_file(struct za_tier *t, struct za_tier_file *f, int sock)
{
    int other = za_os->tier_lend(f->fd);
    if (other < 0)
        f->for_good = true;
    bool sent = za_os->send_file(sock, other < 0 ? f->fd : other) == 0;
    if (other >= 0)
        (void)za_os->close(other);
    t->lent += sent;
    return sent;
}

bool za_tier_lend(struct za_tier *t, int sock)
{
    if (!t->keys)
        return true;
    if (t->dir >= 0 && za_os->send_file(sock, t->dir) < 0)
        return false;
    t->lent = t->dir >= 0;
    for (unsigned i = 0; i < ZA_TIER_FILES; i++) {
        struct za_tier_file *f = &t->file[i];
        if (!f->segments || f->fd < 0)
            continue; /* a child has no record of it */
        f->sealed = true;
        if (!lend_file(t, f, sock))
            return false;
    }
    return true;
}

/* The next of the descriptors lent; -1: there is none, or it does not come, and none after it. */
static int next_lent(struct za_tier *t, int sock, bool *came)
{
    if (!t->lent || !*came)
        return -1;
    t->lent--;
    int fd = za_os->recv_file(sock);
    *came = fd >= 0;
    return fd < 0 ? -1 : fd;
}

/* What the parent numbered its descriptors is nothing here. */
bool za_tier_borrow(struct za_tier *t, int sock)
{
    bool came = true;
    if (!t->keys)
        return true;
    t->dir = t->dir >= 0 ? next_lent(t, sock, &came) : -1;
    for (unsigned i = 0; i < ZA_TIER_FILES; i++) {
        struct za_tier_file *f = &t->file[i];
        f->mine = false;
        f->fd = f->segments && f->fd >= 0 ? next_lent(t, sock, &came) : -1;
        if (f->used && !f->segments)
            drop_file(t, f);
    }
    return came;
}

bool za_tier_send(const struct za_tier *t, int sock)
{
    bool sent = !t->keys || t->dir < 0 || za_os->send_file(sock, t->dir) == 0;
    for (unsigned i = 0; t->keys && sent && i < ZA_TIER_FILES; i++)
        if (t->file[i].fd >= 0)
            sent = za_os->send_file(sock, t->file[i].fd) == 0;
    return sent;
}

bool za_tier_receive(const struct za_tier *t, int sock, int fds[ZA_TIER_FILES + 1])
{
    bool whole = true;
    for (unsigned i = 0; i <= ZA_TIER_FILES; i++)
        fds[i] = -1;
    if (t->keys && t->dir >= 0)
        whole = (fds[ZA_TIER_FILES] = za_os->recv_file(sock)) >= 0;
    for (unsigned i = 0; t->keys && whole && i < ZA_TIER_FILES; i++)
        if (t->file[i].fd >= 0)
            whole = (fds[i] = za_os->recv_file(sock)) >= 0;
    return whole;
}

void za_tier_adopt(struct za_tier *t, const int fds[ZA_TIER_FILES + 1])
{
    if (!t->keys)
        return;
    t->dir = fds[ZA_TIER_FILES];
    for (unsigned i = 0; i < ZA_TIER_FILES; i++)
        t->file[i].fd = fds[i];
}
