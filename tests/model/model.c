/* SPDX-License-Identifier: MIT */
/*
 * model -- explores every interleaving of program, worker, fault thread and fork over two pages.
 *
 * Over 600 lines, because a model is read as one: its state is one struct, every step changes it, and every
 * property speaks of all steps.
 *
 * usage: model                     the true protocol in every scenario, then each broken one
 *        model --break=NAME        one broken protocol, with the shortest way to the failure
 *        model --only=SCENARIO     the true protocol in one scenario;   model --list: the names
 *
 * THE MODEL
 * Two pages of one cluster, one slot each. A page's bytes are one value: ZERO, CURRENT (what the
 * program wrote last), STALE (anything it wrote before) or TORN; a write turns every other copy
 * STALE. A step is what is atomic in reality: a compare-and-swap, one page of a kernel call, one
 * touch by the program. Between any two steps everybody else may take any number of theirs.
 *
 *   program  one or two threads: read, write, allocate, free, discard, relocate, fork. They sleep
 *            in a fault until woken, and in a request until answered.
 *   worker   probe (claim, move, settle), pack (claim, ask liveness, copy in two halves, store,
 *            commit, purge; or leave in limbo what was looked at for zeros only), dead sweep,
 *            discard, relocate, reconcile, park.
 *   fault    claims by compare-and-swap, moves, copies, fills, wakes. Besides the real messages it
 *            gets phantom ones, for any page at any time: that covers the kernel's stale messages,
 *            readers in other processes, and threads woken for another reason.
 *   fork     with handlers: park, window, wait for F, snapshot, wait for F. The explorer follows
 *            parent and child, each as a process of its own. A fork without handlers appears as
 *            what it does to the parent: every page is shared from then on, and MOVE says EBUSY.
 *   kernel   MOVE of a run may stop anywhere; EEXIST, ENOENT, EBUSY as the page tables say; in the
 *            scenarios called unsaid-... it may move a page and say EEXIST.
 *
 * Scenarios called remap-... have the other back-end (pager/remap.c): out by mremap, which takes
 * everything; back by copy and purge, each a step; holes of the mirror read as zeros, and reading
 * one leaves a page of zeros there.  Their relocation is copying, and left out.
 *
 * Taken as one step, because nobody can tell: reading a record and claiming it; claiming a page
 * and its neighbour (claiming the page alone is there too); liveness and the first half of a copy.
 *
 * PROPERTIES
 * P1  A read returns the last value written; after a discard zero; of a fresh slot anything.
 * P2  From every state, without a new wish of anybody, a state can be reached in which nobody
 *     waits and nobody is in the middle of anything: no deadlock, no thread left asleep.
 * P3  In such a state references equal records, the mirror holds limbo and nothing else, and the
 *     one place that counts (I1 of pager/page.h) holds the program's bytes.
 * P4  F never reads a hole of the mirror (it would wait for itself), a freed blob, or its own
 *     claim, and never has to send away a waiting thread because W is not done (I4).
 *
 * LEFT OUT
 * Sharing of equal pages (pager/share.c): it adds no state and no step of F; to a record it is a
 * commit to a blob that has references, and only W's steps, which are one thread's, look at those.
 * Weak memory order: liveness needs its barrier, the model is sequentially consistent. What a child
 * without handlers reads. EAGAIN and ENOMEM, which are retried. The hand-over of the descriptor:
 * the child begins with a fault thread of its own and the window closed. More than two pages,
 * zero filling around, compaction, the file tier, time.
 *
 * It is one file because every source here is a program of its own, and over 600 lines because the
 * protocol is stated in full, next to the variants that are known to be wrong.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: with malloc, up to LIMIT states.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pager/page.h"

#define LIMIT (12u << 20)
#define TABLE (1u << 24)

/* Contents of a place; SHARED is a property of the frame: MOVE refuses it. */
enum { ZERO, CURRENT, STALE, TORN, HOLE = 7, SHARED = 8 };
enum { UNDEFINED = 3 }; /* what the program may expect of a fresh slot */
enum { NPAGES = 2, NTHREADS = 2, NBLOBS = 3, NO_BLOB = 3 };

enum thread_at {
    AT_REST,
    AT_TOUCH,
    AT_FAULT,
    AT_SEEN,
    AT_REQUEST,
    AT_PARK,
    AT_WINDOW,
    AT_FORK,
    AT_CLOSE,
    AT_MARK
};
enum thread_op { OP_NONE, OP_READ, OP_WRITE, OP_DISCARD, OP_RELOCATE };

enum fault_at {
    F_IDLE,
    F_ZERO,
    F_ZERO_DONE,
    F_MOVE,
    F_COPY,
    F_PURGE,
    F_BACK_DONE,
    F_PUT_BACK,
    F_READ,
    F_FILL,
    F_FILL_DONE,
    F_DROP,
    F_WINDOW,
    F_LOOSE_MOVE,
    F_LOOSE_DONE,
    F_LATE_PURGE,
    F_LEAVE,
    F_LEFT
};

enum worker_at {
    W_IDLE,
    W_PARKED,
    W_CLEAN,
    W_SEE,
    W_MOVE,
    W_UNSTRAY,
    W_UNSTRAY_PURGE,
    W_SETTLE,
    W_OVER,
    W_CLAIM,
    W_READ,
    W_READ_MORE,
    W_SORT,
    W_DROP_PURGE,
    W_RETURN,
    W_RETURN_LIMBO,
    W_RETURN_DONE,
    W_RETURN_PURGE,
    W_EARLY_PURGE,
    W_PUT,
    W_COMMIT,
    W_PURGE_SEE,
    W_PURGE,
    W_SWEEP,
    W_DISCARD,
    W_DISCARD_MIRROR,
    W_DISCARD_HEAP,
    W_TO_CLAIM,
    W_TO_PURGE,
    W_FROM,
    W_INSTALL,
    W_LIMBO_MOVE,
    W_LIMBO_DONE,
    W_LIMBO_PACK,
    W_LIMBO_READ,
    W_LIMBO_TAKE,
    W_LIMBO_COPY,
    W_HEAP_MOVE,
    W_HEAP_COPY,
    W_HEAP_PURGE,
    W_HEAP_UNSTRAY,
    W_TO_DONE,
    W_TO_OVER,
    W_RECONCILE,
    W_RECONCILE_PURGE
};

struct record {
    uint8_t state; /* enum za_page_state */
    uint8_t blob;
    uint8_t index;
};

/* Bytes only: states are compared and hashed as memory. */
struct state {
    uint8_t heap[NPAGES], mirror[NPAGES];
    struct record rec[NPAGES];
    uint8_t live, expect[NPAGES];
    uint8_t refs[NBLOBS], bytes[NBLOBS][NPAGES];
    struct {
        uint8_t at, op, page;
    } t[NTHREADS];
    struct {
        uint8_t at, page, old, mask, window, blob, val[NPAGES];
    } f;
    struct {
        uint8_t at, x, mask, moved, live, val[NPAGES], blob, index, from, relocate;
    } w;
    uint8_t window, reconcile, awaited;
};

struct scenario {
    const char *name;
    unsigned threads;
    bool discard, relocate, fork, share, stray, pack, phantom, no_reads, remap, unsaid;
};

static const struct scenario scenarios[] = {
    {.name = "pack", .threads = 1, .pack = true, .phantom = true},
    {.name = "discard", .threads = 1, .discard = true, .pack = true, .phantom = true},
    {.name = "threads", .threads = 2, .pack = true},
    {.name = "shared",
     .threads = 1,
     .share = true,
     .pack = true,
     .phantom = true,
     .no_reads = true},
    {.name = "stray", .threads = 1, .stray = true, .pack = true},
    {.name = "unsaid", .threads = 1, .pack = true, .phantom = true, .unsaid = true},
    {.name = "unsaid-relocate",
     .threads = 1,
     .relocate = true,
     .pack = true,
     .phantom = true,
     .unsaid = true},
    {.name = "fork", .threads = 1, .fork = true, .pack = true, .phantom = true, .no_reads = true},
    {.name = "relocate", .threads = 1, .relocate = true, .pack = true, .phantom = true},
    {.name = "refused",
     .threads = 1,
     .relocate = true,
     .share = true,
     .pack = true,
     .phantom = true,
     .no_reads = true},
    {.name = "remap-discard",
     .threads = 1,
     .discard = true,
     .pack = true,
     .phantom = true,
     .remap = true},
    {.name = "remap-threads", .threads = 2, .pack = true, .remap = true},
    {.name = "remap-fork",
     .threads = 1,
     .fork = true,
     .pack = true,
     .phantom = true,
     .no_reads = true,
     .remap = true},
};
enum {
    IN_PACK,
    IN_DISCARD,
    IN_THREADS,
    IN_SHARED,
    IN_STRAY,
    IN_UNSAID,
    IN_UNSAID_RELOCATE,
    IN_FORK,
    IN_RELOCATE,
    IN_REFUSED,
    IN_REMAP_DISCARD,
    IN_REMAP_THREADS,
    IN_REMAP_FORK
};

/* Each takes one remedy away: name, the scenario that shows it, what is done instead. */
#define BREAKS(X) \
    X(ZERO_FILL_UNCLAIMED, "zero-fill-unclaimed", IN_PACK, "F fills KERNEL without FILLING") \
    X(MOVING_UNCLAIMED, "moving-unclaimed", IN_RELOCATE, "F moves back without BACK") \
    X(MOVING_TAKEN, "moving-taken", IN_UNSAID, "F brings back what W is taking out") \
    X(MOVING_FILLED, "moving-filled", IN_RELOCATE, "F fills a hole that is W's with zeros") \
    X(LEFT_BLINDLY, "left-blindly", IN_PACK, "F does not look again after leaving a thread to W") \
    X(NOT_WOKEN, "not-woken", IN_PACK, "W does not wake whom F has left to it") \
    X(UNSAID_PURGED, "unsaid-purged", IN_UNSAID, "W takes EEXIST for garbage in the mirror") \
    X(UNSAID_TO_PURGED, "unsaid-target-purged", IN_UNSAID_RELOCATE, \
      "W takes EEXIST for garbage at the target") \
    X(FROM_UNCLAIMED, "relocate-from-unclaimed", IN_UNSAID_RELOCATE, \
      "what is moved on is not claimed") \
    X(LIVENESS_BEFORE_MOVE, "liveness-before-move", IN_PACK, "liveness is asked before the MOVE") \
    X(COMMIT_STORE_NOT_CAS, "commit-store-not-cas", IN_PACK, "W stores STORED") \
    X(PURGE_BEFORE_CAS, "purge-before-cas", IN_PACK, "W purges the mirror before the commit") \
    X(PURGE_LIMBO, "purge-limbo", IN_PACK, "W purges whatever is in the mirror at the end") \
    X(NO_PURGE, "no-purge", IN_PACK, "W leaves dead copies in the mirror") \
    X(DROP_BY_RETURNING, "drop-by-returning", IN_PACK, "dead pages pass through RETURNING") \
    X(GROUP_REFS, "group-refs", IN_PACK, "one reference for all pages of a blob") \
    X(FAILED_COMMIT_KEEPS_REF, "failed-commit-keeps-ref", IN_PACK, \
      "a failed commit keeps its ref") \
    X(RELEASE_BEFORE_READ, "release-before-read", IN_THREADS, "F drops references, then reads") \
    X(SWEEP_STORE_NOT_CAS, "sweep-store-not-cas", IN_PACK, "the dead sweep stores KERNEL") \
    X(NO_WAKE, "no-wake-after-eexist", IN_STRAY, "F does not wake when the page is there") \
    X(NO_WAIT_IN_DISCARD, "no-wait-for-filling-in-discard", IN_DISCARD, "W purges under F") \
    X(DISCARD_HEAP_ONLY, "discard-heap-only", IN_DISCARD, "W purges the heap, not the records") \
    X(NO_COPY_ON_EBUSY, "no-copy-on-ebusy", IN_SHARED, "F gives up when MOVE refuses") \
    X(STRAY_IS_MOVED, "stray-taken-for-moved", IN_STRAY, "W takes EEXIST for moved") \
    X(RETURN_EBUSY_KERNEL, "refused-return-ends-kernel", IN_SHARED, "EBUSY ends in KERNEL") \
    X(WINDOW_CHANGES_RECORDS, "window-changes-records", IN_FORK, "F claims in the window too") \
    X(NO_WAIT_FOR_FAULT, "fork-without-waiting-for-fault", IN_FORK, "fork while F serves") \
    X(WINDOW_ENDS_EARLY, "no-wait-after-window", IN_FORK, "W goes on while F serves unclaimed") \
    X(NO_PARK, "fork-without-parking", IN_FORK, "fork while W works") \
    X(NO_RECONCILE, "no-reconcile", IN_FORK, "records are not put right after the window") \
    X(TO_UNCLAIMED, "relocate-to-unclaimed", IN_RELOCATE, "the target is not claimed") \
    X(TO_LIVE_LATE, "relocate-live-late", IN_RELOCATE, "the owner marks the target afterwards") \
    X(REFUSED_IS_HOLE, "relocate-refused-is-hole", IN_REFUSED, "EBUSY ends the page's move") \
    X(ENOENT_IS_HOLE, "relocate-enoent-is-hole", IN_RELOCATE, "gone from the mirror means empty") \
    X(R_LATE_PURGE, "remap-purge-after-kernel", IN_REMAP_DISCARD, \
      "F purges when the record is free") \
    X(R_NO_PURGE, "remap-no-purge", IN_REMAP_DISCARD, "F leaves the copy in the mirror") \
    X(R_TIDY_BACK, "remap-tidy-under-fault", IN_REMAP_DISCARD, "W purges what F is copying") \
    X(R_RETURN_BLIND, "remap-return-purges-first", IN_REMAP_DISCARD, "W purges, then copies back") \
    X(R_COMMIT_STORE, "remap-commit-store-not-cas", IN_REMAP_THREADS, "W stores STORED") \
    X(R_WINDOW, "remap-window-changes-records", IN_REMAP_FORK, "F claims in the window too") \
    X(R_DISCARD_HEAP, "remap-discard-heap-only", IN_REMAP_DISCARD, "W purges the heap alone")

enum broken {
    BREAK_NONE,
#define X(id, name, where, what) BREAK_##id,
    BREAKS(X)
#undef X
        BREAK_COUNT
};

static const struct {
    const char *name;
    unsigned where;
    const char *what;
} breaks[] = {{"none", 0, "the true protocol"},
#define X(id, name, where, what) {name, where, what},
              BREAKS(X)
#undef X
};

static const struct scenario *sc;
static enum broken broken;

/* --- the explorer's side that steps talk to --- */

/* A wish is a step nobody needs: P2 must hold without it. */
enum urge { MUST, WISH };

static void (*visit)(const struct state *next, enum urge urge, const char *label);
static const char *wrong; /* set by a step that breaks a property */

static void emit(const struct state *next, const char *label)
{
    visit(next, MUST, label);
}

static void wish(const struct state *next, const char *label)
{
    visit(next, WISH, label);
}

static bool is(enum broken b)
{
    return broken == b;
}

/* --- small words --- */

static unsigned bytes_of(uint8_t place)
{
    return place & 7u;
}

static bool hole(uint8_t place)
{
    return bytes_of(place) == HOLE;
}

static unsigned lowest(unsigned mask)
{
    return mask & 1 ? 0 : 1;
}

static struct record plain(enum za_page_state st)
{
    return (struct record){(uint8_t)st, NO_BLOB, 0};
}

static void wake(struct state *n, unsigned page)
{
    for (unsigned t = 0; t < NTHREADS; t++)
        if ((n->t[t].at == AT_FAULT || n->t[t].at == AT_SEEN) && n->t[t].page == page)
            n->t[t].at = AT_TOUCH;
}

static void release(struct state *n, unsigned blob)
{
    if (blob >= NBLOBS || n->refs[blob] == 0) {
        wrong = "a reference is dropped that nobody holds";
        return;
    }
    if (--n->refs[blob] == 0)
        memset(n->bytes[blob], 0, sizeof(n->bytes[blob]));
}

/* The record leaves STORED and its reference goes with it (I5). */
static void unstore(struct state *n, unsigned page)
{
    n->bytes[n->rec[page].blob][n->rec[page].index] = ZERO;
    release(n, n->rec[page].blob);
    n->rec[page] = plain(ZA_PAGE_KERNEL);
}

static void age(uint8_t *place)
{
    if (bytes_of(*place) == CURRENT || bytes_of(*place) == TORN)
        *place = (uint8_t)((*place & SHARED) | STALE);
}

/* The program's wish for the page changes: no copy made before is what it wants now. */
static void age_copies(struct state *n, unsigned p)
{
    const struct record *r = &n->rec[p];
    age(&n->heap[p]);
    age(&n->mirror[p]);
    age(&n->w.val[p]);
    age(&n->f.val[p]);
    if (r->blob < NBLOBS)
        age(&n->bytes[r->blob][r->index]);
    if (n->w.at == W_COMMIT)
        age(&n->bytes[n->w.blob][p]);
}

/* One page of UFFDIO_MOVE. */
enum moved { MOVED, M_EXIST, M_NOENT, M_BUSY };

static enum moved move(uint8_t *dst, uint8_t *src)
{
    if (!hole(*dst))
        return M_EXIST;
    if (hole(*src))
        return M_NOENT;
    if (*src & SHARED)
        return M_BUSY;
    *dst = (uint8_t)bytes_of(*src);
    *src = HOLE;
    return MOVED;
}

static void w_rest(struct state *n)
{
    memset(&n->w, 0, sizeof(n->w));
}

/* --- the program --- */

static bool others_at(const struct state *s, unsigned me, unsigned page)
{
    for (unsigned t = 0; t < NTHREADS; t++) {
        if (t == me || s->t[t].at == AT_REST || s->t[t].at >= AT_PARK)
            continue;
        if (s->t[t].page == page || s->t[t].op == OP_RELOCATE)
            return true;
    }
    return false;
}

/* Requests and forks exclude each other: both hold the control lock. */
static bool control_free(const struct state *s)
{
    for (unsigned t = 0; t < NTHREADS; t++)
        if (s->t[t].at >= AT_REQUEST)
            return false;
    return true;
}

static void touch(const struct state *s, unsigned t, unsigned op, unsigned p, enum urge urge)
{
    struct state n = *s;
    if (hole(s->heap[p])) {
        n.t[t].at = AT_FAULT;
        n.t[t].op = (uint8_t)op;
        n.t[t].page = (uint8_t)p;
        visit(&n, urge, "T faults");
        return;
    }
    memset(&n.t[t], 0, sizeof(n.t[t]));
    if (op == OP_WRITE) {
        age_copies(&n, p);
        n.expect[p] = CURRENT;
        n.heap[p] = CURRENT;
    } else if (bytes_of(s->heap[p]) != s->expect[p]) {
        wrong = "a read returns what was not written";
    }
    visit(&n, urge, op == OP_WRITE ? "T writes" : "T reads");
}

static void ask(const struct state *s, unsigned t, unsigned op, unsigned p)
{
    struct state n = *s;
    n.t[t].at = AT_REQUEST;
    n.t[t].op = (uint8_t)op;
    n.t[t].page = (uint8_t)p;
    /* The owner marks the target before it asks, or the dead sweep may take it for garbage. */
    if (op == OP_RELOCATE && !is(BREAK_TO_LIVE_LATE)) {
        n.live |= (uint8_t)(1u << (1 - p));
        age_copies(&n, 1 - p);
        n.expect[1 - p] = UNDEFINED;
    }
    wish(&n, op == OP_DISCARD ? "T asks for a discard" : "T asks for a relocation");
}

static void owned_slot(const struct state *s, unsigned t, unsigned p)
{
    if (s->expect[p] != UNDEFINED && !sc->no_reads)
        touch(s, t, OP_READ, p, WISH);
    touch(s, t, OP_WRITE, p, WISH);
    if (others_at(s, t, p))
        return;
    struct state n = *s;
    n.live &= (uint8_t) ~(1u << p);
    age_copies(&n, p);
    n.expect[p] = UNDEFINED;
    wish(&n, "T frees");
    if (sc->relocate && control_free(s) && !(s->live & 1u << (1 - p)) && !others_at(s, t, 1 - p))
        ask(s, t, OP_RELOCATE, p);
}

static void free_slot(const struct state *s, unsigned t, unsigned p)
{
    if (others_at(s, t, p))
        return;
    struct state n = *s;
    n.live |= (uint8_t)(1u << p);
    wish(&n, "T allocates");
    if (sc->discard && control_free(s))
        ask(s, t, OP_DISCARD, p);
}

/* A zero page is no anonymous frame: the kernel moves it even when shared. */
static uint8_t share(uint8_t place)
{
    return hole(place) || place == ZERO ? place : place | SHARED;
}

static void share_all(struct state *n)
{
    for (unsigned p = 0; p < NPAGES; p++) {
        n->heap[p] = share(n->heap[p]);
        n->mirror[p] = share(n->mirror[p]);
    }
}

/*
 * The child has one thread, a new F and a new W; its parent's window serves it until it takes over.
 */
static void fork_now(const struct state *s, unsigned t)
{
    struct state n = *s;
    share_all(&n);
    n.window = 0;
    n.t[t].at = AT_CLOSE;
    emit(&n, "fork returns in the parent");
    n.reconcile = !is(BREAK_NO_RECONCILE);
    memset(n.t, 0, sizeof(n.t));
    memset(&n.f, 0, sizeof(n.f));
    memset(&n.w, 0, sizeof(n.w));
    emit(&n, "fork returns in the child");
}

static void thread_forks(const struct state *s, unsigned t)
{
    struct state n = *s;
    if (s->t[t].at == AT_PARK && (s->w.at == W_PARKED || is(BREAK_NO_PARK))) {
        n.t[t].at = AT_WINDOW;
        n.window = 1;
        emit(&n, "T opens the window");
    } else if (s->t[t].at == AT_WINDOW) {
        bool serving = s->f.at != F_IDLE && !s->f.window && !is(BREAK_NO_WAIT_FOR_FAULT);
        if ((is(BREAK_WINDOW_CHANGES_RECORDS) || is(BREAK_R_WINDOW)))
            serving = s->f.at != F_IDLE;
        if (serving)
            return;
        n.t[t].at = AT_FORK;
        emit(&n, "T saw F outside a service");
    } else if (s->t[t].at == AT_FORK) {
        fork_now(s, t);
    } else if (s->t[t].at == AT_CLOSE && !(s->f.window && !is(BREAK_WINDOW_ENDS_EARLY))) {
        memset(&n.t[t], 0, sizeof(n.t[t]));
        n.reconcile = !is(BREAK_NO_RECONCILE);
        if (s->w.at == W_PARKED)
            w_rest(&n);
        emit(&n, "T saw F outside a service, W may go on");
    }
}

/* What the owner knows after its request: the page given up reads as zeros. */
static void conclude(struct state *n, unsigned t)
{
    unsigned from = n->t[t].page, to = 1 - from;
    if (n->t[t].op == OP_RELOCATE) {
        n->live = (uint8_t)(1u << to);
        n->expect[to] = n->expect[from];
    }
    n->expect[from] = ZERO;
    memset(&n->t[t], 0, sizeof(n->t[t]));
}

static void step_thread(const struct state *s, unsigned t)
{
    if (s->t[t].at == AT_TOUCH)
        touch(s, t, s->t[t].op, s->t[t].page, MUST);
    thread_forks(s, t);
    if (s->t[t].at == AT_MARK) {
        struct state n = *s;
        conclude(&n, t);
        emit(&n, "T marks the target live");
    }
    if (s->t[t].at != AT_REST)
        return;
    for (unsigned p = 0; p < NPAGES; p++) {
        if (s->live & 1u << p)
            owned_slot(s, t, p);
        else
            free_slot(s, t, p);
    }
    if (sc->fork && control_free(s)) {
        struct state n = *s;
        n.t[t].at = AT_PARK;
        wish(&n, "T wants to fork");
    }
}

/* --- the fault thread --- */

static void f_rest(struct state *n)
{
    memset(&n->f, 0, sizeof(n->f));
}

static bool w_reads_hole(const struct state *s)
{
    bool reads = s->w.at == W_READ || s->w.at == W_READ_MORE || s->w.at == W_LIMBO_READ;
    return reads && !sc->remap && hole(s->mirror[s->w.at == W_LIMBO_READ ? s->w.from : s->w.x]);
}

/* In the window: where the bytes are, read only, no claim. */
static void f_look(struct state *n, unsigned p)
{
    const struct record *r = &n->rec[p];
    n->f.at = F_WINDOW;
    n->f.window = 1;
    if (r->state == ZA_PAGE_LIMBO) {
        n->f.val[p] = (uint8_t)bytes_of(n->mirror[p]);
        if (hole(n->heap[p]) && hole(n->mirror[p]))
            wrong = "F reads a hole of the mirror";
    } else if (r->state == ZA_PAGE_STORED) {
        n->f.val[p] = n->bytes[r->blob][r->index];
        if (!n->refs[r->blob])
            wrong = "F reads a freed blob";
    } else if (r->state != ZA_PAGE_KERNEL) {
        wrong = "F meets a claim in the window";
    }
}

/* The claim: whoever changes page tables owns the record first. */
static void f_claim(struct state *n, unsigned p)
{
    struct record *r = &n->rec[p];
    n->f.mask = (uint8_t)(1u << p);
    n->f.old = r->state;
    n->f.at = F_MOVE;
    switch (r->state) {
    case ZA_PAGE_KERNEL:
        n->f.at = F_ZERO;
        if (!is(BREAK_ZERO_FILL_UNCLAIMED))
            *r = plain(ZA_PAGE_FILLING);
        break;
    case ZA_PAGE_MOVING:
        n->f.at = F_LEAVE;
        if (is(BREAK_MOVING_UNCLAIMED))
            n->f.at = F_LOOSE_MOVE;
        else if (is(BREAK_MOVING_FILLED))
            n->f.at = F_ZERO;
        else if (is(BREAK_MOVING_TAKEN)) {
            n->f.at = F_MOVE;
            *r = plain(ZA_PAGE_BACK);
        }
        break;
    case ZA_PAGE_RETURNING:
    case ZA_PAGE_LIMBO:
    case ZA_PAGE_PACKING: *r = plain(ZA_PAGE_BACK); break;
    case ZA_PAGE_STORED:
        n->f.at = F_READ;
        n->f.blob = r->blob;
        r->state = ZA_PAGE_FILLING;
        break;
    default: wrong = "F meets a claim of its own";
    }
}

/* Fault-around: the other page of the cluster may come along if it is in the same place. */
static bool f_claim_near(struct state *n, unsigned q)
{
    struct record *r = &n->rec[q];
    bool mirror = !sc->remap && (n->f.old == ZA_PAGE_LIMBO || n->f.old == ZA_PAGE_PACKING);
    if (mirror && (r->state == ZA_PAGE_LIMBO || r->state == ZA_PAGE_PACKING))
        *r = plain(ZA_PAGE_BACK);
    else if (n->f.old == ZA_PAGE_STORED && r->state == ZA_PAGE_STORED && r->blob == n->f.blob)
        r->state = ZA_PAGE_FILLING;
    else
        return false;
    n->f.mask = 3;
    return true;
}

/* A message is read and the record claimed: nothing that others do lies between the two. */
static void f_serve(const struct state *s, unsigned p, enum urge urge)
{
    struct state n = *s;
    n.f.page = (uint8_t)p;
    if (s->window && !(is(BREAK_WINDOW_CHANGES_RECORDS) || is(BREAK_R_WINDOW))) {
        f_look(&n, p);
        visit(&n, urge, "F looks (window)");
        return;
    }
    f_claim(&n, p);
    if (is(BREAK_RELEASE_BEFORE_READ) && n.f.at == F_READ)
        release(&n, n.f.blob);
    visit(&n, urge, "F claims");
    if (f_claim_near(&n, 1 - p))
        visit(&n, urge, "F claims both pages");
}

static void f_idle(const struct state *s)
{
    for (unsigned t = 0; t < NTHREADS; t++) {
        if (s->t[t].at != AT_FAULT)
            continue;
        struct state n = *s;
        n.t[t].at = AT_SEEN;
        f_serve(&n, s->t[t].page, MUST);
    }
    if (w_reads_hole(s)) {
        struct state n = *s;
        n.mirror[s->w.at == W_LIMBO_READ ? s->w.from : s->w.x] = ZERO;
        emit(&n, "F fills the mirror for W");
    }
    for (unsigned p = 0; p < NPAGES; p++) {
        struct state n = *s;
        if (sc->phantom)
            f_serve(s, p, WISH);
        n.mirror[p] = ZERO;
        if (sc->stray && hole(s->mirror[p]))
            wish(&n, "F fills the mirror for a stranger");
    }
}

static void f_zero(const struct state *s)
{
    struct state n = *s;
    unsigned p = s->f.page;
    if (s->f.at == F_ZERO) {
        if (hole(s->heap[p])) {
            n.heap[p] = ZERO;
            wake(&n, p);
        }
        n.f.at = F_ZERO_DONE;
        emit(&n, "F zero-fills");
        return;
    }
    if (!is(BREAK_ZERO_FILL_UNCLAIMED) && !is(BREAK_MOVING_FILLED))
        n.rec[p] = plain(ZA_PAGE_KERNEL);
    if (!is(BREAK_NO_WAKE))
        wake(&n, p);
    f_rest(&n);
    emit(&n, "F is done zero-filling");
}

static bool seen_waiting(const struct state *s, unsigned p)
{
    for (unsigned t = 0; t < NTHREADS; t++)
        if (s->t[t].at == AT_SEEN && s->t[t].page == p)
            return true;
    return false;
}

static bool shaky_claim(const struct state *s)
{
    return s->f.old == ZA_PAGE_MOVING || s->f.old == ZA_PAGE_RETURNING;
}

/* remap: is it there at all? */
static void f_look_mirror(const struct state *s)
{
    struct state n = *s;
    unsigned p = lowest(s->f.mask);
    n.f.at = F_COPY;
    if (hole(s->mirror[p])) {
        n.f.at = F_PUT_BACK;
        if (!shaky_claim(s))
            wrong = "a page in limbo is not in the mirror";
        else if (hole(s->heap[p]) && seen_waiting(s, p))
            wrong = "F cannot serve a thread: it would have to wait for W";
    }
    emit(&n, "F looks into the mirror");
}

static void f_move(const struct state *s)
{
    struct state n = *s;
    unsigned p = lowest(s->f.mask);
    bool shaky = shaky_claim(s);
    if (sc->remap) {
        f_look_mirror(s);
        return;
    }
    switch (move(&n.heap[p], &n.mirror[p])) {
    case MOVED:
        wake(&n, p);
        n.f.at = F_BACK_DONE;
        break;
    case M_EXIST: /* RETURNING: W was faster. LIMBO: the window put it there. */
        n.f.at = shaky ? F_PUT_BACK : F_PURGE;
        break;
    case M_NOENT:
        n.f.at = F_PUT_BACK;
        if (!shaky)
            wrong = "a page in limbo is not in the mirror";
        else if (seen_waiting(s, p) && !is(BREAK_MOVING_TAKEN))
            wrong = "F cannot serve a thread: it would have to wait for W";
        break;
    case M_BUSY: n.f.at = is(BREAK_NO_COPY_ON_EBUSY) ? F_BACK_DONE : F_COPY; break;
    }
    emit(&n, "F moves back");
}

/* What is copied onto a page that is there was read all the same. */
static void f_copy_remapped(const struct state *s)
{
    struct state n = *s;
    unsigned p = lowest(s->f.mask);
    bool copied = hole(s->heap[p]);
    if (hole(s->mirror[p]))
        n.mirror[p] = ZERO;
    if (copied)
        n.heap[p] = (uint8_t)bytes_of(n.mirror[p]);
    wake(&n, p);
    n.f.at = F_PURGE;
    if (!copied && shaky_claim(s))
        n.f.at = F_PUT_BACK;
    else if (is(BREAK_R_LATE_PURGE) || is(BREAK_R_NO_PURGE))
        n.f.at = F_BACK_DONE;
    emit(&n, "F copies from the mirror");
}

static void f_copy(const struct state *s)
{
    struct state n = *s;
    unsigned p = lowest(s->f.mask);
    if (sc->remap) {
        f_copy_remapped(s);
        return;
    }
    if (hole(s->mirror[p]))
        wrong = "F reads a hole of the mirror";
    if (hole(s->heap[p]))
        n.heap[p] = (uint8_t)bytes_of(s->mirror[p]);
    wake(&n, p);
    n.f.at = F_PURGE;
    emit(&n, "F copies from the mirror");
}

static void f_settle(const struct state *s)
{
    struct state n = *s;
    unsigned p = lowest(s->f.mask);
    if (s->f.at == F_PURGE) {
        n.mirror[p] = HOLE;
        n.f.at = F_BACK_DONE;
        emit(&n, "F purges the mirror");
        return;
    }
    n.rec[p] = plain(s->f.at == F_PUT_BACK ? s->f.old : ZA_PAGE_KERNEL);
    n.f.mask &= (uint8_t) ~(1u << p);
    if (!is(BREAK_NO_WAKE))
        wake(&n, p);
    n.f.at = F_MOVE;
    if (is(BREAK_R_LATE_PURGE) && s->f.at == F_BACK_DONE)
        n.f.at = F_LATE_PURGE;
    else if (!n.f.mask)
        f_rest(&n);
    emit(&n, "F settles");
}

static void f_late_purge(const struct state *s)
{
    struct state n = *s;
    n.mirror[s->f.page] = HOLE;
    f_rest(&n);
    emit(&n, "F purges the mirror at last");
}

static void f_read(const struct state *s)
{
    struct state n = *s;
    for (unsigned p = 0; p < NPAGES; p++) {
        if (!(s->f.mask & 1u << p))
            continue;
        if (!s->refs[s->f.blob])
            wrong = "F reads a freed blob";
        n.f.val[p] = s->bytes[s->f.blob][s->rec[p].index];
    }
    n.f.at = F_FILL;
    emit(&n, "F decompresses");
}

static void f_fill(const struct state *s)
{
    struct state n = *s;
    unsigned p = lowest(s->f.mask);
    if (s->f.at == F_FILL) {
        if (hole(s->heap[p])) {
            n.heap[p] = s->f.val[p];
            wake(&n, p);
        }
        n.f.at = F_FILL_DONE;
        n.f.val[p] = ZERO;
    } else if (s->f.at == F_FILL_DONE) {
        n.bytes[s->f.blob][s->rec[p].index] = ZERO;
        n.rec[p] = plain(ZA_PAGE_KERNEL);
        n.f.mask &= (uint8_t) ~(1u << p);
        n.f.blob = s->f.blob;
        n.f.old = (uint8_t)(s->f.old + 16); /* counts the references to drop */
        n.f.at = n.f.mask ? F_FILL : F_DROP;
        if (!is(BREAK_NO_WAKE))
            wake(&n, p);
    } else {
        for (unsigned k = s->f.old / 16; k > 0; k--)
            if (!is(BREAK_RELEASE_BEFORE_READ) || k > 1)
                release(&n, s->f.blob);
        f_rest(&n);
    }
    emit(&n, s->f.at == F_FILL ? "F copies from the blob" : "F settles a filled page");
}

static void f_window(const struct state *s)
{
    struct state n = *s;
    unsigned p = s->f.page;
    if (hole(s->heap[p]))
        n.heap[p] = s->f.val[p];
    if (!is(BREAK_NO_WAKE))
        wake(&n, p);
    f_rest(&n);
    emit(&n, "F copies (window)");
}

/* Somebody waits, and W knows; unless it was done before it could. */
static void f_leave(const struct state *s)
{
    struct state n = *s;
    if (s->f.at == F_LEAVE) {
        n.awaited = 1;
        n.f.at = F_LEFT;
        emit(&n, "F says that somebody waits");
        return;
    }
    if (s->rec[s->f.page].state != ZA_PAGE_MOVING && !is(BREAK_LEFT_BLINDLY))
        wake(&n, s->f.page);
    f_rest(&n);
    emit(&n, "F leaves a thread to W");
}

/* What moving-unclaimed does: the call first, the record afterwards. */
static void f_loose(const struct state *s)
{
    struct state n = *s;
    unsigned p = s->f.page;
    if (s->f.at == F_LOOSE_MOVE) {
        n.f.at = F_LOOSE_DONE;
        if (move(&n.heap[p], &n.mirror[p]) != MOVED)
            f_rest(&n);
        wake(&n, p);
        emit(&n, "F moves back, unclaimed");
        return;
    }
    if (n.rec[p].state == ZA_PAGE_MOVING)
        n.rec[p] = plain(ZA_PAGE_KERNEL);
    f_rest(&n);
    emit(&n, "F settles, unclaimed");
}

static void step_fault(const struct state *s)
{
    static void (*const steps[])(const struct state *) = {
        [F_IDLE] = f_idle,        [F_ZERO] = f_zero,
        [F_ZERO_DONE] = f_zero,   [F_MOVE] = f_move,
        [F_COPY] = f_copy,        [F_PURGE] = f_settle,
        [F_BACK_DONE] = f_settle, [F_PUT_BACK] = f_settle,
        [F_READ] = f_read,        [F_FILL] = f_fill,
        [F_FILL_DONE] = f_fill,   [F_DROP] = f_fill,
        [F_WINDOW] = f_window,    [F_LOOSE_MOVE] = f_loose,
        [F_LOOSE_DONE] = f_loose, [F_LATE_PURGE] = f_late_purge,
        [F_LEAVE] = f_leave,      [F_LEFT] = f_leave,
    };
    steps[s->f.at](s);
}

/* --- the worker --- */

/* To the next page of the job's mask above x, or to another step when there is none. */
static void w_next(struct state *n, enum worker_at same, enum worker_at then)
{
    unsigned x = n->w.x + 1u;
    while (x < NPAGES && !(n->w.mask & 1u << x))
        x++;
    n->w.at = (uint8_t)(x < NPAGES ? same : then);
    n->w.x = (uint8_t)(x < NPAGES ? x : 0);
    if (x >= NPAGES && n->w.mask == 2)
        n->w.x = 1;
}

static void w_begin(struct state *n, enum worker_at at, unsigned mask)
{
    w_rest(n);
    n->w.at = (uint8_t)at;
    n->w.mask = (uint8_t)mask;
    n->w.x = (uint8_t)lowest(mask);
}

/* Every job that took pages out of the mirror's hands ends by purging what is dead there. */
static void w_finish(struct state *n)
{
    if (is(BREAK_NO_PURGE))
        w_rest(n);
    else
        w_begin(n, W_PURGE_SEE, 3);
}

static bool w_answers(const struct state *s)
{
    for (unsigned t = 0; t < NTHREADS; t++) {
        struct state n = *s;
        if (s->t[t].at == AT_REQUEST) {
            unsigned from = s->t[t].page;
            bool relocate = s->t[t].op == OP_RELOCATE;
            w_begin(&n, W_DISCARD, relocate ? 1u << (1 - from) : 1u << from);
            n.w.from = (uint8_t)from;
            n.w.relocate = relocate;
            emit(&n, "W takes a request");
            return true;
        }
        if (s->t[t].at == AT_PARK) {
            w_begin(&n, W_PARKED, 0);
            n.w.x = 0;
            emit(&n, "W parks");
            return true;
        }
    }
    return false;
}

static void w_idle(const struct state *s)
{
    struct state n = *s;
    if (s->reconcile) {
        w_begin(&n, W_RECONCILE, 3);
        emit(&n, "W begins to reconcile");
        return;
    }
    if (w_answers(s))
        return;
    w_begin(&n, sc->remap ? W_CLEAN : W_SEE, 3);
    n.w.live = is(BREAK_LIVENESS_BEFORE_MOVE) ? s->live : 0;
    wish(&n, "W probes");
    n = *s;
    w_begin(&n, W_CLAIM, 3);
    n.w.mask = 0;
    bool limbo = s->rec[0].state == ZA_PAGE_LIMBO || s->rec[1].state == ZA_PAGE_LIMBO;
    if (is(BREAK_LIVENESS_BEFORE_MOVE))
        limbo = false; /* there it follows the probe at once */
    if (sc->pack && limbo)
        wish(&n, "W packs");
    for (unsigned p = 0; p < NPAGES; p++) {
        n = *s;
        w_begin(&n, W_SWEEP, 1u << p);
        if (s->rec[p].state == ZA_PAGE_STORED && !(s->live & 1u << p))
            wish(&n, "W finds a stored page dead");
    }
}

static void w_probe_claim(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    if (!hole(s->heap[x]) && s->rec[x].state == ZA_PAGE_KERNEL)
        n.rec[x] = plain(ZA_PAGE_MOVING);
    else
        n.w.mask &= (uint8_t) ~(1u << x);
    if (x == 0) {
        n.w.x = 1;
    } else {
        n.w.at = W_MOVE;
        n.w.x = (uint8_t)lowest(n.w.mask);
        if (!n.w.mask)
            w_rest(&n);
    }
    emit(&n, "W claims what it sees present");
}

/* remap: what is there before a page comes counts for nothing. */
static void w_clean(const struct state *s)
{
    struct state n = *s;
    if (s->rec[s->w.x].state == ZA_PAGE_KERNEL)
        n.mirror[s->w.x] = HOLE;
    w_next(&n, W_CLEAN, W_SEE);
    n.w.x = n.w.at == W_SEE ? 0 : n.w.x;
    emit(&n, "W cleans the mirror");
}

/* mremap: whatever is there, shared or not. */
static void w_probe_remap(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    n.mirror[x] = hole(s->heap[x]) ? ZERO : s->heap[x];
    n.heap[x] = HOLE;
    n.w.moved |= (uint8_t)(1u << x);
    w_next(&n, W_MOVE, W_SETTLE);
    emit(&n, "W remaps");
    n = *s;
    n.w.at = W_SETTLE;
    n.w.x = (uint8_t)lowest(n.w.mask);
    emit(&n, "W's mremap fails");
}

/* What is in the mirror goes back if it is the page, and is purged if the page is at home. */
static void w_unstray(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    if (s->w.at == W_UNSTRAY_PURGE || is(BREAK_UNSAID_PURGED)) {
        n.mirror[x] = HOLE;
        n.w.at = W_MOVE;
        emit(&n, "W purges a stray page of the mirror");
        return;
    }
    enum moved r = move(&n.heap[x], &n.mirror[x]);
    if (r == MOVED)
        wake(&n, x);
    n.w.at = r == M_EXIST ? W_UNSTRAY_PURGE : W_MOVE;
    if (r == M_BUSY) { /* copied, and what is left behind is garbage */
        n.heap[x] = (uint8_t)bytes_of(n.mirror[x]);
        wake(&n, x);
        n.w.at = W_UNSTRAY_PURGE;
    }
    emit(&n, "W moves back what was in its way");
}

static void w_probe_move(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    if (sc->remap) {
        w_probe_remap(s);
        return;
    }
    if (s->w.at != W_MOVE) {
        w_unstray(s);
        return;
    }
    if (sc->unsaid && move(&n.mirror[x], &n.heap[x]) == MOVED) {
        n.w.at = W_UNSTRAY;
        emit(&n, "W moves out, and is told EEXIST");
        n = *s;
    }
    switch (move(&n.mirror[x], &n.heap[x])) {
    case MOVED:
        n.w.moved |= (uint8_t)(1u << x);
        w_next(&n, W_MOVE, W_SETTLE);
        break;
    case M_EXIST:
        n.w.at = W_UNSTRAY;
        if (is(BREAK_STRAY_IS_MOVED)) {
            n.w.moved |= (uint8_t)(1u << x);
            w_next(&n, W_MOVE, W_SETTLE);
        }
        break;
    default: w_next(&n, W_MOVE, W_SETTLE);
    }
    emit(&n, "W moves out");
    n = *s;
    n.w.at = W_SETTLE;
    n.w.x = (uint8_t)lowest(n.w.mask);
    emit(&n, "W's move stops early");
}

static void w_probe_settle(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    bool moved = s->w.moved & 1u << x;
    if (s->rec[x].state == ZA_PAGE_BACK)
        return; /* F is at it: wait */
    if (s->rec[x].state == ZA_PAGE_MOVING)
        n.rec[x] = plain(moved ? ZA_PAGE_LIMBO : ZA_PAGE_KERNEL);
    w_next(&n, W_SETTLE, W_OVER);
    emit(&n, "W settles a probed page");
}

static void w_wake_awaited(struct state *n)
{
    for (unsigned p = 0; n->awaited && !is(BREAK_NOT_WOKEN) && p < NPAGES; p++)
        wake(n, p);
    n->awaited = 0;
}

static void w_probe_over(const struct state *s)
{
    struct state n = *s;
    unsigned live = s->w.live;
    w_wake_awaited(&n);
    if (is(BREAK_LIVENESS_BEFORE_MOVE)) {
        w_begin(&n, W_CLAIM, 3);
        n.w.mask = 0;
        n.w.live = (uint8_t)live;
    } else {
        w_rest(&n);
    }
    emit(&n, "W wakes whom F has left to it");
}

static void w_claim(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    if (s->rec[x].state == ZA_PAGE_LIMBO) {
        n.rec[x] = plain(ZA_PAGE_PACKING);
        n.w.mask |= (uint8_t)(1u << x);
    }
    n.w.x++;
    if (n.w.x == NPAGES) {
        n.w.x = (uint8_t)lowest(n.w.mask);
        n.w.at = W_READ;
        if (!n.w.mask)
            w_finish(&n);
    }
    emit(&n, "W claims for packing");
}

static void w_read(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    unsigned seen = bytes_of(s->mirror[x]);
    if (seen == HOLE && !sc->remap)
        return; /* W faults in the mirror: F fills it */
    if (seen == HOLE)
        n.mirror[x] = (uint8_t)(seen = ZERO);
    if (s->w.at == W_READ) {
        if (!is(BREAK_LIVENESS_BEFORE_MOVE))
            n.w.live |= s->live & (uint8_t)(1u << x);
        n.w.val[x] = (uint8_t)seen;
        n.w.at = W_READ_MORE;
    } else {
        if (seen != s->w.val[x])
            n.w.val[x] = TORN;
        w_next(&n, W_READ, W_SORT);
    }
    emit(&n, "W copies half a page");
}

/*
 * A dead page, or one that reads as zeros, needs no blob: KERNEL first, the purge comes after (I3).
 */
static void w_drop(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    bool ours = s->rec[x].state == ZA_PAGE_PACKING;
    n.w.mask &= (uint8_t) ~(1u << x);
    w_next(&n, W_SORT, W_PUT);
    if (ours && is(BREAK_DROP_BY_RETURNING)) {
        n = *s;
        n.w.at = W_DROP_PURGE;
        n.rec[x] = plain(ZA_PAGE_RETURNING);
    } else if (ours) {
        n.rec[x] = plain(ZA_PAGE_KERNEL);
    }
    emit(&n, "W drops a page without content");
}

static void w_drop_purge(const struct state *s)
{
    struct state n = *s;
    n.mirror[s->w.x] = HOLE;
    n.w.at = W_RETURN_DONE;
    emit(&n, "W purges what it drops");
}

/* W has looked for zeros only.  In remap-fork that is left out, for its number of states. */
static void w_leave(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    if (sc->remap && sc->fork)
        return;
    if (s->rec[x].state == ZA_PAGE_PACKING)
        n.rec[x] = plain(ZA_PAGE_LIMBO);
    n.w.mask &= (uint8_t) ~(1u << x);
    w_next(&n, W_SORT, W_PUT);
    emit(&n, "W leaves a page in limbo");
}

static void w_sort(const struct state *s)
{
    unsigned x = s->w.x;
    bool dead = !(s->w.live & 1u << x);
    struct state n = *s;
    if (dead || s->w.val[x] == ZERO)
        w_drop(s);
    if (!dead && s->w.val[x] == ZERO)
        return;
    n.w.at = W_RETURN;
    if (s->rec[x].state == ZA_PAGE_PACKING)
        n.rec[x] = plain(ZA_PAGE_RETURNING);
    else
        n.w.at = W_RETURN_DONE;
    emit(&n, "W finds that a page does not compress");
    w_leave(s);
    n = *s;
    if (dead)
        n.w.val[x] = ZERO; /* the dead slot of a page that has live ones */
    w_next(&n, W_SORT, is(BREAK_PURGE_BEFORE_CAS) ? W_EARLY_PURGE : W_PUT);
    emit(&n, "W keeps a page for the blob");
}

/* remap: a copy; what is copied onto a page that is there was read all the same. */
static void w_return_copy(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    n.w.at = W_RETURN_DONE;
    if (s->w.at == W_RETURN_PURGE || is(BREAK_R_RETURN_BLIND)) {
        n.mirror[x] = HOLE;
        if (s->w.at == W_RETURN)
            n.w.at = W_RETURN_LIMBO; /* its copy is in w.val */
        emit(&n, "W purges what it brought back");
        return;
    }
    if (hole(s->mirror[x]))
        n.mirror[x] = ZERO;
    if (hole(s->heap[x])) {
        n.heap[x] = (uint8_t)bytes_of(n.mirror[x]);
        n.w.at = W_RETURN_PURGE;
    }
    wake(&n, x);
    emit(&n, "W copies back");
}

static void w_return(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    if (sc->remap && (s->w.at == W_RETURN || s->w.at == W_RETURN_PURGE)) {
        w_return_copy(s);
        return;
    }
    if (sc->remap && s->w.at == W_RETURN_LIMBO) {
        if (hole(s->heap[x]))
            n.heap[x] = s->w.val[x];
        n.w.at = W_RETURN_DONE;
        emit(&n, "W copies back what it purged");
        return;
    }
    if (s->w.at == W_RETURN) {
        n.w.at = W_RETURN_DONE;
        if (move(&n.heap[x], &n.mirror[x]) == M_BUSY && !is(BREAK_RETURN_EBUSY_KERNEL))
            n.w.at = W_RETURN_LIMBO;
        emit(&n, "W moves back");
        return;
    }
    if (s->rec[x].state == ZA_PAGE_BACK)
        return; /* F is at it: wait */
    if (s->rec[x].state == ZA_PAGE_RETURNING)
        n.rec[x] = plain(s->w.at == W_RETURN_LIMBO ? ZA_PAGE_LIMBO : ZA_PAGE_KERNEL);
    n.w.mask &= (uint8_t) ~(1u << x);
    w_next(&n, W_SORT, W_PUT);
    emit(&n, "W settles a returned page");
}

static void w_early_purge(const struct state *s)
{
    struct state n = *s;
    n.mirror[s->w.x] = HOLE;
    w_next(&n, W_EARLY_PURGE, W_PUT);
    emit(&n, "W purges before the commit");
}

static void w_put(const struct state *s)
{
    struct state n = *s;
    unsigned pages = (s->w.mask & 1u) + (s->w.mask >> 1 & 1u), id = 0;
    while (id < NBLOBS && s->refs[id])
        id++;
    if (!s->w.mask) {
        w_finish(&n);
    } else if (id == NBLOBS) {
        wrong = "more blobs than references can explain";
    } else {
        n.refs[id] = (uint8_t)(is(BREAK_GROUP_REFS) ? 1 : pages);
        for (unsigned p = 0; p < NPAGES; p++)
            n.bytes[id][p] = s->w.mask & 1u << p ? s->w.val[p] : ZERO;
        memset(n.w.val, 0, sizeof(n.w.val));
        n.w.live = 0;
        n.w.blob = (uint8_t)id;
        n.w.at = W_COMMIT;
        n.w.x = (uint8_t)lowest(s->w.mask);
    }
    emit(&n, "W stores a blob");
}

static void unstore_failed(struct state *n, unsigned x)
{
    n->bytes[n->w.blob][x] = ZERO;
    release(n, n->w.blob);
}

static void w_commit(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x;
    if (s->rec[x].state == ZA_PAGE_PACKING ||
        (is(BREAK_COMMIT_STORE_NOT_CAS) || is(BREAK_R_COMMIT_STORE)))
        n.rec[x] = (struct record){ZA_PAGE_STORED, s->w.blob, (uint8_t)x};
    else if (!is(BREAK_FAILED_COMMIT_KEEPS_REF))
        unstore_failed(&n, x);
    w_next(&n, W_COMMIT, W_IDLE);
    if (n.w.at == W_IDLE)
        w_finish(&n);
    emit(&n, "W commits");
}

static void w_purge(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x, st = s->rec[x].state;
    bool keep =
        st == ZA_PAGE_LIMBO || st == ZA_PAGE_BACK || st == ZA_PAGE_PACKING || st == ZA_PAGE_MOVING;
    if (is(BREAK_R_TIDY_BACK) && st == ZA_PAGE_BACK)
        keep = false;
    if (s->w.at == W_PURGE_SEE && (!keep || is(BREAK_PURGE_LIMBO)) && !hole(s->mirror[x])) {
        n.w.at = W_PURGE;
        emit(&n, "W finds a dead copy");
        return;
    }
    if (s->w.at == W_PURGE)
        n.mirror[x] = HOLE;
    w_next(&n, W_PURGE_SEE, W_IDLE);
    if (n.w.at == W_IDLE)
        w_rest(&n);
    emit(&n, "W purges the mirror");
}

static void w_sweep(const struct state *s)
{
    struct state n = *s;
    if (s->rec[s->w.x].state == ZA_PAGE_STORED) {
        unstore(&n, s->w.x);
    } else if (is(BREAK_SWEEP_STORE_NOT_CAS)) {
        n.rec[s->w.x] = plain(ZA_PAGE_KERNEL);
    }
    w_rest(&n);
    emit(&n, "W sweeps");
}

/* A request is done: the thread goes on. */
static void w_reply(struct state *n)
{
    for (unsigned t = 0; t < NTHREADS; t++) {
        if (n->t[t].at != AT_REQUEST)
            continue;
        if (is(BREAK_TO_LIVE_LATE) && n->t[t].op == OP_RELOCATE)
            n->t[t].at = AT_MARK;
        else
            conclude(n, t);
    }
    w_finish(n);
}

static void w_discard(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x, st = s->rec[x].state;
    n.w.at = W_DISCARD_HEAP;
    if (s->w.at == W_DISCARD_MIRROR) {
        n.mirror[x] = HOLE;
    } else if (s->w.at == W_DISCARD_HEAP) {
        n.heap[x] = HOLE;
        n.w.at = is(BREAK_TO_UNCLAIMED) ? W_FROM : W_TO_CLAIM;
        if (!s->w.relocate)
            w_reply(&n);
    } else if ((is(BREAK_DISCARD_HEAP_ONLY) || is(BREAK_R_DISCARD_HEAP))) {
        n.w.at = W_DISCARD_HEAP;
    } else if (st == ZA_PAGE_STORED) {
        unstore(&n, x);
    } else if (st == ZA_PAGE_LIMBO) {
        n.rec[x] = plain(ZA_PAGE_KERNEL);
        n.w.at = W_DISCARD_MIRROR;
    } else if (st != ZA_PAGE_KERNEL && !is(BREAK_NO_WAIT_IN_DISCARD)) {
        return; /* F is at it: wait */
    }
    emit(&n, "W discards");
}

/* Relocation. The target is W's (MOVING) until its content is there. */
static void w_target(const struct state *s)
{
    struct state n = *s;
    unsigned to = 1u - s->w.from;
    if (s->w.at == W_TO_CLAIM) {
        if (s->rec[to].state != ZA_PAGE_KERNEL)
            return; /* FILLING: wait */
        n.rec[to] = plain(ZA_PAGE_MOVING);
        n.w.at = W_TO_PURGE;
    } else if (s->w.at == W_TO_PURGE) {
        n.heap[to] = HOLE;
        n.w.at = W_FROM;
    } else {
        if (s->rec[to].state == ZA_PAGE_BACK)
            return; /* a phantom of F: wait */
        for (unsigned p = 0; p < NPAGES; p++)
            if (s->rec[p].state == ZA_PAGE_MOVING)
                n.rec[p] = plain(ZA_PAGE_KERNEL);
        n.w.at = W_TO_OVER;
    }
    emit(&n, "W prepares or settles the target");
}

static void w_source(const struct state *s)
{
    struct state n = *s;
    unsigned from = s->w.from;
    switch (s->rec[from].state) {
    case ZA_PAGE_KERNEL:
        if (!is(BREAK_FROM_UNCLAIMED))
            n.rec[from] = plain(ZA_PAGE_MOVING);
        n.w.at = W_HEAP_MOVE;
        break;
    case ZA_PAGE_STORED:
        n.w.blob = s->rec[from].blob;
        n.w.index = s->rec[from].index;
        n.rec[from] = plain(ZA_PAGE_KERNEL);
        n.w.at = W_INSTALL;
        break;
    case ZA_PAGE_LIMBO:
        n.rec[from] = plain(ZA_PAGE_RETURNING);
        n.w.at = W_LIMBO_MOVE;
        break;
    default: return; /* F is at it: wait */
    }
    emit(&n, "W looks at the source");
}

static void w_install(const struct state *s)
{
    struct state n = *s;
    unsigned to = 1u - s->w.from;
    if (s->rec[to].state != ZA_PAGE_MOVING && !is(BREAK_TO_UNCLAIMED))
        return; /* a phantom of F: wait */
    n.rec[to] = (struct record){ZA_PAGE_STORED, s->w.blob, s->w.index};
    n.w.at = W_TO_OVER;
    emit(&n, "W installs the blob at the target");
}

static void w_target_over(const struct state *s)
{
    struct state n = *s;
    w_wake_awaited(&n);
    w_reply(&n);
    emit(&n, "W has relocated");
}

static void w_limbo(const struct state *s)
{
    struct state n = *s;
    unsigned from = s->w.from, st = s->rec[from].state;
    if (s->w.at == W_LIMBO_MOVE) {
        switch (move(&n.heap[1 - from], &n.mirror[from])) {
        case MOVED: n.w.at = W_LIMBO_DONE; break;
        case M_BUSY: n.w.at = W_LIMBO_PACK; break;
        default: /* F took it to the heap */
            n.w.at = is(BREAK_ENOENT_IS_HOLE) ? W_LIMBO_DONE : W_FROM;
        }
    } else {
        if (st == ZA_PAGE_BACK)
            return; /* F is at it: wait */
        bool pack = s->w.at == W_LIMBO_PACK;
        if (st == ZA_PAGE_RETURNING)
            n.rec[from] = plain(pack ? ZA_PAGE_PACKING : ZA_PAGE_KERNEL);
        n.w.at = pack ? (st == ZA_PAGE_RETURNING ? W_LIMBO_READ : W_FROM) : W_TO_DONE;
    }
    emit(&n, "W relocates out of limbo");
}

/* MOVE refused: copy as packing does, so that F taking the page away spoils nothing (I6). */
static void w_limbo_copy(const struct state *s)
{
    struct state n = *s;
    unsigned from = s->w.from;
    if (s->w.at == W_LIMBO_READ) {
        if (hole(s->mirror[from]))
            return; /* W faults in the mirror: F fills it */
        n.w.val[from] = (uint8_t)bytes_of(s->mirror[from]);
        n.w.at = W_LIMBO_TAKE;
    } else if (s->w.at == W_LIMBO_TAKE) {
        n.w.at = W_FROM;
        if (s->rec[from].state == ZA_PAGE_PACKING) {
            n.rec[from] = plain(ZA_PAGE_KERNEL);
            n.w.at = W_LIMBO_COPY;
        }
    } else {
        n.heap[1 - from] = s->w.val[from];
        n.w.at = W_TO_DONE;
    }
    emit(&n, "W relocates by copy");
}

static void w_heap(const struct state *s)
{
    struct state n = *s;
    unsigned from = s->w.from, to = 1 - from;
    n.w.at = W_TO_DONE;
    if (s->w.at == W_HEAP_MOVE) {
        if (sc->unsaid && move(&n.heap[to], &n.heap[from]) == MOVED) {
            n.w.at = W_HEAP_UNSTRAY;
            emit(&n, "W relocates a resident page, and is told EEXIST");
            n = *s;
            n.w.at = W_TO_DONE;
        }
        enum moved r = move(&n.heap[to], &n.heap[from]);
        if (r == M_EXIST)
            n.w.at = W_HEAP_UNSTRAY;
        if (r == M_BUSY && !is(BREAK_REFUSED_IS_HOLE))
            n.w.at = W_HEAP_COPY;
    } else if (s->w.at == W_HEAP_UNSTRAY) {
        n.w.at = W_HEAP_MOVE;
        if (is(BREAK_UNSAID_TO_PURGED) || move(&n.heap[from], &n.heap[to]) == M_EXIST)
            n.heap[to] = HOLE;
    } else if (s->w.at == W_HEAP_COPY) {
        n.heap[to] = (uint8_t)bytes_of(s->heap[from]);
        n.w.at = W_HEAP_PURGE;
    } else {
        n.heap[from] = HOLE;
    }
    emit(&n, "W relocates a resident page");
}

static void w_reconcile(const struct state *s)
{
    struct state n = *s;
    unsigned x = s->w.x, st = s->rec[x].state;
    if (s->w.at == W_RECONCILE_PURGE) {
        n.mirror[x] = HOLE;
    } else if (!hole(s->heap[x]) && st == ZA_PAGE_STORED) {
        unstore(&n, x);
    } else if (!hole(s->heap[x]) && st == ZA_PAGE_LIMBO) {
        n.rec[x] = plain(ZA_PAGE_KERNEL);
        n.w.at = W_RECONCILE_PURGE;
        emit(&n, "W puts a record right");
        return;
    }
    w_next(&n, W_RECONCILE, W_IDLE);
    if (n.w.at == W_IDLE) {
        n.reconcile = 0;
        w_rest(&n);
    }
    emit(&n, "W reconciles");
}

static void w_parked(const struct state *s)
{
    (void)s; /* the forking thread ends it */
}

static void step_worker(const struct state *s)
{
    static void (*const steps[])(const struct state *) = {
        [W_IDLE] = w_idle,
        [W_PARKED] = w_parked,
        [W_CLEAN] = w_clean,
        [W_SEE] = w_probe_claim,
        [W_MOVE] = w_probe_move,
        [W_UNSTRAY] = w_probe_move,
        [W_UNSTRAY_PURGE] = w_probe_move,
        [W_SETTLE] = w_probe_settle,
        [W_OVER] = w_probe_over,
        [W_CLAIM] = w_claim,
        [W_READ] = w_read,
        [W_READ_MORE] = w_read,
        [W_SORT] = w_sort,
        [W_DROP_PURGE] = w_drop_purge,
        [W_RETURN] = w_return,
        [W_RETURN_LIMBO] = w_return,
        [W_RETURN_DONE] = w_return,
        [W_RETURN_PURGE] = w_return,
        [W_EARLY_PURGE] = w_early_purge,
        [W_PUT] = w_put,
        [W_COMMIT] = w_commit,
        [W_PURGE_SEE] = w_purge,
        [W_PURGE] = w_purge,
        [W_SWEEP] = w_sweep,
        [W_DISCARD] = w_discard,
        [W_DISCARD_MIRROR] = w_discard,
        [W_DISCARD_HEAP] = w_discard,
        [W_TO_CLAIM] = w_target,
        [W_TO_PURGE] = w_target,
        [W_FROM] = w_source,
        [W_INSTALL] = w_install,
        [W_LIMBO_MOVE] = w_limbo,
        [W_LIMBO_DONE] = w_limbo,
        [W_LIMBO_PACK] = w_limbo,
        [W_LIMBO_READ] = w_limbo_copy,
        [W_LIMBO_TAKE] = w_limbo_copy,
        [W_LIMBO_COPY] = w_limbo_copy,
        [W_HEAP_MOVE] = w_heap,
        [W_HEAP_COPY] = w_heap,
        [W_HEAP_PURGE] = w_heap,
        [W_HEAP_UNSTRAY] = w_heap,
        [W_TO_DONE] = w_target,
        [W_TO_OVER] = w_target_over,
        [W_RECONCILE] = w_reconcile,
        [W_RECONCILE_PURGE] = w_reconcile,
    };
    steps[s->w.at](s);
}

/* --- everybody, and what must hold at rest --- */

static void step_all(const struct state *s)
{
    for (unsigned t = 0; t < sc->threads; t++)
        step_thread(s, t);
    step_fault(s);
    step_worker(s);
    if (sc->share) {
        struct state n = *s;
        share_all(&n);
        wish(&n, "a fork without handlers shares every page");
    }
}

static bool at_rest(const struct state *s)
{
    for (unsigned t = 0; t < NTHREADS; t++)
        if (s->t[t].at != AT_REST)
            return false;
    return s->f.at == F_IDLE && s->w.at == W_IDLE && !s->reconcile;
}

static void check_page(const struct state *s, unsigned p)
{
    const struct record *r = &s->rec[p];
    unsigned bytes = hole(s->heap[p]) ? ZERO : bytes_of(s->heap[p]);
    if (r->state == ZA_PAGE_LIMBO)
        bytes = bytes_of(s->mirror[p]);
    else if (r->state == ZA_PAGE_STORED)
        bytes = s->bytes[r->blob][r->index];
    else if (r->state != ZA_PAGE_KERNEL)
        wrong = "a claim outlives its owner's work";
    if (r->state != ZA_PAGE_KERNEL && !hole(s->heap[p]))
        wrong = "a page that is out is on the heap as well";
    bool stray = !hole(s->mirror[p]) && r->state != ZA_PAGE_LIMBO;
    if (stray && (!(sc->stray || sc->remap) || bytes_of(s->mirror[p]) != ZERO))
        wrong = "a page is left in the mirror";
    if (s->expect[p] != UNDEFINED && bytes != s->expect[p])
        wrong = "the place that counts does not hold the program's bytes";
}

static void check_rest(const struct state *s)
{
    unsigned refs[NBLOBS] = {0};
    for (unsigned p = 0; p < NPAGES; p++) {
        check_page(s, p);
        if (s->rec[p].state == ZA_PAGE_STORED)
            refs[s->rec[p].blob]++;
    }
    for (unsigned b = 0; b < NBLOBS; b++)
        if (refs[b] != s->refs[b])
            wrong = refs[b] < s->refs[b] ? "a blob reference is lost" : "a reference too few";
}

/* --- the explorer --- */

struct found {
    struct state *states;
    uint32_t *parents;
    uint32_t *way;   /* index + 1 of a state one needed step ahead; 0: none */
    uint32_t *table; /* index + 1 of a state; 0: free */
    uint8_t *good;   /* P2 is shown for it */
    uint32_t count;
};

static struct found ex;
static uint32_t current; /* the state being expanded */
static bool hit;         /* P2: a good successor was met */
static uint32_t wanted;  /* when a path is printed: the successor whose label is sought */
static const char *wanted_label;
static bool full;

static uint64_t hash(const struct state *s)
{
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < sizeof(*s); i += 8) {
        uint64_t word = 0;
        memcpy(&word, (const char *)s + i, sizeof(*s) - i < 8 ? sizeof(*s) - i : 8);
        h = (h ^ word) * 0xd6e8feb86659fd93u;
        h ^= h >> 29;
    }
    return h;
}

/* The table's cell for `s`: holding it, or free. */
static uint32_t *cell(const struct state *s)
{
    uint64_t i = hash(s) % TABLE;
    while (ex.table[i] && memcmp(&ex.states[ex.table[i] - 1], s, sizeof(*s)) != 0)
        i = (i + 1) % TABLE;
    return &ex.table[i];
}

static void visit_new(const struct state *next, enum urge urge, const char *label)
{
    (void)label;
    uint32_t *c = cell(next);
    if (!*c && ex.count == LIMIT) {
        full = true;
        return;
    }
    if (!*c) {
        ex.states[ex.count] = *next;
        ex.parents[ex.count] = current;
        ex.way[ex.count] = 0;
        *c = ++ex.count;
    }
    if (urge == MUST && !ex.way[current] && *c != current + 1)
        ex.way[current] = *c;
}

static void visit_good(const struct state *next, enum urge urge, const char *label)
{
    (void)label;
    if (urge == MUST && !hit)
        hit = ex.good[*cell(next) - 1];
}

static void visit_label(const struct state *next, enum urge urge, const char *label)
{
    (void)urge;
    if (memcmp(next, &ex.states[wanted], sizeof(*next)) == 0)
        wanted_label = label;
}

static void print_state(const struct state *s)
{
    static const char *const names[] = {"KERNEL",    "MOVING", "LIMBO", "PACKING",
                                        "RETURNING", "STORED", "BACK",  "FILLING"};
    for (unsigned p = 0; p < NPAGES; p++)
        printf("  %c %-9s heap %c mirror %c want %c |", s->live & 1u << p ? 'L' : '-',
               names[s->rec[p].state], "012T   ."[bytes_of(s->heap[p])],
               "012T   ."[bytes_of(s->mirror[p])], "012?"[s->expect[p]]);
    printf(" refs %u %u %u\n", s->refs[0], s->refs[1], s->refs[2]);
}

static void print_path(uint32_t to)
{
    if (to != 0) {
        print_path(ex.parents[to]);
        wanted = to;
        wanted_label = "";
        visit = visit_label;
        step_all(&ex.states[ex.parents[to]]);
    }
    printf("    %-42s", to ? wanted_label : "start");
    print_state(&ex.states[to]);
}

static void begin(void)
{
    struct state s;
    memset(&s, 0, sizeof(s));
    memset(s.heap, HOLE, sizeof(s.heap));
    memset(s.mirror, HOLE, sizeof(s.mirror));
    memset(ex.table, 0, TABLE * sizeof(*ex.table));
    for (unsigned p = 0; p < NPAGES; p++)
        s.rec[p].blob = NO_BLOB;
    ex.count = 0;
    full = false;
    wrong = NULL;
    visit = visit_new;
    visit_new(&s, MUST, "start");
}

/* P1, P3, P4: on the way. Returns the state in which something was found wrong, or count. */
static uint32_t explore(void)
{
    begin();
    for (uint32_t i = 0; i < ex.count; i++) {
        const struct state s = ex.states[i];
        current = i;
        if (at_rest(&s))
            check_rest(&s);
        if (!wrong)
            step_all(&s);
        if (full)
            wrong = "more states than the explorer has room for";
        if (wrong)
            return i;
    }
    return ex.count;
}

enum { UNKNOWN, GOOD, ON_WAY };

/*
 * Follows the first needed step of each state; good if that leads to rest. Cheap, shows nearly all.
 */
static void follow(uint32_t from)
{
    uint32_t i = from, next;
    while (ex.good[i] == UNKNOWN && ex.way[i]) {
        ex.good[i] = ON_WAY;
        i = ex.way[i] - 1;
    }
    uint8_t end = ex.good[i] == GOOD ? GOOD : UNKNOWN;
    for (i = from; ex.good[i] == ON_WAY; i = next) {
        ex.good[i] = end;
        next = ex.way[i] - 1;
    }
}

/* P2: backwards from the states at rest, along steps that need nobody's wish. */
static uint32_t explore_rest(void)
{
    bool more = true;
    visit = visit_good;
    for (uint32_t i = 0; i < ex.count; i++)
        ex.good[i] = at_rest(&ex.states[i]) ? GOOD : UNKNOWN;
    for (uint32_t i = 0; i < ex.count; i++)
        follow(i);
    while (more) {
        more = false;
        for (uint32_t i = ex.count; i-- > 0;) {
            hit = false;
            if (!ex.good[i])
                step_all(&ex.states[i]);
            if (hit)
                ex.good[i] = more = true;
        }
    }
    uint32_t i = 0;
    while (i < ex.count && ex.good[i])
        i++;
    if (i < ex.count)
        wrong = "somebody is stuck: no rest can be reached";
    return i;
}

/* True if the protocol holds in the scenario. */
static bool check(const struct scenario *scenario, enum broken b, bool verbose)
{
    sc = scenario;
    broken = b;
    uint32_t at = explore();
    if (!wrong)
        at = explore_rest();
    const char *why = wrong;
    printf("%-32s %-9s %9u states  %s\n", breaks[b].name, sc->name, ex.count, why ? why : "holds");
    if (why && verbose)
        print_path(at);
    fflush(stdout);
    return !why;
}

static int check_all(void)
{
    unsigned passed = 0, failed = 0;
    for (size_t i = 0; i < ZA_ARRAY_LEN(scenarios); i++) {
        bool ok = check(&scenarios[i], BREAK_NONE, true);
        passed += ok;
        failed += !ok;
    }
    for (unsigned b = BREAK_NONE + 1; b < BREAK_COUNT; b++) {
        bool caught = !check(&scenarios[breaks[b].where], (enum broken)b, false) && !full;
        passed += caught;
        failed += !caught;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}

static int list(void)
{
    for (size_t i = 0; i < ZA_ARRAY_LEN(scenarios); i++)
        printf("--only=%s\n", scenarios[i].name);
    for (unsigned b = BREAK_NONE + 1; b < BREAK_COUNT; b++)
        printf("--break=%-32s %s\n", breaks[b].name, breaks[b].what);
    return 0;
}

static int check_one(const char *arg)
{
    for (size_t i = 0; i < ZA_ARRAY_LEN(scenarios); i++)
        if (strncmp(arg, "--only=", 7) == 0 && strcmp(arg + 7, scenarios[i].name) == 0)
            return !check(&scenarios[i], BREAK_NONE, true);
    for (unsigned b = BREAK_NONE + 1; b < BREAK_COUNT; b++)
        if (strncmp(arg, "--break=", 8) == 0 && strcmp(arg + 8, breaks[b].name) == 0)
            return !check(&scenarios[breaks[b].where], (enum broken)b, true);
    return list() + 2;
}

int main(int argc, char **argv)
{
    ex.states = malloc((size_t)LIMIT * sizeof(*ex.states));
    ex.parents = malloc((size_t)LIMIT * sizeof(*ex.parents));
    ex.way = malloc((size_t)LIMIT * sizeof(*ex.way));
    ex.table = malloc((size_t)TABLE * sizeof(*ex.table));
    ex.good = malloc(LIMIT);
    if (!ex.states || !ex.parents || !ex.way || !ex.table || !ex.good) {
        puts("no memory");
        return 2;
    }
    if (argc > 1)
        return strcmp(argv[1], "--list") == 0 ? list() : check_one(argv[1]);
    return check_all();
}
