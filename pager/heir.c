/* SPDX-License-Identifier: MIT */
/*
 * heir -- F of the parent, and a child on its way to a fault thread of its own.
 *
 * libc touches memory in the child before our handler runs there, so until the child's own thread
 * says that it is ready, F serves the child's faults too: both processes stand in the fork's
 * window, their records of one moment.
 *
 *   F of the parent: sends the child's userfaultfd, serves it ... hears "ready", lets go, hangs up.
 *   F of the child:  takes it, says "ready", waits for the end of the line, serves.
 *
 * A child made without our handlers says nothing: it is given all pages that are out, while W takes
 * nothing away (calm.c). Its descriptor waits in the brood for the end of the service in which it
 * was announced.
 *
 * When the child says nothing for long (stopped by a debugger, say) it is filled,
 * and the parent goes on.
 *
 * Locks: none (F only).  May sleep: no.  May fault: never.  Allocates: nothing.
 */
#include "base/remedy.h"
#include "base/stat.h"
#include "pager/private.h"

#define LONG_NS ZA_NS_PER_S
#define BROOD_MAX 64u

static int heir_fd = -1;   /* the child's userfaultfd */
static int heir_line = -1; /* our end of the socket */
static uint64_t heir_since;

static int brood[BROOD_MAX]; /* children to be filled: bare ones, and what they made meanwhile */
static unsigned nbrood;
static int filling = -1; /* the descriptor `attend` reads */

static void adopt(int fd)
{
    if (nbrood == BROOD_MAX)
        za_fatal("fork: too many bare forks at once; stopping before wrong data is seen");
    brood[nbrood++] = fd;
}

/*
 * A child that forks while it is filled: until its message is read the kernel refuses to fill it.
 * Pages filled before the fork the grandchild has too; pages refused are filled through its own
 * descriptor. Fault messages need no answer: all threads are woken when the child is full.
 */
static void attend(void)
{
    struct za_uffd_msg m;
    if (za_os->uffd_read(filling, &m) != 1)
        za_os->relax();
    else if (m.event == ZA_EV_FORK)
        adopt(m.fd);
}

static void drain(int fd)
{
    struct za_uffd_msg m;
    while (za_os->uffd_read(fd, &m) == 1)
        if (m.event == ZA_EV_FORK)
            adopt(m.fd);
}

static void fill(int fd)
{
    int before = filling;
    filling = fd;
    za_fill_child(fd, attend);
    drain(fd);
    za_fill_child(fd, attend); /* those who faulted while we drained */
    filling = before;
}

static void raise_brood(void)
{
    while (nbrood > 0) {
        int fd = brood[--nbrood];
        fill(fd);
        (void)za_os->close(fd);
    }
}

static void let_go(void)
{
    (void)za_os->close(heir_fd);
    (void)za_os->close(heir_line);
    heir_fd = heir_line = -1;
    __atomic_fetch_sub(&za_pg.window, 1, __ATOMIC_SEQ_CST);
    za_mail_release();
}

/*
 * F's claims in the unit of the page it is restoring: once they are settled the records say that
 * the parent has these pages, and the child would be forgotten.
 */
static void give_claims(int fd, size_t page)
{
    size_t first = page - page % za_pg.unit_pages;
    int before = filling;
    filling = fd;
    for (size_t i = first; i < first + za_pg.unit_pages; i++) {
        enum za_page_state s = za_page_state(za_page_get(&za_pg.pages[i]));
        if (s == ZA_PAGE_BACK || s == ZA_PAGE_FILLING)
            za_fill_child_page(fd, i, attend);
    }
    filling = before;
}

/*
 * The kernel announces a child. Without a socket it has no handler of ours: it is given every page
 * that is out, when F is done with `page`, which it is restoring (ZA_NO_PAGE: with none).
 */
void za_heir_announced(int fd, size_t page)
{
    int sock = __atomic_exchange_n(&za_pg.heir_sock, -1, __ATOMIC_ACQ_REL);
    if (sock < 0) {
        if (za_without(D1_FILL)) {
            (void)za_os->close(fd);
            return;
        }
        if (page != ZA_NO_PAGE)
            give_claims(fd, page);
        adopt(fd);
        za_stat_add(ZA_STAT_FORKS_BARE, 1);
        return;
    }
    heir_fd = fd;
    heir_line = sock;
    heir_since = za_os->now();
    if (za_os->send_file(sock, fd) < 0)
        fill(fd); /* the child opens its own, and finds everything there */
}

/* At the end of a service, when F has no claim: bare children that were announced in it. */
void za_heir_settle(void (*meanwhile)(void))
{
    if (!nbrood)
        return;
    za_calm_impose(meanwhile);
    raise_brood();
    za_calm_lift();
}

/* Is there a child to look after, and on which descriptors? */
bool za_heir_waits(int fds[2])
{
    fds[0] = heir_fd;
    fds[1] = heir_line;
    return heir_fd >= 0;
}

static void serve_message(const struct za_uffd_msg *m)
{
    if (m->event == ZA_EV_FORK) {
        adopt(m->fd);
    } else if (m->event == ZA_EV_FAULT && m->addr - za_pg.base < za_pg.size) {
        filling = heir_fd;
        za_fill_child_page(heir_fd, za_pg_page_of(m->addr), attend);
        filling = -1;
    }
    raise_brood();
}

/* One step for the child; true: there was something to do. */
bool za_heir_serve(void)
{
    struct za_uffd_msg m;
    if (heir_fd < 0)
        return false;
    if (za_os->uffd_read(heir_fd, &m) == 1) {
        serve_message(&m);
        return true;
    }
    if (za_os->hear(heir_line, false) != 0) { /* ready, or dead */
        let_go();
        return true;
    }
    if (za_os->now() - heir_since > LONG_NS && !za_without(D1_PATIENCE)) {
        fill(heir_fd);
        raise_brood();
        let_go();
        return true;
    }
    return false;
}

/*
 * In a child: what its parent was busy with is not its own. The descriptors are not in our tables.
 */
void za_heir_forget(void)
{
    heir_fd = heir_line = filling = -1;
    nbrood = 0;
}
