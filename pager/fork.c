/* SPDX-License-Identifier: MIT */
/*
 * fork -- a child that finds every byte where its parent had it (D1).
 *
 * A child inherits memory, records and blobs, but no thread and no descriptor of ours.
 * Four ways, the best first:
 *
 *   HAND_OVER  the kernel announces the child to F with a userfaultfd for it, which F sends through
 *              a socket; the child's own fault thread takes it. Needs the announcement (EVENT_FORK)
 *              and a descriptor for the socket.
 *   REOPEN     the child opens a userfaultfd of its own and registers the same chunks. Until then
 *              nothing that is out should be touched: the child has one thread, which is in our
 *              handler, and preload made resident what libc needs on the way there. What else libc
 *              touches (the values of other threads' keys) is undone (reconcile.c). So does the heir of
 *              a parent that was gone before it could hand anything over; where that would be
 *              refused, the parent's fork returns when the heir is on its own.
 *   FILL       the kernel announces the child, but there is no socket: F gives it all pages that
 *              are out; the child waits for the last of them.
 *   THAW       neither: everything is brought back before the fork.
 *
 * Forks without handlers: still.c, calm.c and heir.c.
 *
 * In all of them W is parked and F changes no record from
 * prefork until the system call is over (page.h I8).
 *
 * Locks: ZA_RANK_FORK and ZA_RANK_CTL from prefork to postfork.  May sleep: yes.
 * Allocates: a thread's stack, in the child.
 */
#include <errno.h>

#include "base/conf.h"
#include "base/lock.h"
#include "base/remedy.h"
#include "base/stat.h"
#include "pager/dense.h"
#include "pager/filing.h"
#include "pager/private.h"
#include "pager/share.h"

static struct za_lock fork_lock = ZA_LOCK_INIT(ZA_RANK_FORK);
static enum za_fork_way way; /* of the fork under way; under fork_lock */
static int heir_end = -1;    /* the child's end of the socket, in the program's table */
static int forker;           /* who forks; under fork_lock */
static int parent;           /* whose store this child has, too; W from its birth on; 0: nobody's */
static uint32_t heir_ready;  /* futex word: the child's fault thread serves (1), or need not (2) */

/* No fork between these two. */
void za_fork_exclude(void)
{
    za_inside_enter();
    za_lock(&fork_lock);
}

void za_fork_allow(void)
{
    za_unlock(&fork_lock);
    za_inside_leave();
}

bool za_fork_reopen_works(void)
{
    struct za_uffd_caps caps;
    int fd = za_os->uffd_open(&caps);
    if (fd < 0)
        return false;
    (void)za_os->close(fd);
    return true;
}

static bool forbidden(int r)
{
    return r < 0 && r != -EBADF;
}

/*
 * A child's threads inherit what the forking thread is forbidden (seccomp): may one read and answer
 * messages?
 */
static bool child_may_serve(void)
{
    struct za_uffd_msg m;
    if (za_conf.file[0] && forbidden(za_os->tier_read(-1, &m, sizeof(m), 0)))
        return false;
    return !forbidden(za_os->uffd_wake(-1, (void *)za_pg_bell(), za_pg_page_size())) &&
           !forbidden(za_os->uffd_read(-1, &m));
}

static enum za_fork_way choose_way(int socks[2])
{
    if (!za_pager_active() || !__atomic_load_n(&za_pg.nregistered, __ATOMIC_ACQUIRE))
        return ZA_FORK_NOTHING;
    if (!child_may_serve())
        return za_pg.caps.event_fork ? ZA_FORK_FILL : ZA_FORK_THAW;
    if (za_pg.caps.event_fork)
        return !za_without(D1_HAND_OVER) && za_os->socketpair(socks) == 0 ? ZA_FORK_HAND_OVER
                                                                          : ZA_FORK_FILL;
    if (za_conf.file[0] && za_os->socketpair(socks) < 0)
        return ZA_FORK_THAW;
    return za_fork_reopen_works() || za_without(D1_THAW) ? ZA_FORK_REOPEN : ZA_FORK_THAW;
}

/* The child will have a fault thread: does it have the files it needs? Else nothing may be there. */
static void provide_files(void)
{
    bool served = way == ZA_FORK_HAND_OVER || way == ZA_FORK_REOPEN;
    if (served && za_filing_needed() && !(heir_end >= 0 && za_filing_lent()))
        (void)za_pager_bring_all();
}

/* In a child that had no worker, F may have started one since it was asked to stand still. */
static void open_window(int parked)
{
    for (;;) {
        __atomic_fetch_add(&za_pg.window, 1, __ATOMIC_SEQ_CST);
        za_fault_quiesce();
        if (parked != -ENOSYS || !za_pager_has_worker() ||
            !__atomic_load_n(&za_pg.worker_up, __ATOMIC_ACQUIRE))
            return;
        __atomic_fetch_sub(&za_pg.window, 1, __ATOMIC_SEQ_CST);
        parked = za_mail_park_newborn();
    }
}

void za_pager_prefork(void)
{
    int socks[2] = {-1, -1};
    (void)za_pg_is_ours();
    za_inside_enter();
    za_lock(&fork_lock);
    way = choose_way(socks);
    forker = za_os->pid();
    za_filing_fork_begin();
    int fetched = za_mail_park(socks[0], way == ZA_FORK_THAW);
    heir_end = socks[1];
    if (socks[0] >= 0)
        (void)za_os->close(socks[0]);
    if (fetched != 0 && heir_end >= 0) {
        (void)za_os->close(heir_end);
        heir_end = -1;
    }
    if (fetched == ZA_MAIL_WITHDRAWN)
        way = ZA_FORK_THAW;
    else if (way == ZA_FORK_HAND_OVER && fetched < 0)
        way = ZA_FORK_FILL;
    __atomic_store_n(&za_pg.forked, 0, __ATOMIC_RELEASE); /* no heir is left from an earlier fork */
    /* What W registered between the choice and its parking is announced all the same. */
    if (way == ZA_FORK_NOTHING && __atomic_load_n(&za_pg.nregistered, __ATOMIC_ACQUIRE))
        way = za_pg.caps.event_fork ? ZA_FORK_FILL : ZA_FORK_REOPEN;
    provide_files();
    open_window(fetched);
    za_stat_add(ZA_STAT_FORKS, 1);
    za_stat_add(ZA_STAT_FORKS_THAWED, way == ZA_FORK_THAW);
}

static void close_heir_end(void)
{
    if (heir_end >= 0)
        (void)za_os->close(heir_end);
    heir_end = -1;
}

/*
 * Who has given its rights away may exit at once (daemon), and F with it; the heir could open no
 * userfaultfd of its own. F gives a silent one up after a second (heir.c I3).
 */
static void await_heir(void)
{
    uint32_t open;
    while ((open = __atomic_load_n(&za_pg.window, __ATOMIC_SEQ_CST)) != 0)
        (void)za_os->wait(&za_pg.window, open, ZA_NS_PER_MS);
}

/*
 * With an heir, F ends the window and releases W when the child is on its own. Without one (other
 * ways, or the system call failed and nobody was announced) this thread does.
 */
void za_pager_postfork_parent(void)
{
    __atomic_store_n(&za_pg.forked, 1, __ATOMIC_RELEASE);
    za_fault_quiesce();
    if (way != ZA_FORK_HAND_OVER || za_heir_unborn()) {
        __atomic_fetch_sub(&za_pg.window, 1, __ATOMIC_SEQ_CST);
        za_mail_release();
    } else if (!za_without(D1_AWAIT) && !za_fork_reopen_works()) {
        await_heir();
    }
    close_heir_end();
    za_mail_unpark();
    za_unlock(&fork_lock);
    za_inside_leave();
}

/*
 * F' knocks; the parent's F serves this process no longer when it has answered, and sends the
 * userfaultfd that the knock came through; or a word, if it has given the child up and filled it.
 */
static int inherit(int line)
{
    if (line < 0 || way != ZA_FORK_HAND_OVER)
        return -1;
    volatile char *knocker = (volatile char *)za_pg_knocker();
    (void)za_os->purge((void *)za_pg_knocker(), za_pg_page_size());
    (void)*knocker;
    int fd = za_os->recv_file(line);
    if (fd >= 0)
        za_stat_add(ZA_STAT_FORKS_HANDED, 1);
    return fd;
}

static int reopen(void)
{
    int fd = za_os->uffd_open(&za_pg.caps);
    if (fd < 0)
        return -1;
    if (!za_without(D1_UNDO)) /* a parent that ends at once serves no heir either */
        za_undo_early();
    if (!za_without(D1_REOPEN) && za_place_register_again(fd) < 0)
        return -1;
    za_stat_add(ZA_STAT_FORKS_REOPENED, 1);
    return fd;
}

static void heir_is(uint32_t what)
{
    __atomic_store_n(&za_pg.fault_born, what == 1, __ATOMIC_RELEASE);
    __atomic_store_n(&heir_ready, what, __ATOMIC_RELEASE);
    za_os->wake(&heir_ready);
}

/*
 * The child's fault thread.
 * Its descriptor table starts as a copy of the program's and is emptied first.
 */
static void heir_main(void *arg)
{
    (void)arg;
    int kept = heir_end >= 0 ? za_os->keep_only(heir_end) : -1;
    int line = kept >= 0 ? kept : heir_end;
    if (!za_filing_borrow(line) || (kept < 0 && line >= 0 && za_filing_needed()))
        za_fatal("fork: the child was not given the file that pages of its memory are in; stopping "
                 "before wrong data is seen");
    int fd = inherit(line);
    bool own_table = kept >= 0;
    if (kept >= 0) {
        (void)za_os->close(line);
    } else if (fd !=
               -ENOMSG) { /* a table that could not be emptied is left, and all that is in it */
        own_table = za_os->private_files() == 0;
        fd = -1;
    }
    if (fd == -ENOMSG) { /* given up, and filled */
        heir_is(2);
        return;
    }
    if (fd < 0 && own_table)
        fd = reopen();
    if (fd < 0 && !za_without(D1_STOP))
        za_fatal(
            "fork: the child could neither take over its userfaultfd nor open one, and pages of its "
            "memory are stored; stopping before wrong data is seen");
    za_pg.uffd = fd;
    za_os->pagemap_keep(-1);
    za_renew_born();
    heir_is(1);
    za_os->be_urgent();
    za_os->drop_privileges();
    za_fault_loop(true);
}

/*
 * Nothing is out in this child, and nobody reports its faults: it begins as a young process does.
 */
static void start_over(void)
{
    parent = 0;
    if (way == ZA_FORK_THAW && za_left_behind())
        za_fatal(
            "fork: pages of the child's memory could not be brought back; has the program closed "
            "them by a bare mprotect? stopping before wrong data is seen");
    size_t per = ZA_CHUNK_SIZE >> za_pg.page_shift;
    for (size_t c = 0; za_pg.chunks && c < za_pg.records_ready; c++) {
        if (!za_pg.chunks[c].registered)
            continue;
        if (!za_pg.chunks[c].lost)
            (void)za_os->purge(za_pg_mirror(c * per), ZA_CHUNK_SIZE);
        za_pg.chunks[c].registered = 0;
    }
    /* All records at once: those of one chunk need not be whole pages. */
    if (za_pg.pages && za_pg.records_ready)
        (void)za_os->purge(za_pg.pages, za_align_up(za_pg.records_ready * per * sizeof(uint64_t),
                                                    za_pg_page_size()));
    za_plan_forget();
    za_dense_forget();
    za_share_forget();
    if (za_pg.store)
        za_store_free(za_pg.store);
    za_pg.store = NULL;
    za_pg.nregistered = 0;
    za_pg.active = 0;
    za_pg.uffd = -1;
    za_pg.backend = "not started";
    za_stat_set(ZA_STAT_PG_STORED, 0);
    za_stat_set(ZA_STAT_PG_LIMBO, 0);
    za_footprint_of_store();
    za_pg.why_none = NULL;
    if (za_pg.retired)
        za_pg.life = ZA_LIFE_FAILED;
    else if (za_pg.life != ZA_LIFE_NEW)
        za_pg.life = ZA_LIFE_IDLE; /* also where the parent could start no thread: a child may */
}

/* W, once a turn: without a parent there is nobody to share with. */
void za_fork_turn(void)
{
    int now = parent ? za_os->parent() : 0;
    if (!now || now == parent)
        return;
    parent = 0;
    za_store_own(za_pg.store);
}

static void start_heir(void)
{
    heir_ready = 0;
    parent = forker;
    za_store_child(za_pg.store);
    if (za_os->thread_start(heir_main, NULL, "zalloc-fault", false) < 0)
        za_fatal("fork: no thread can be started in the child, and pages of its memory are stored; "
                 "stopping before wrong data is seen");
    while (!__atomic_load_n(&heir_ready, __ATOMIC_ACQUIRE))
        (void)za_os->wait(&heir_ready, 0, ZA_NEVER);
    if (heir_ready == 2)
        start_over();
    else
        __atomic_store_n(&za_pg.must_reconcile, 1, __ATOMIC_RELEASE);
}

static void forget_parent(void)
{
    za_pg.window = 0;
    za_pg.window_served = 0;
    za_windowed_inherited();
    za_pg.giving = 0;
    za_pg.taking = 0;
    za_pg.fault_seq = 0;
    za_pg.heir_sock = -1;
    za_pg.worker_up = 0;
    za_pg.worker_tid = 0;
    za_pg.fault_tid = 0;
    za_pg.fault_born = 0;
    za_pg.leaving = 0;
    za_heir_forget();
    za_room_forget();
    za_door_forget();
    za_still_forget();
    za_pin_forget();
}

/* In a child of handlers, which has one thread. */
static void make_ours(void)
{
    if (za_pg.ours)
        __atomic_store_n(za_pg.ours, ZA_OURS, __ATOMIC_RELEASE);
}

static void forget_locks(unsigned inside)
{
    za_inside_forget(inside);
    za_lock_init(&fork_lock, ZA_RANK_FORK);
    za_mail_bare();
    heir_end = -1;
}

/* A child made without handlers, but not unseen (still.c); whoever held a lock stayed behind. */
void za_fork_bare_child(enum za_fork_way w)
{
    forget_locks(0);
    way = w;
    forker = za_os->parent();
    za_filing_fork_begin(); /* nothing was lent to this one */
    forget_parent();
    make_ours();
    if (way == ZA_FORK_REOPEN)
        start_heir();
    else
        start_over();
}

/*
 * What this child gave up while it is still being filled would come back, and what it wants to take
 * out is still reported to the parent.  The doorbell is filled by nobody: who touches it sleeps
 * until F is done and closes the child's userfaultfd.
 */
static void await_filled(void)
{
    if (__atomic_load_n(&za_pg.nregistered, __ATOMIC_ACQUIRE) && !za_without(D1_FILLED))
        za_fault_ring();
}

/*
 * A child made without our handlers (vfork aside, which shares our memory): F of the parent gave it
 * every page that was out, and nobody of ours lives here. Noticed when the pager is next asked for
 * anything; begins anew.
 */
void za_fork_found_bare(void)
{
    await_filled();
    forget_locks(1);
    way = ZA_FORK_FILL;
    forget_parent();
    start_over();
}

void za_pager_postfork_child(void)
{
    za_mail_child();
    forget_parent();
    make_ours();
    if (way == ZA_FORK_FILL)
        await_filled();
    if (way == ZA_FORK_HAND_OVER || way == ZA_FORK_REOPEN)
        start_heir();
    else
        start_over();
    close_heir_end();
    za_unlock(&fork_lock);
    za_inside_leave();
}
