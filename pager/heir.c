/* SPDX-License-Identifier: MIT */
/*
 * heir -- F of the parent, and a child on its way to a fault thread of its own.
 *
 * THEORY
 *
 * libc touches memory in the child before our handler runs there, so until the child's own thread
 * takes over, F serves the child's faults too: both processes stand in the fork's window, their
 * records of one moment.
 *
 *   F of the parent: serves the child ... hears it knock, answers, sends its userfaultfd, hangs up.
 *   F of the child:  knocks, takes the userfaultfd, serves.
 *
 * A child made without our handlers says nothing: it is given all pages that are out, while W takes
 * nothing away (calm.c). Its descriptor waits in the brood for the end of the service in which it
 * was announced.
 *
 * The kernel announces a child with a userfaultfd, and does not say whose it is. While a fork with
 * handlers is in its window, another thread may make a child without; each would live with the
 * other's userfaultfd. So whoever is announced in the window lies in the cradle, is served there,
 * and proves itself: nobody but our handler touches one page, the knocker, and the message of that
 * touch comes through the child's own userfaultfd. Then the others are known to be bare.
 *
 * I1  Who has been announced outside the window, or in a service in which F has claims, is bare: the
 *     forking thread makes its child after it has seen F outside a service begun before the window.
 * I2  Whoever lies in the cradle may be filled at any time until the window closes: no record changes
 *     in it (page.h I8), and W takes nothing away.
 * I3  The window closes when the child has knocked; or, after the forking thread has left its system
 *     call, when the line is dead (there is no child) or the child says nothing for long (stopped by
 *     a debugger, say). Then all are filled. Until that thread has left it, the child may be still
 *     to come.
 * I5  An heir that is given up hears so when it has been filled and its userfaultfd is closed: it has
 *     nothing out then, and needs none (fork.c).
 * I4  The socket is taken once: by F for the first in the cradle, who then ends the window, or back by
 *     the forking thread, who ends it (za_heir_unborn).
 *
 * Locks: none (F only, but for za_heir_unborn).  May sleep: no.  May fault: never.
 * Allocates: nothing.
 */
#include <errno.h>

#include "base/remedy.h"
#include "base/stat.h"
#include "pager/private.h"

#define LONG_NS ZA_NS_PER_S
#define BROOD_MAX 64u
#define CRADLE_MAX (ZA_HEIR_FDS - 1)

static int cradle[CRADLE_MAX]; /* announced in the window: one may be the heir; the oldest first */
static unsigned ncradle;
static int heir_line = -1; /* our end of the heir's socket */
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
        za_fault_look_again(filling);
    else if (m.event == ZA_EV_FORK)
        adopt(m.fd);
}

/* True: the child has forked. */
static bool drain(int fd)
{
    struct za_uffd_msg m;
    bool forked = false;
    while (za_os->uffd_read(fd, &m) == 1)
        if (m.event == ZA_EV_FORK) {
            adopt(m.fd);
            forked = true;
        }
    return forked;
}

static bool passing(int64_t r)
{
    return r == -EAGAIN || r == -ENOMEM;
}

/* A page for whoever knocks in the child; -ESRCH: nobody lives there any more. */
static int64_t answer(int fd)
{
    int64_t r;
    filling = fd;
    while (passing(r = za_os->uffd_zero(fd, (void *)za_pg_knocker(), za_pg_page_size(), true)))
        attend();
    filling = -1;
    return r;
}

static void fill(int fd)
{
    if (answer(fd) == -ESRCH)
        return;
    filling = fd;
    za_fill_child(fd, attend);
    if (drain(fd)) /* in the middle of it, perhaps */
        za_fill_child(fd, attend);
    filling = -1;
}

static void raise_brood(void)
{
    while (nbrood > 0) {
        int fd = brood[--nbrood];
        fill(fd);
        (void)za_os->close(fd);
    }
}

static int lift(unsigned i)
{
    int fd = cradle[i];
    for (ncradle--; i < ncradle; i++)
        cradle[i] = cradle[i + 1];
    return fd;
}

/*
 * The end of the window: whoever is left in the cradle is filled, which the window's end must wait
 * for (I2).  The heir, if it is among them, is told so when it is full, and not before (I5).
 */
static void let_go(void)
{
    while (ncradle > 0)
        adopt(lift(0));
    raise_brood();
    (void)za_os->say(heir_line);
    (void)za_os->close(heir_line);
    heir_line = -1;
    __atomic_fetch_sub(&za_pg.window, 1, __ATOMIC_SEQ_CST);
    za_os->wake(&za_pg.window);
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
 * A child without a handler of ours: it is given every page that is out, when F is done with
 * `page`, which it is restoring (ZA_NO_PAGE: with none).
 */
static void announced_bare(int fd, size_t page)
{
    if (za_without(D1_FILL)) {
        (void)za_os->close(fd);
        return;
    }
    if (page != ZA_NO_PAGE)
        give_claims(fd, page);
    adopt(fd);
    za_stat_add(ZA_STAT_FORKS_BARE, 1);
}

/* Is there a fork in its window whose child may be the one just announced? */
static bool expecting(void)
{
    if (heir_line >= 0)
        return true;
    int sock = __atomic_load_n(&za_pg.heir_sock, __ATOMIC_ACQUIRE);
    if (sock < 0 || !__atomic_load_n(&za_pg.window, __ATOMIC_SEQ_CST) ||
        !__atomic_compare_exchange_n(&za_pg.heir_sock, &sock, -1, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        return false;
    heir_line = sock;
    heir_since = za_os->now();
    return true;
}

static void stranger(unsigned i)
{
    za_stat_add(ZA_STAT_FORKS_STRANGERS, 1);
    announced_bare(lift(i), ZA_NO_PAGE);
}

/*
 * The kernel announces a child, while F restores `page` (ZA_NO_PAGE: none). Of more than the cradle
 * holds the oldest is filled: were it the heir, it would open a userfaultfd of its own.
 */
void za_heir_announced(int fd, size_t page)
{
    if (page != ZA_NO_PAGE || !expecting()) {
        announced_bare(fd, page);
        return;
    }
    if (ncradle == CRADLE_MAX)
        stranger(0);
    cradle[ncradle++] = fd;
}

/*
 * The forking thread, after its system call and a service of F: true if no child was announced, nor
 * will be taken for its own any more.
 */
bool za_heir_unborn(void)
{
    int sock = __atomic_load_n(&za_pg.heir_sock, __ATOMIC_ACQUIRE);
    return sock >= 0 && __atomic_compare_exchange_n(&za_pg.heir_sock, &sock, ZA_SOCK_UNUSED(sock),
                                                    false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
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

/* How many descriptors to look after for a child, and which. */
unsigned za_heir_waits(int fds[ZA_HEIR_FDS])
{
    if (heir_line < 0)
        return 0;
    fds[0] = heir_line;
    for (unsigned i = 0; i < ncradle; i++)
        fds[i + 1] = cradle[i];
    return ncradle + 1;
}

/* Who knocks is the heir. From here on its faults wait for its own thread. */
static void hand_over(unsigned i)
{
    int fd = lift(i), given = fd;
    (void)answer(fd);
    if (za_without(D1_OWN) && ncradle > 0) {
        given = cradle[0];
        cradle[0] = fd;
    }
    if (za_os->send_file(heir_line, given) < 0)
        fill(given); /* the child finds everything there */
    (void)za_os->close(given);
    while (ncradle > 0)
        stranger(0);
    let_go();
}

static void serve_message(unsigned i, const struct za_uffd_msg *m)
{
    if (m->event == ZA_EV_FORK) {
        adopt(m->fd);
    } else if (m->event == ZA_EV_FAULT && m->addr - za_pg_knocker() < za_pg_page_size()) {
        hand_over(i);
        return;
    } else if (m->event == ZA_EV_FAULT && m->addr - za_pg.base < za_pg.size) {
        filling = cradle[i];
        za_fill_child_page(cradle[i], za_pg_page_of(m->addr), attend);
        filling = -1;
    }
    raise_brood();
}

/* Has the fork come to nothing, or the child been silent for long? (I3) */
static bool given_up(void)
{
    if (za_os->hear(heir_line, false) != 0)
        return true;
    return za_os->now() - heir_since > LONG_NS && !za_without(D1_PATIENCE) &&
           __atomic_load_n(&za_pg.forked, __ATOMIC_ACQUIRE);
}

/* One step for the children in the cradle; true: there was something to do. */
bool za_heir_serve(void)
{
    struct za_uffd_msg m;
    if (heir_line < 0)
        return false;
    for (unsigned i = 0; i < ncradle; i++)
        if (za_os->uffd_read(cradle[i], &m) == 1) {
            serve_message(i, &m);
            return true;
        }
    if (!given_up())
        return false;
    let_go();
    return true;
}

/*
 * In a child: what its parent was busy with is not its own. The descriptors are not in our tables.
 */
void za_heir_forget(void)
{
    heir_line = filling = -1;
    ncradle = nbrood = 0;
}
