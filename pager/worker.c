/* SPDX-License-Identifier: MIT */
/*
 * worker -- the background thread: a turn, a sleep, a turn.
 *
 * A turn answers requests, gives freed memory back, takes cold pages out, and keeps the store tidy.
 * What nobody waits for is done within the CPU budget: so much in any second, a little more at
 * most. What was freed goes back when it is time, credit or not, and counts. What the program asks
 * for, and what F does for it, is neither held up nor counted: else a program that asks for much
 * would have a store that nobody tidies. It decides once, at its start, which back-end this process has, and says
 * why if none.
 *
 * Settled, it sleeps a second at a time and does nothing worth measuring.
 *
 * Locks: none of its own.  May sleep: yes.  May fault: in pack, on the mirror.
 * Allocates: arrays, store.
 */
#include <errno.h>

#include "base/conf.h"
#include "base/remedy.h"
#include "base/stat.h"
#include "pager/dense.h"
#include "pager/door.h"
#include "pager/filing.h"
#include "pager/private.h"
#include "pager/share.h"

#define SLEEP_MAX_NS ZA_NS_PER_S
#define SLEEP_MIN_NS (2 * ZA_NS_PER_MS)
#define GRAIN_SHARE 8u
#define THROTTLE_WANT_NS ((int64_t)(5 * ZA_NS_PER_MS))
#define TORTURE_DENSE 8u           /* turns of torture to each that packs densely */
#define COMPACT_BYTES (2 * ZA_MIB) /* a millisecond of copying */

#define HASTY_DECAY_NS (100 * ZA_NS_PER_MS)

static uint64_t decay_due;
static uint64_t hasty_decay; /* not before this again out of turn */
static bool pressed;         /* more room is to be made at once */

static const char *open_backend(void)
{
    if (!za_conf.compress)
        return "compress:false";
    if (za_conf.backend == ZA_BACKEND_NONE)
        return "backend:none";
    if (!za_pg.pages && !za_place_reserve())
        return "no address space for the mirror and the page records";
    int fd = za_os->uffd_open(&za_pg.caps);
    if (fd < 0)
        return fd == -EPERM || fd == -EACCES
                   ? "userfaultfd with kernel faults is not allowed here; `zalloc doctor` says how to allow it"
                   : "this kernel has no userfaultfd";
    za_pg.uffd = fd;
    return za_mover_choose(fd);
}

void *za_store_map(size_t len)
{
    void *p;
    return za_os->map(&p, len) < 0 ? NULL : p;
}

void za_store_unmap(void *p, size_t len)
{
    (void)za_os->unmap(p, len);
}

static bool open_store(void)
{
    static const struct za_store_ops ops = {za_store_map, za_store_unmap};
    if (!za_pg.store)
        za_pg.store = za_store_new(&ops);
    if (za_pg.store)
        za_filing_open();
    return za_pg.store != NULL;
}

static size_t append(char *to, size_t at, size_t cap, const char *s)
{
    while (*s && at < cap)
        to[at++] = *s++;
    return at;
}

/* Who forced a back-end is told when it is not to be had, and who asked for it what became of it. */
static void tell(const char *backend, const char *why)
{
    static const char *const forced[] = {
        [ZA_BACKEND_MOVE] = "move: ", [ZA_BACKEND_REMAP] = "remap: ", [ZA_BACKEND_NONE] = NULL};
    const char *wanted = why && za_conf.compress ? forced[za_conf.backend] : NULL;
    char line[256];
    size_t n = append(line, 0, sizeof(line) - 1, "zalloc: backend:");
    if (!wanted && !za_conf.confirm_conf)
        return;
    n = append(line, n, sizeof(line) - 1, wanted ? wanted : backend);
    n = append(line, n, sizeof(line) - 1, why && !wanted ? ": " : "");
    n = append(line, n, sizeof(line) - 1, why ? why : "");
    line[n++] = '\n';
    za_os->tell(line, n);
}

static void choose_backend(void)
{
    const char *why = "no descriptor table of its own for the worker (close_range refused)";
    if (za_os->private_files() == 0) {
        za_os->pagemap_keep(-1);
        za_room_born();
        why = open_backend();
    }
    if (!why && !open_store())
        why = "no memory for the blob store";
    if (!why && za_os->thread_start(za_fault_main, NULL, "zalloc-fault", true) < 0)
        why = "the fault thread could not be started";
    za_os->drop_privileges();
    if (why && za_pg.uffd >= 0) {
        /* Nobody would read it: a fork would wait for ever to be announced. Closing unregisters. */
        (void)za_os->close(za_pg.uffd);
        za_pg.uffd = -1;
    }
    __atomic_store_n(&za_pg.fault_born, why == NULL, __ATOMIC_RELEASE);
    __atomic_store_n(&za_pg.why_none, why, __ATOMIC_RELEASE);
    __atomic_store_n(&za_pg.backend, why ? "none" : za_pg.mover->name, __ATOMIC_RELEASE);
    __atomic_store_n(&za_pg.active, why == NULL, __ATOMIC_SEQ_CST); /* amid.c asks */
    tell(za_pg.backend, why);
    za_pin_noted();
}

static void begin_life(void)
{
    za_renew_born();
    __atomic_store_n(&za_pg.worker_tid, za_os->tid(), __ATOMIC_RELEASE);
    if (!za_pg.epoch)
        za_pg.epoch = za_os->now();
    za_budget_start(&za_pg.budget, za_os->now(), za_os->thread_cpu());
    decay_due = 0;
}

/*
 * Where the control group has a limit the program may have to wait for this thread, which then
 * must not be the one that everybody else goes before.
 */
static void set_priority(void)
{
    (void)za_room_look(za_os->now());
    if (za_room_limited())
        za_os->be_fair();
    else
        za_os->be_modest();
}

static uint64_t until(uint64_t due, uint64_t now)
{
    return due > now ? due - now : 0;
}

/*
 * To the owner's decay, which takes alloc's locks, W is at rest. When memory is short everything
 * freed is old enough.
 */
static uint64_t give_back(uint64_t now)
{
    bool haste = za_room_strain() != ZA_STRAIN_NONE && now >= hasty_decay;
    if (now >= decay_due || haste) {
        za_still_leave();
        za_room_hurry(true);
        hasty_decay = now + HASTY_DECAY_NS;
        decay_due = za_pg.owner->decay(haste ? now + za_conf.dirty_decay_ms * ZA_NS_PER_MS : now);
        za_room_hurry(false);
        za_still_enter();
    }
    return until(decay_due, now);
}

/*
 * Frees what died in the store; and, within the budget however many requests make turns, squeezes
 * it, works on the dictionary, and files.  True: there is more to do.  The waste that piles up
 * meanwhile is what has died since there was credit.
 */
static bool tidy_store(void)
{
    za_store_reclaim(za_pg.store);
    za_fork_turn();
    za_dense_sweep();
    za_share_turn();
    za_filing_clock(za_os->now());
    if (!za_conf.torture && !za_plan_credit())
        return true;
    bool more = !za_room_scarce() && za_dense_turn();
    more |= za_filing_turn(za_os->now());
    return za_store_compact(za_pg.store, COMPACT_BYTES) > COMPACT_BYTES / 2 || more;
}

/*
 * Units are due one by one, as they were last looked at.  What is due within an eighth of the cold age, a
 * second at most, is looked at together: a settled process is left in peace.
 */
static uint64_t together(uint32_t tick)
{
    uint64_t grain = __atomic_load_n(&za_conf.cold_ms, __ATOMIC_RELAXED) * ZA_NS_PER_MS /
                     ZA_TICK_NS / GRAIN_SHARE;
    grain = za_max(1, za_min(grain, SLEEP_MAX_NS / ZA_TICK_NS));
    if (za_room_strain() != ZA_STRAIN_NONE)
        grain = 1;
    return (tick + grain - 1) / grain * grain;
}

/*
 * Sleep after a plan that reached `next`:
 * until the next unit is due, or until there is credit again.
 */
static uint64_t plan_sleep(enum za_plan_end end, uint32_t next, uint64_t now)
{
    uint64_t percent = __atomic_load_n(&za_conf.cpu_limit, __ATOMIC_RELAXED);
    if (end == ZA_PLAN_THROTTLED)
        return za_max(SLEEP_MIN_NS, za_budget_wait(&za_pg.budget, THROTTLE_WANT_NS, percent));
    if (end == ZA_PLAN_CALLED)
        return 0;
    if (next == ZA_TICK_NEVER)
        return SLEEP_MAX_NS;
    return until(za_pg.epoch + together(next) * ZA_TICK_NS, now);
}

/* Before anything else after a fork, requests included: a record may speak of what was. */
static void put_right(void)
{
    if (za_pg_active() && __atomic_exchange_n(&za_pg.must_reconcile, 0, __ATOMIC_ACQ_REL))
        za_reconcile();
}

/* One turn; returns the nanoseconds until the next is wanted. */
static uint64_t turn(uint64_t now)
{
    uint64_t sleep = za_min(SLEEP_MAX_NS, give_back(now));
    pressed = false;
    za_stat_add(ZA_STAT_PG_TURNS, 1);
    if (!za_pg_active())
        return sleep;
    if (za_conf.torture) {
        (void)tidy_store();
        za_plan_everything(true);
        if (za_stat_get(ZA_STAT_PG_TURNS) % TORTURE_DENSE == 0)
            za_plan_dense(true);
        if (za_stat_get(ZA_STAT_PG_TURNS) % TORTURE_DENSE == 1)
            za_store_close(za_pg.store);
        return SLEEP_MIN_NS;
    }
    bool untidy = tidy_store();
    sleep = za_min(sleep, za_room_look(now));
    if (za_door_held() && !untidy)
        return sleep; /* nothing may be taken out: there is nothing to plan */
    pressed = za_plan_press(now);
    if (pressed)
        return 0;
    uint32_t next = ZA_TICK_NEVER;
    enum za_plan_end end = za_plan_turn(now, &next);
    if (untidy)
        end = ZA_PLAN_THROTTLED;
    return za_min(sleep, plan_sleep(end, next, now));
}

/* What is asked for, which is not on the budget; false: W's time is over. */
static bool serve(void)
{
    if (!za_mail_waiting()) {
        za_door_serve();
        return true;
    }
    (void)za_plan_credit(); /* what was spent until now counts */
    if (!za_mail_serve())
        return false;
    put_right(); /* the request was a fork's */
    za_door_serve();
    za_budget_forgive(&za_pg.budget, za_os->thread_cpu());
    return true;
}

static void live(void)
{
    put_right();
    while (serve()) {
        uint32_t heard = za_mail_heard(); /* a nudge during the turn is not lost */
        uint64_t sleep = turn(za_os->now());
        za_stat_set(ZA_STAT_PG_CPU_NS, za_os->thread_cpu());
        if (pressed)
            continue;
        za_still_leave();
        za_mail_sleep(za_without(D16_SLEEP) ? SLEEP_MIN_NS : za_max(sleep, SLEEP_MIN_NS), heard);
        za_still_enter();
        put_right();
    }
}

/*
 * `first`: the process's first worker, which makes everything; else a child's, which finds it made.
 */
void za_worker_main(void *first)
{
    begin_life();
    za_still_enter();
    if (first)
        choose_backend();
    else
        za_room_born();
    set_priority();
    live();
}

/*
 * In a process whose fault thread runs already (a child's):
 * a worker that shares its descriptors. On F.
 */
void za_worker_start(void)
{
    za_still_born();
    if (za_os->thread_start(za_worker_main, NULL, "zalloc-worker", true) == 0)
        __atomic_store_n(&za_pg.worker_up, 1, __ATOMIC_RELEASE);
    else
        za_still_unborn();
}
