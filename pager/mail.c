/* SPDX-License-Identifier: MIT */
/*
 * mail -- requests of the program's threads to the worker, one at a time, and the worker's sleep.
 *
 * Only W and F touch page records, so what a thread of the program wants done to them it asks for
 * and waits. A thread that waits here holds ZA_RANK_CTL and no other lock; a signal handler on it
 * may fault: F serves without W.
 *
 * park keeps the lock until unpark, so no other request comes through;
 * W stands still until released.
 *
 * Who can do without (amid.c) waits for a second at most until W begins, and the next ones for a millisecond until it
 * has begun with anything: the thread whose request
 * comes before may have been stopped, wherever it was, by the one that waits here (a collector stops the
 * world), and so may one that forks, or has a lock that W wants in decay.
 *
 *  I1  A request is W's from when W has changed `op` from what it is to CLAIMED, and the poster's again
 *      when it has changed it to NONE before that: then it was never made.
 *
 * Locks: ZA_RANK_CTL.  May sleep: yes.  May fault: on its own words only.  Allocates: nothing.
 */
#include <errno.h>

#include "base/lock.h"
#include "base/remedy.h"
#include "pager/door.h"
#include "pager/filing.h"
#include "pager/private.h"

#define SPARE_FILES 4u /* for a child, its socket, and the way there */
#define PATIENCE_NS ZA_NS_PER_S
#define IMPATIENCE_NS ZA_NS_PER_MS

struct request {        /* [c] by the poster until `op` is published; then W's until `done` */
    enum za_mail_op op; /* [a] published last */
    uintptr_t a, b;
    size_t len;
    int tid; /* the poster's: descriptors are numbers in its table */
    int result;
    uint32_t done; /* [a] futex word of the poster */
};

static struct za_lock ctl = ZA_LOCK_INIT(ZA_RANK_CTL);
static struct request req;
static uint32_t bell;   /* [a] futex word of W */
static uint32_t stuck;  /* [a] somebody has waited in vain, and nothing has moved since */
static uint32_t parked; /* [a] futex word: 1 while W must stand still */

static void take(void)
{
    za_inside_enter();
    za_lock(&ctl);
}

static void give(void)
{
    za_unlock(&ctl);
    za_inside_leave();
}

/* I1; from `from` it becomes W's, or nobody's. */
static bool take_over(enum za_mail_op from, enum za_mail_op to)
{
    return __atomic_compare_exchange_n(&req.op, &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

/* 0, or -ETIMEDOUT: W has not begun with it, and will not. */
static int await(enum za_mail_op op, uint64_t patience)
{
    uint64_t end = patience == ZA_NEVER ? ZA_NEVER : za_os->now() + patience;
    while (!__atomic_load_n(&req.done, __ATOMIC_ACQUIRE)) {
        uint64_t now = end == ZA_NEVER ? 0 : za_os->now();
        if (now < end) {
            (void)za_os->wait(&req.done, 0, end == ZA_NEVER ? ZA_NEVER : end - now);
        } else {
            if (take_over(op, ZA_MAIL_NONE))
                return -ETIMEDOUT;
            end = ZA_NEVER;
        }
    }
    return 0;
}

static int send(enum za_mail_op op, uintptr_t a, uintptr_t b, size_t len, uint64_t patience)
{
    req.a = a;
    req.b = b;
    req.len = len;
    req.tid = za_os->tid();
    __atomic_store_n(&req.done, 0, __ATOMIC_RELAXED);
    /* The worker comes and goes only while somebody has the lock, or by F's answer to the bell. */
    if (!__atomic_load_n(&za_pg.worker_up, __ATOMIC_ACQUIRE) && za_pg_active())
        za_fault_ring();
    if (!__atomic_load_n(&za_pg.worker_up, __ATOMIC_ACQUIRE))
        return -ENOSYS; /* no thread is to be had */
    __atomic_store_n(&req.op, op, __ATOMIC_RELEASE);
    __atomic_fetch_add(&bell, 1, __ATOMIC_RELEASE);
    za_os->wake(&bell);
    int r = await(op, patience);
    return r < 0 ? r : req.result;
}

/* The result, or -ENOSYS when this process has no worker to ask. */
int za_mail_post(enum za_mail_op op, uintptr_t a, uintptr_t b, size_t len)
{
    int r = -ENOSYS;
    if (!za_pg_is_ours())
        return r;
    take();
    if (__atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_STARTED)
        r = send(op, a, b, len, ZA_NEVER);
    give();
    return r;
}

/* The same, for who can do without; -ETIMEDOUT: it was not made. */
int za_mail_try(enum za_mail_op op, uintptr_t a, uintptr_t b, size_t len)
{
    int r = -ENOSYS;
    if (!za_pg_is_ours())
        return r;
    uint64_t patience = __atomic_load_n(&stuck, __ATOMIC_RELAXED) ? IMPATIENCE_NS : PATIENCE_NS;
    za_inside_enter();
    if (za_lock_within(&ctl, patience)) {
        if (__atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_STARTED)
            r = send(op, a, b, len, patience);
        za_unlock(&ctl);
    } else {
        r = -ETIMEDOUT;
    }
    za_inside_leave();
    if (r == -ETIMEDOUT)
        __atomic_store_n(&stuck, 1, __ATOMIC_RELAXED);
    return r;
}

/*
 * W gives way. Where there is no F to start the next one, `next` does, before anybody else asks for
 * anything.
 */
int za_mail_renew(int sock, void (*next)(void))
{
    int r = -ENOSYS;
    take();
    if (__atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_STARTED)
        r = send(ZA_MAIL_RENEW, (uintptr_t)sock, 0, za_os->socket_number(sock), ZA_NEVER);
    if (r == 0 && !za_pg_active())
        next();
    give();
    return r;
}

/* As za_mail_post, and a process without a worker never gets one. */
int za_mail_retire(void)
{
    int r = 0;
    take();
    if (__atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) == ZA_LIFE_STARTED)
        r = send(ZA_MAIL_RETIRE, 0, 0, 0, ZA_NEVER);
    if (r == -ENOSYS)
        r = za_retire_alone();
    if (r == 0) {
        __atomic_store_n(&za_pg.retired, 1, __ATOMIC_RELEASE);
        __atomic_store_n(&za_pg.life, ZA_LIFE_FAILED, __ATOMIC_RELEASE);
    }
    give();
    return r;
}

/* The caller may hold any lock but ours. */
bool za_mail_hold(void)
{
    za_inside_enter();
    bool held = za_trylock(&ctl);
    if (!held)
        za_inside_leave_quietly();
    return held;
}

void za_mail_let_go(void)
{
    za_unlock(&ctl);
    za_inside_leave_quietly();
}

/* Result of W's fetching `sock` (-1: nothing to fetch); the lock stays taken. */
int za_mail_park(int sock, bool thaw)
{
    take();
    if (__atomic_load_n(&za_pg.life, __ATOMIC_ACQUIRE) != ZA_LIFE_STARTED)
        return -ENOSYS;
    uint64_t number = sock < 0 ? 0 : za_os->socket_number(sock);
    return send(ZA_MAIL_PARK, (uintptr_t)(intptr_t)sock, thaw, number, ZA_NEVER);
}

/* The lock is taken already; nothing that is out need come back. */
int za_mail_park_newborn(void)
{
    return send(ZA_MAIL_PARK, (uintptr_t)(intptr_t)-1, false, 0, ZA_NEVER);
}

/*
 * W goes on. Whoever ends the fork calls it: the forking thread, or F when the child is on its own.
 */
void za_mail_release(void)
{
    __atomic_store_n(&parked, 0, __ATOMIC_RELEASE);
    za_os->wake(&parked);
}

/* W stands still, and nobody has told it yet to go on. */
bool za_mail_parked(void)
{
    return __atomic_load_n(&parked, __ATOMIC_ACQUIRE);
}

/* Requests may come again; W answers them when it has been released. */
void za_mail_unpark(void)
{
    give();
}

bool za_mail_waiting(void)
{
    return __atomic_load_n(&req.op, __ATOMIC_ACQUIRE) != ZA_MAIL_NONE;
}

/* In a child: the forking thread owned the lock; W did not come along. */
void za_mail_child(void)
{
    parked = stuck = 0;
    req.op = ZA_MAIL_NONE;
    give();
}

/* In a child made without handlers: whoever held the lock stayed behind. */
void za_mail_bare(void)
{
    za_lock_init(&ctl, ZA_RANK_CTL);
    parked = stuck = 0;
    req.op = ZA_MAIL_NONE;
}

static void finish(int result)
{
    req.result = result;
    __atomic_store_n(&req.op, ZA_MAIL_NONE, __ATOMIC_RELAXED);
    __atomic_store_n(&req.done, 1, __ATOMIC_RELEASE);
    za_os->wake(&req.done);
}

/*
 * The kernel announces a child with a descriptor, and waits until that has been read. Where the
 * program leaves room for none, nothing may be registered while it forks: everything comes back
 * first. True: so it was done.
 */
static bool withdraw(void)
{
    if (za_door_withdrawn()) {
        za_place_unregister_all(); /* the bell, which a held process keeps */
        return true;
    }
    if (za_without(D14_NO_FILES) || !za_pg_active() || !za_pg.caps.event_fork ||
        !za_pg.nregistered || za_os->spare_files(SPARE_FILES) == 0)
        return false;
    (void)za_thaw();
    za_place_unregister_all();
    return true;
}

/* Stands still until the fork is over; then nobody sends the child anything any more. */
static void stand_still(int sock, bool thaw_first)
{
    bool withdrawn = withdraw();
    if (thaw_first && !withdrawn)
        (void)za_thaw();
    int mine = sock >= 0 && !withdrawn ? za_os->fetch_file(req.tid, sock, req.len) : -1;
    if (mine >= 0)
        za_filing_lend(mine); /* before F may send what comes after it */
    __atomic_store_n(&za_pg.heir_sock, mine, __ATOMIC_RELEASE);
    /*
     * W alone sets the word, before it answers: a release can be meant only for this stand-still.
     */
    __atomic_store_n(&parked, 1, __ATOMIC_RELEASE);
    int failed =
        sock >= 0 && mine < 0 ? (mine == -ENOSYS ? -EPERM : mine) : 0; /* -ENOSYS: no worker */
    finish(withdrawn ? ZA_MAIL_WITHDRAWN : failed);
    za_still_leave();
    while (__atomic_load_n(&parked, __ATOMIC_ACQUIRE))
        (void)za_os->wait(&parked, 1, ZA_NEVER);
    za_fault_quiesce();
    mine = __atomic_exchange_n(&za_pg.heir_sock, -1, __ATOMIC_ACQ_REL);
    if (mine != -1)
        (void)za_os->close(mine < 0 ? ZA_SOCK_UNUSED(mine) : mine);
    if (__atomic_exchange_n(&za_pg.window_served, 0, __ATOMIC_ACQ_REL))
        __atomic_store_n(&za_pg.must_reconcile, 1, __ATOMIC_RELEASE);
    za_still_enter();
    if (withdrawn && za_door_withdrawn())
        (void)za_place_register_bell(za_pg.uffd);
    else if (withdrawn && za_place_register_again(za_pg.uffd) < 0)
        za_pin_everything();
}

/* What the program gives up: a child made before may still use it. */
static int take_away(const struct request *r, enum za_mail_op op)
{
    za_calm_begin();
    int result =
        op == ZA_MAIL_DISCARD ? za_drop_range(r->a, r->len) : za_relocate_range(r->a, r->b, r->len);
    za_calm_end();
    return result;
}

static int carry_out(const struct request *r, enum za_mail_op op)
{
    switch (op) {
    case ZA_MAIL_DISCARD:
    case ZA_MAIL_RELOCATE: return take_away(r, op);
    case ZA_MAIL_EVICT: za_plan_everything(false); return za_pg_active() ? 0 : -ENOSYS;
    case ZA_MAIL_DENSE:
        za_plan_everything(false);
        za_plan_dense(false);
        return za_pg_active() ? 0 : -ENOSYS;
    case ZA_MAIL_FILE:
        za_plan_everything(false);
        za_plan_dense(false);
        if (!za_pg_active())
            return -ENOSYS;
        za_filing_all();
        return 0;
    case ZA_MAIL_THAW:
        (void)za_thaw();
        za_fault_quiesce(); /* the last ones are counted, too */
        return 0;
    case ZA_MAIL_PIN: return za_pin_range(r->a, r->len, (enum za_pin)r->b);
    case ZA_MAIL_UNPIN: return za_unpin_range(r->a, r->len, (enum za_pin)r->b);
    case ZA_MAIL_KEEP_BEGIN: return za_keep_begin();
    case ZA_MAIL_KEEP_END: return za_keep_end();
    default: za_footprint(); return 0;
    }
}

/* True: W's time is over. */
static bool make_room(void)
{
    int r = za_renew_hand_over(req.tid, (int)req.a, req.len);
    if (r == 0) {
        __atomic_store_n(&za_pg.worker_up, 0, __ATOMIC_RELEASE);
        za_still_leave(); /* before the next W is born */
    }
    finish(r);
    return r == 0;
}

/* True: W's time is over. */
static bool retire(void)
{
    int r = za_pg_active() && za_thaw() ? -EBUSY : 0;
    if (r == 0)
        r = za_retire();
    if (r == 0) {
        __atomic_store_n(&za_pg.worker_up, 0, __ATOMIC_RELEASE);
        za_still_leave(); /* nobody comes after it: bare forks must not wait for it */
    }
    finish(r);
    return r == 0;
}

/* W touches pages itself: faults are not to wait for it. */
static bool makes_no_room(enum za_mail_op op)
{
    return op != ZA_MAIL_DISCARD && op != ZA_MAIL_EVICT && op != ZA_MAIL_DENSE &&
           op != ZA_MAIL_STATS && op != ZA_MAIL_PARK;
}

static bool obey(enum za_mail_op op)
{
    if (op == ZA_MAIL_RENEW)
        return !make_room();
    if (op == ZA_MAIL_RETIRE)
        return !retire();
    if (op == ZA_MAIL_PARK)
        stand_still((int)(intptr_t)req.a, req.b != 0);
    else
        finish(carry_out(&req, op));
    return true;
}

bool za_mail_serve(void)
{
    enum za_mail_op op = __atomic_load_n(&req.op, __ATOMIC_ACQUIRE);
    if (op == ZA_MAIL_NONE || !take_over(op, ZA_MAIL_CLAIMED))
        return true;
    __atomic_store_n(&stuck, 0, __ATOMIC_RELAXED);
    if (op == ZA_MAIL_PARK)
        return obey(op); /* faults wait no more once it stands still (za_mail_parked) */
    if (!makes_no_room(op)) {
        finish(carry_out(&req, op));
        return true;
    }
    za_room_suspend();
    bool goes_on = obey(op);
    za_room_resume();
    return goes_on;
}

/* F: there is something to tidy up. Costs a system call, so not for every fault. */
void za_mail_nudge(void)
{
    __atomic_fetch_add(&bell, 1, __ATOMIC_RELEASE);
    za_os->wake(&bell);
}

uint32_t za_mail_heard(void)
{
    return __atomic_load_n(&bell, __ATOMIC_ACQUIRE);
}

void za_mail_sleep(uint64_t timeout_ns, uint32_t seen)
{
    if (__atomic_load_n(&req.op, __ATOMIC_ACQUIRE) == ZA_MAIL_NONE)
        (void)za_os->wait(&bell, seen, timeout_ns);
}
