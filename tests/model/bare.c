/* SPDX-License-Identifier: MIT *
 * One file of over 600 lines for the reason that tests/model/model.c gives.
 */
/*
 * bare -- explores every interleaving of forks with and without handlers, worker and fault thread,
 * over one page.
 *
 * usage: bare                     the true protocol in every scenario, then each broken one
 *        bare --break=NAME        one broken protocol, with the shortest way to the failure
 *        bare --only=SCENARIO     the true protocol in one scenario;   bare --list: the names
 *
 * THE MODEL
 * What pager/calm.c, heir.c, fork.c and still.c say of forks. How a page goes out and comes back is
 * tests/model/model.c's; here it is out (STORED) or not, and its bytes are a number: what the program
 * wrote first, second, third. A fork copies what is present at that moment, and notes what the child
 * must read: the number, or anything if the program had given the page up. Steps are what is atomic
 * in reality: one load or store of a shared word, one system call, one claim.
 *
 *   P  writes, gives up, and takes again; touches the page when it is out.
 *   U  makes a child without handlers; the kernel keeps it inside until F has read of that.
 *   T  forks with handlers: parks W, opens the window, waits for F, forks, leaves.
 *   W  takes the page out; takes it away when it has learnt that it was given up, or when it has
 *      copied it back (calm.c).
 *   F  serves faults by a claim, by a copy in the window; hears of children, fills the bare ones.
 *      It may be asked for any page that is out at any time: others fault, too.
 *   T  in `newborn` has a child that nobody announces, and finds no W; F may start one.
 *   V  in `still` makes children as U does; neither is announced, and both hold W (still.c), which
 *      may retire, and be born again.
 *
 * The kernel refuses every change of pages (EAGAIN) from a fork to the reading of its message, and
 * hands messages out in any order.
 *
 * PROPERTIES
 * P1  Nobody reads other bytes than it must: the program, and every child, at whatever moment it looks:
 *     what is present in it; a hole that nobody reports any more reads as zeros; a hole that is still
 *     reported is filled later. No child serves with another's userfaultfd.
 * P2  From every state a state can be reached in which everybody is at rest, by steps that nobody has
 *     to wish for: nobody stands still for ever.
 *
 * LEFT OUT
 * Weak memory order; more pages, more than one child of each kind at once; children of children
 * while they are filled; a process that ends by another thread than the one that forks.
 *
 * It is over 450 lines because the protocol is stated in full, next to the variants that are wrong.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: with malloc, up to LIMIT states.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT (6u << 20)
#define TABLE (1u << 24)

enum { ZERO, FIRST, LAST = 3, ANYTHING = 6, HOLE = 7 };
enum { KERNEL, STORED, MOVING, FILLING };
enum { SOCK_NONE, SOCK_READY, SOCK_UNUSED };
enum { HEIR, BARE, NCHILDREN };

/* Where a child's userfaultfd is. GONE: closed, nothing is reported; OWN: its own F serves. */
enum { NOBODY, PENDING, CRADLE, BROOD, GONE, OWN };

enum { P_REST, P_FAULT };
enum {
    U_REST,
    U_IN_FORK,
    U_AWAIT,
    U_AWAITING,
    U_OUT,
    U_HOLD,
    U_WINDOW,
    U_QUIESCE,
    U_CLOSE,
    U_DROP
};
enum { T_REST, T_PARK, T_OPEN, T_QUIESCE, T_LOOK, T_FORK, T_IN_FORK, T_AFTER, T_UNBORN, T_END };
enum {
    W_IDLE,
    W_PARKED,
    W_RELEASED,
    W_MOVED,
    W_CALM,
    W_GIVING,
    W_ASK,
    W_SEQ,
    W_TAKE,
    W_LIFT,
    W_BACK_OFF,
    W_ASLEEP,
    W_LOOK,
    W_WAITS,
    W_UNBORN
};
enum {
    F_IDLE,
    F_BEGUN,
    F_CLAIMED,
    F_FILLED,
    F_WINDOW,
    F_SETTLE,
    F_IMPOSE,
    F_FILL,
    F_LIFT,
    F_HEIR,
    F_START,
    F_STARTED,
    F_GONE
};

struct child {
    uint8_t uffd, heap, must, rec, blob, knocked;
};

/* Bytes only: states are compared and hashed as memory. */
struct state {
    uint8_t rec, heap, blob, must, dead, writes; /* the page */
    uint8_t p, u, v, t, w, f;                    /* where everybody is */
    uint8_t taking, giving, window, sock, line, forked, parked, born;
    uint8_t w_saw, u_saw, v_saw, t_saw; /* they wait for the service of F that they have seen */
    uint8_t learnt, copied, mirror, zeros, unborn, holds, busy, first;
    struct child c[NCHILDREN];
};

struct scenario {
    const char *name;
    bool heir, bare, still, newborn, leaves, gives_up, copies, fails;
};

static const struct scenario scenarios[] = {
    {.name = "calm", .bare = true, .gives_up = true},
    {.name = "copies", .bare = true, .copies = true},
    {.name = "leaves", .bare = true, .leaves = true},
    {.name = "handlers", .heir = true, .gives_up = true, .fails = true},
    {.name = "strangers", .heir = true, .bare = true, .fails = true},
    {.name = "newborn", .heir = true, .newborn = true},
    {.name = "still", .still = true},
};
enum { IN_CALM, IN_COPIES, IN_LEAVES, IN_HANDLERS, IN_STRANGERS, IN_NEWBORN, IN_STILL };

/* Each takes one step of the protocol away: name, the scenario that shows it, what is done instead. */
#define BREAKS(X) \
    X(NO_CALM, "no-calm", IN_CALM, "W takes away without looking for children") \
    X(NO_ASKING, "no-asking-the-kernel", IN_CALM, "W does not look for an unread message") \
    X(NO_SEQ, "no-wait-for-service", IN_CALM, \
      "W does not wait for the service that read of a child") \
    X(LATE_LEARNING, "learnt-after-the-look", IN_CALM, "W looks, then learns what was given up") \
    X(BLIND_WAIT, "giving-not-seen", IN_CALM, "W waits for F, which waits for W") \
    X(DEAF, "imposing-serves-nobody", IN_CALM, "F, waiting for W, does not serve it") \
    X(NO_LIFT_WAKE, "no-wake-at-the-end", IN_CALM, "F does not wake W when it is done giving") \
    X(NO_CLAIMS, "claims-not-given", IN_CALM, "a child announced amid a claim is not given it") \
    X(NO_RETRY, "no-reading-amid-service", IN_CALM, "F does not read of a child when refused") \
    X(AT_ONCE, "copied-back-at-once", IN_COPIES, \
      "W copies a page back, and does not look for children") \
    X(LOOKS_BEFORE, "copied-back-after-the-look", IN_COPIES, \
      "W looks for children, then copies a page back") \
    X(NO_AWAIT, "leaves-at-once", IN_LEAVES, "the parent ends while F fills its child") \
    X(NO_WINDOW, "no-window", IN_HANDLERS, "F claims during a fork") \
    X(NO_QUIESCE, "no-wait-before-the-fork", IN_HANDLERS, "the fork does not wait for F's claim") \
    X(NO_PARK, "no-park", IN_HANDLERS, "W works during a fork") \
    X(NO_WAIT_AFTER, "no-wait-after-the-park", IN_STRANGERS, \
      "W goes on amid a service of the window") \
    X(FIRST_COME, "first-come", IN_STRANGERS, "whoever is announced is the heir") \
    X(ALWAYS, "cradle-before-the-window", IN_STRANGERS, \
      "who comes before the window may be the heir") \
    X(CLAIMING, "cradle-amid-a-claim", IN_STRANGERS, "who comes amid a claim may be the heir") \
    X(IMPATIENT, "given-up-too-soon", IN_STRANGERS, "F gives the heir up before the fork is over") \
    X(BOTH_END, "two-end-the-window", IN_STRANGERS, "the socket is looked at, and taken later") \
    X(NOBODY_ENDS, "nobody-ends-the-window", IN_HANDLERS, "T leaves the end to F in any case") \
    X(NO_SECOND_LOOK, "no-look-for-the-newborn", IN_NEWBORN, \
      "T does not look for a W born meanwhile") \
    X(BORN_OUTSIDE, "born-outside-a-service", IN_NEWBORN, "F starts W outside a service") \
    X(NOT_HELD, "not-held", IN_STILL, "W does not look whether it is held") \
    X(LOOK_FIRST, "looks-before-it-is-busy", IN_STILL, "W looks, then says that it is busy") \
    X(A_FLAG, "a-flag-that-holds", IN_STILL, "the first of two forkers lets W go for both") \
    X(STILL_CLAIMS, "claims-while-still", IN_STILL, "F claims while W stands still") \
    X(STILL_QUIESCE, "still-without-waiting", IN_STILL, "the fork does not wait for F's claim") \
    X(STILL_NO_WAKE, "nobody-wakes-the-held", IN_STILL, "the last forker does not wake W") \
    X(STILL_BLIND_SLEEP, "sleeps-without-a-look", IN_STILL, "W sleeps although it is let go") \
    X(RETIRES_BUSY, "retires-busy", IN_STILL, "W ends and does not say that it rests")

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
static const char *wrong; /* set by a step that breaks a property */

enum urge { MUST, WISH };
static void (*visit)(const struct state *next, enum urge urge, const char *label);

static void emit(const struct state *next, const char *label)
{
    visit(next, MUST, label);
}

static void wish(const struct state *next, const char *label)
{
    visit(next, WISH, label);
}

static bool is(unsigned b)
{
    return (unsigned)broken == b;
}

/* ---- the kernel ------------------------------------------------------------------------------- */

/* A fork whose message is unread: no page may be changed. */
static bool changing(const struct state *s)
{
    return s->c[HEIR].uffd == PENDING || s->c[BARE].uffd == PENDING;
}

static bool serving(const struct state *s)
{
    if (s->f == F_START || s->f == F_STARTED)
        return !is(BREAK_BORN_OUTSIDE);
    return s->f != F_IDLE && s->f != F_GONE;
}

static void copy_process(struct state *n, unsigned who, unsigned uffd)
{
    n->c[who] = (struct child){.uffd = (uint8_t)uffd,
                               .heap = n->heap,
                               .must = n->dead ? ANYTHING : n->must,
                               .rec = n->rec,
                               .blob = n->blob};
}

/* A child's fault is answered from the parent's record, or its page given beforehand. */
static void give(struct state *n, unsigned who)
{
    struct child *c = &n->c[who];
    if (c->heap == HOLE)
        c->heap = n->rec == KERNEL ? ZERO : n->blob;
}

/* What it reads, whenever it looks; HOLE: it waits. */
static unsigned reads(const struct child *c)
{
    if (c->heap != HOLE)
        return c->heap;
    if (c->uffd == OWN)
        return c->rec == KERNEL ? ZERO : c->blob;
    return c->uffd == GONE ? ZERO : HOLE;
}

static void check_children(const struct state *s)
{
    for (unsigned i = 0; i < NCHILDREN; i++) {
        const struct child *c = &s->c[i];
        bool keeps = c->uffd == OWN || (i == HEIR && c->uffd == GONE); /* its parent's records */
        if (keeps && (c->rec == MOVING || c->rec == FILLING))
            wrong = "a child is born amid somebody's claim";
        if (c->uffd == NOBODY || c->must == ANYTHING || reads(c) == HOLE)
            continue;
        if (reads(c) != c->must)
            wrong = i == HEIR ? "a child with handlers reads other bytes"
                              : "a child without handlers reads other bytes";
    }
    if (s->heap != HOLE && !s->dead && s->must != ANYTHING && s->heap != s->must)
        wrong = "the program reads other bytes";
}

/* ---- the program ------------------------------------------------------------------------------ */

static void step_p(const struct state *s)
{
    struct state n = *s;
    if (s->f == F_GONE)
        return;
    if (s->heap == HOLE) {
        n.p = P_FAULT;
        if (s->p == P_REST)
            wish(&n, "P touches the page");
        return;
    }
    if (s->p == P_FAULT) {
        n.p = P_REST;
        emit(&n, "P has the page");
    }
    if (s->writes > 0 && !s->dead) {
        n = *s;
        n.writes--;
        n.must = n.heap = (uint8_t)(s->must >= LAST ? FIRST : s->must + 1);
        n.p = P_REST;
        wish(&n, "P writes");
    }
}

static void step_p_owner(const struct state *s)
{
    struct state n = *s;
    if (!sc->gives_up || s->f == F_GONE)
        return;
    n.dead = !s->dead;
    n.must = ANYTHING;
    wish(&n, s->dead ? "P takes the page again" : "P gives the page up");
}

/* A child that has all it must have is forgotten, and another may be made. */
static void step_children(const struct state *s)
{
    for (unsigned i = 0; i < NCHILDREN; i++) {
        struct state n = *s;
        if (s->c[i].uffd < GONE || s->f == F_GONE)
            continue;
        n.c[i] = (struct child){0};
        wish(&n, "a child ends");
    }
}

/* U: the system call, and the wait for the service that has read of it. */
static void step_u(const struct state *s)
{
    struct state n = *s;
    if (!sc->bare || s->f == F_GONE)
        return;
    switch (s->u) {
    case U_REST:
        if (s->c[BARE].uffd != NOBODY)
            return;
        copy_process(&n, BARE, PENDING);
        n.u = U_IN_FORK;
        wish(&n, "U makes a child");
        return;
    case U_IN_FORK:
        if (s->c[BARE].uffd == PENDING)
            return;
        n.u = is(BREAK_NO_AWAIT) ? U_OUT : U_AWAIT;
        emit(&n, "U returns from the kernel");
        return;
    case U_AWAIT:
        n.u_saw = serving(s);
        n.u = U_AWAITING;
        emit(&n, "U looks at F");
        return;
    case U_AWAITING:
        n.u = U_OUT;
        if (!s->u_saw)
            emit(&n, "U has waited for F");
        return;
    default:
        n.u = U_REST;
        emit(&n, "U goes on");
        if (!sc->leaves)
            return;
        n = *s;
        n.f = F_GONE;
        for (unsigned i = 0; i < NCHILDREN; i++)
            if (n.c[i].uffd == PENDING || n.c[i].uffd == BROOD || n.c[i].uffd == CRADLE)
                n.c[i].uffd = GONE;
        wish(&n, "U ends the process");
    }
}

/* ---- a fork with handlers --------------------------------------------------------------------- */

static void end_window(struct state *n)
{
    if (n->window == 0)
        wrong = "the window is ended twice";
    else
        n->window--;
    n->parked = 0;
}

static void t_prepare(const struct state *s)
{
    struct state n = *s;
    if (s->t == T_REST) {
        if (s->c[HEIR].uffd != NOBODY)
            return;
        n.t = T_PARK;
        wish(&n, "T wants to fork");
    } else if (s->t == T_PARK && (s->w == W_UNBORN || is(BREAK_NO_PARK))) {
        n.unborn = s->w == W_UNBORN;
        n.sock = n.unborn ? SOCK_NONE : SOCK_READY;
        n.t = T_OPEN;
        emit(&n, "T finds nobody to park");
    } else if (s->t == T_OPEN && s->forked) {
        n.forked = 0;
        emit(&n, "T is before its fork");
    } else if (s->t == T_OPEN) {
        n.window += !is(BREAK_NO_WINDOW);
        n.t = T_QUIESCE;
        n.t_saw = serving(s) && !is(BREAK_NO_QUIESCE);
        emit(&n, "T opens the window, and looks at F");
    } else if (s->t == T_QUIESCE && !s->t_saw) {
        n.t = T_LOOK;
        emit(&n, "T has waited for F");
    } else if (s->t == T_LOOK) {
        n.t = T_FORK;
        if (s->unborn == 1 && s->born && !is(BREAK_NO_SECOND_LOOK)) {
            n.window--;
            n.t = T_PARK;
        }
        emit(&n, "T looks for a newborn W");
    }
}

static void t_fork(const struct state *s)
{
    struct state n = *s;
    if (s->t == T_FORK) {
        copy_process(&n, HEIR, sc->newborn ? OWN : PENDING);
        n.t = T_IN_FORK;
        emit(&n, "T forks");
        n = *s;
        n.t = T_AFTER;
        if (sc->fails)
            emit(&n, "T's fork fails");
    } else if (s->t == T_IN_FORK && s->c[HEIR].uffd != PENDING) {
        n.t = T_AFTER;
        emit(&n, "T returns from the kernel");
    } else if (s->t == T_AFTER) {
        n.forked = 1;
        n.t_saw = serving(s);
        n.t = T_UNBORN;
        emit(&n, "T is behind its fork, and looks at F");
    } else if (s->t == T_UNBORN && !s->t_saw) {
        bool mine = s->sock == SOCK_READY || s->unborn;
        n.t = is(BREAK_BOTH_END) && mine ? T_END : T_REST;
        if (n.t == T_REST && mine && !is(BREAK_NOBODY_ENDS)) {
            n.sock = SOCK_UNUSED;
            end_window(&n);
        }
        n.unborn = 0;
        emit(&n, "T takes the socket back if it is there");
    } else if (s->t == T_END) {
        n.t = T_REST;
        n.sock = SOCK_UNUSED;
        end_window(&n);
        emit(&n, "T ends the window");
    }
}

/* ---- W ---------------------------------------------------------------------------------------- */

/* The page as remap.c brings it back: the store stands for the mirror. */
static bool copy_back(struct state *n)
{
    if (n->rec != STORED || n->heap != HOLE || changing(n))
        return false;
    n->heap = n->blob;
    n->copied = 1;
    return true;
}

/* Nothing in the model takes a page out while it is a child's own business. */
static void w_idle(const struct state *s)
{
    struct state n = *s;
    if (s->t == T_PARK && !is(BREAK_NO_PARK)) {
        n.parked = 1;
        n.w = W_PARKED;
        n.t = T_OPEN;
        n.unborn = s->unborn ? 2 : 0; /* born meanwhile: there is no socket */
        n.sock = s->unborn ? SOCK_NONE : SOCK_READY;
        emit(&n, "W parks");
    }
    if (s->rec == KERNEL && s->heap != HOLE && !changing(s)) {
        n = *s;
        n.blob = s->heap;
        n.heap = HOLE;
        n.rec = MOVING;
        n.w = W_MOVED;
        wish(&n, "W moves the page out");
    }
    if (s->rec == STORED && (s->dead || is(BREAK_LATE_LEARNING)) && sc->gives_up) {
        n = *s;
        n.learnt = s->dead;
        n.w = is(BREAK_NO_CALM) ? W_TAKE : W_CALM;
        wish(&n, "W learns that the page was given up");
    }
    if (sc->copies && s->rec == STORED) {
        n = *s;
        n.w = is(BREAK_AT_ONCE) ? W_TAKE : W_CALM;
        if (is(BREAK_LOOKS_BEFORE) || copy_back(&n))
            wish(&n, "W copies the page back");
    }
}

static void w_calm(const struct state *s)
{
    struct state n = *s;
    switch (s->w) {
    case W_CALM:
        n.taking = 1;
        n.w = W_GIVING;
        emit(&n, "W is about to take away");
        break;
    case W_GIVING:
        n.w = s->giving ? W_BACK_OFF : W_ASK;
        emit(&n, "W looks whether F gives");
        break;
    case W_ASK: /* refused: it tries again from the beginning */
        n.w = changing(s) && !is(BREAK_NO_ASKING) ? W_BACK_OFF : W_SEQ;
        n.w_saw = serving(s) && !is(BREAK_NO_SEQ);
        emit(&n, "W asks the kernel, and looks at F");
        break;
    case W_SEQ:
        n.w = W_TAKE;
        if (!s->w_saw)
            emit(&n, "W has waited for F");
        n.w = W_BACK_OFF;
        if (s->w_saw && s->giving && !is(BREAK_BLIND_WAIT))
            emit(&n, "W sees that F gives");
        break;
    case W_BACK_OFF:
        n.taking = 0;
        n.w = W_ASLEEP;
        emit(&n, "W backs off");
        break;
    case W_ASLEEP:
        n.w = s->giving ? W_WAITS : W_LOOK;
        emit(&n, "W sleeps if F gives");
        break;
    case W_LOOK:
        n.w = W_CALM;
        emit(&n, "W tries again");
        break;
    default: break;
    }
}

static void w_take(const struct state *s)
{
    struct state n = *s;
    if (s->w == W_LIFT) {
        n.taking = 0;
        n.w = W_IDLE;
        emit(&n, "W is done");
        return;
    }
    if (!s->mirror && s->rec == STORED) { /* it looks into the mirror, and may need F for that */
        n.mirror = 1;
        wish(&n, "W reads a hole of the mirror");
    }
    if (s->mirror == 1) /* until F has filled it */
        return;
    n = *s;
    n.mirror = 0;
    n.w = W_LIFT;
    if (s->rec == FILLING)
        return; /* W waits for F's claim */
    if (is(BREAK_LOOKS_BEFORE))
        (void)copy_back(&n);
    bool dead = is(BREAK_LATE_LEARNING) ? s->dead : s->learnt || n.copied;
    n.copied = 0;
    if (s->rec == STORED && dead) {
        n.rec = KERNEL;
        n.blob = ZERO;
        emit(&n, "W takes the page away");
    } else {
        emit(&n, "W leaves the page");
    }
}

/* Pages that came back in a window. */
static void reconcile(struct state *n)
{
    if (n->rec == STORED && n->heap != HOLE)
        n->rec = KERNEL;
}

static void step_w(const struct state *s)
{
    struct state n = *s;
    switch (s->w) {
    case W_IDLE: w_idle(s); break;
    case W_PARKED:
        n.w = W_RELEASED;
        n.w_saw = serving(s) && !is(BREAK_NO_WAIT_AFTER);
        if (!s->parked)
            emit(&n, "W is let go, and looks at F");
        break;
    case W_RELEASED:
        reconcile(&n);
        n.w = W_IDLE;
        n.sock = SOCK_NONE;
        if (!s->w_saw)
            emit(&n, "W goes on");
        break;
    case W_MOVED: /* F may have taken it */
        if (s->rec == MOVING)
            n.rec = STORED;
        n.w = sc->still ? W_LIFT : W_IDLE;
        emit(&n, "W stores the page");
        break;
    case W_TAKE:
    case W_LIFT: w_take(s); break;
    case W_UNBORN: break;
    default: w_calm(s); break;
    }
}

/* ---- F ---------------------------------------------------------------------------------------- */

static void end_service(struct state *n)
{
    n->f = F_IDLE;
    n->w_saw = n->u_saw = n->v_saw = n->t_saw = 0;
}

static bool any(const struct state *s, unsigned uffd)
{
    return s->c[HEIR].uffd == uffd || s->c[BARE].uffd == uffd;
}

static bool expecting(struct state *n, unsigned who)
{
    if (n->line)
        return true;
    if (n->sock != SOCK_READY || (n->window == 0 && !is(BREAK_ALWAYS)))
        return false;
    n->sock = SOCK_NONE;
    n->line = 1;
    n->first = (uint8_t)who;
    return true;
}

/* F reads of a child, amid a claim or not; `then` is where it goes on. */
static void hear(const struct state *s, bool claim, unsigned then)
{
    for (unsigned who = 0; who < NCHILDREN; who++) {
        struct state n = *s;
        if (s->c[who].uffd != PENDING)
            continue;
        n.f = (uint8_t)then;
        if ((!claim || is(BREAK_CLAIMING)) && expecting(&n, who)) {
            n.c[who].uffd = CRADLE;
        } else {
            if (claim && !is(BREAK_NO_CLAIMS))
                give(&n, who);
            n.c[who].uffd = BROOD;
        }
        emit(&n, claim ? "F hears of a child amid a claim" : "F hears of a child");
    }
}

static bool heir_settled(const struct state *s)
{
    return s->c[HEIR].knocked || (s->forked && s->t <= T_PARK && s->c[HEIR].uffd == NOBODY);
}

static void f_idle(const struct state *s)
{
    struct state n = *s;
    if (s->heap == HOLE) {
        n.f = F_BEGUN;
        visit(&n, s->p == P_FAULT ? MUST : WISH, "F reads of a fault");
    }
    hear(s, false, F_SETTLE);
    if (s->mirror == 1) {
        n = *s;
        n.mirror = 2;
        emit(&n, "F fills the mirror");
    }
    if (s->line) {
        n = *s;
        n.f = F_HEIR;
        visit(&n, heir_settled(s) || s->line == 2 ? MUST : WISH, "F looks into the cradle");
    }
    if (s->w == W_UNBORN && sc->newborn) {
        n = *s;
        n.f = F_START;
        wish(&n, "F may start W");
    }
}

static void f_start(const struct state *s)
{
    struct state n = *s;
    if (s->f == F_START) {
        n.f = F_STARTED;
        if (s->window)
            end_service(&n);
        emit(&n, "F looks for a window");
        return;
    }
    end_service(&n);
    n.born = 1;
    n.w = W_IDLE;
    emit(&n, "F starts W");
}

static void f_claim(const struct state *s)
{
    struct state n = *s;
    n.f = F_SETTLE;
    if (s->heap == HOLE && s->window && !is(BREAK_STILL_CLAIMS)) {
        n.f = F_WINDOW;
    } else if (s->heap == HOLE) {
        n.f = F_CLAIMED;
        n.zeros = s->rec == KERNEL;
        n.rec = FILLING;
    }
    emit(&n, "F claims the page, or finds a window");
}

static void f_restore(const struct state *s)
{
    struct state n = *s;
    bool claim = s->f == F_CLAIMED;
    if (changing(s)) {
        if (!is(BREAK_NO_RETRY))
            hear(s, claim, s->f);
        return;
    }
    n.heap = claim ? (s->zeros ? ZERO : s->blob) : (s->rec == KERNEL ? ZERO : s->blob);
    n.f = claim ? F_FILLED : F_SETTLE;
    emit(&n, claim ? "F restores the page" : "F copies the page");
}

static void f_brood(const struct state *s)
{
    struct state n = *s;
    switch (s->f) {
    case F_SETTLE:
        n.f = any(s, BROOD) ? F_IMPOSE : F_HEIR;
        n.giving = any(s, BROOD);
        emit(&n, "F is done restoring");
        break;
    case F_IMPOSE:
        n.f = F_FILL;
        if (!s->taking)
            emit(&n, "F sees that W takes nothing");
        hear(s, false, F_IMPOSE);
        n = *s;
        n.mirror = 2;
        if (s->mirror == 1 && !is(BREAK_DEAF))
            emit(&n, "F fills the mirror meanwhile");
        break;
    case F_FILL:
        n.f = F_LIFT;
        for (unsigned who = 0; who < NCHILDREN; who++)
            if (s->c[who].uffd == BROOD) {
                if (s->rec != KERNEL)
                    give(&n, who);
                n.c[who].uffd = GONE;
                n.f = F_FILL;
                break;
            }
        emit(&n, "F fills a child");
        break;
    default:
        n.giving = 0;
        n.f = F_HEIR;
        if (s->w == W_WAITS && !is(BREAK_NO_LIFT_WAKE))
            n.w = W_LOOK;
        emit(&n, "F lets W go on");
    }
}

/* The window's end: whoever lies in the cradle is filled before. */
static void f_let_go(const struct state *s)
{
    struct state n = *s;
    for (unsigned who = 0; who < NCHILDREN; who++)
        if (s->c[who].uffd == CRADLE) {
            give(&n, who);
            n.c[who].uffd = GONE;
            emit(&n, "F fills a stranger");
            return;
        }
    n.line = 0;
    end_window(&n);
    n.f = F_SETTLE;
    emit(&n, "F ends the window");
}

static void f_hand_over(struct state *n)
{
    bool other = is(BREAK_FIRST_COME) && n->first != HEIR && n->c[BARE].uffd == CRADLE;
    n->c[HEIR].uffd = OWN;
    n->c[HEIR].knocked = 0;
    n->line = 2;
    if (other)
        wrong = "a child serves with another's userfaultfd";
}

static void f_heir(const struct state *s)
{
    struct state n = *s;
    if (s->line == 2) {
        f_let_go(s);
        return;
    }
    for (unsigned who = 0; s->line && who < NCHILDREN; who++)
        if (s->c[who].uffd == CRADLE && s->c[who].heap == HOLE) {
            n = *s;
            give(&n, who);
            wish(&n, "F serves a child in the cradle");
        }
    n = *s;
    if (s->line && s->c[HEIR].knocked) {
        f_hand_over(&n);
        emit(&n, "F hears the heir knock");
        return;
    }
    if (s->line && (s->forked || is(BREAK_IMPATIENT))) {
        n.line = 2;
        n.c[HEIR].knocked = 0;
        visit(&n, heir_settled(s) ? MUST : WISH, "F gives the heir up");
        n = *s;
    }
    end_service(&n);
    if (!(s->line && heir_settled(s)))
        emit(&n, "F is done");
}

static void step_f(const struct state *s)
{
    struct state n = *s;
    switch (s->f) {
    case F_IDLE: f_idle(s); break;
    case F_BEGUN: f_claim(s); break;
    case F_CLAIMED:
    case F_WINDOW: f_restore(s); break;
    case F_FILLED:
        n.rec = KERNEL;
        n.blob = ZERO;
        n.zeros = 0;
        n.f = F_SETTLE;
        emit(&n, "F lets the claim go");
        break;
    case F_SETTLE:
    case F_IMPOSE:
    case F_FILL:
    case F_LIFT: f_brood(s); break;
    case F_HEIR: f_heir(s); break;
    case F_START:
    case F_STARTED: f_start(s); break;
    default: break;
    }
}

/* ---- still.c: forks that nobody announces ------------------------------------------------------- */

static void let_w_go(struct state *n)
{
    n->holds = is(BREAK_A_FLAG) ? 0 : (uint8_t)(n->holds - 1);
    if (n->w == W_WAITS && !is(BREAK_STILL_NO_WAKE))
        n->w = W_LOOK;
}

/* `at` and `saw` are the forker's in *s; `who` its child. */
static void step_still(const struct state *s, unsigned who)
{
    struct state n = *s;
    uint8_t *at = who == HEIR ? &n.u : &n.v, *saw = who == HEIR ? &n.u_saw : &n.v_saw;
    switch (*at) {
    case U_REST:
        n.holds = is(BREAK_A_FLAG) ? 1 : (uint8_t)(s->holds + 1);
        *at = U_HOLD;
        if (s->c[who].uffd == NOBODY)
            wish(&n, "a forker holds W");
        break;
    case U_HOLD:
        *at = U_WINDOW;
        if (!s->busy)
            emit(&n, "a forker sees W at rest");
        break;
    case U_WINDOW:
        n.window++;
        *saw = serving(s) && !is(BREAK_STILL_QUIESCE);
        *at = U_QUIESCE;
        emit(&n, "a forker opens the window");
        break;
    case U_QUIESCE:
        if (*saw)
            return;
        copy_process(&n, who, OWN);
        *at = U_CLOSE;
        emit(&n, "a forker makes its child");
        break;
    case U_CLOSE:
        n.window--;
        *saw = serving(s);
        *at = U_DROP;
        emit(&n, "a forker closes the window");
        break;
    default:
        if (*saw)
            return;
        let_w_go(&n);
        *at = U_REST;
        emit(&n, "a forker lets W go");
    }
}

static void w_work(const struct state *s)
{
    struct state n = *s;
    reconcile(&n);
    n.w = W_LIFT;
    if (n.rec == KERNEL && n.heap != HOLE) {
        n.blob = n.heap;
        n.heap = HOLE;
        n.rec = MOVING;
        n.w = W_MOVED;
    }
    emit(&n, "W works");
}

static void step_w_still(const struct state *s)
{
    struct state n = *s;
    switch (s->w) {
    case W_IDLE:
        n.w = W_LOOK;
        wish(&n, "W wakes up");
        break;
    case W_LOOK:
        n.busy = !is(BREAK_LOOK_FIRST);
        n.w = W_ASK;
        emit(&n, "W is busy");
        break;
    case W_ASK:
        n.w = s->holds && !is(BREAK_NOT_HELD) ? W_BACK_OFF : W_TAKE;
        emit(&n, "W looks whether it is held");
        break;
    case W_TAKE:
        n.busy = 1;
        if (s->busy)
            w_work(s);
        else
            emit(&n, "W is busy after all");
        n = *s;
        n.busy = is(BREAK_RETIRES_BUSY);
        n.w = W_UNBORN;
        wish(&n, "W retires");
        break;
    case W_UNBORN:
        n.busy = 1; /* by whoever starts it */
        n.w = W_ASK;
        wish(&n, "W is born");
        break;
    case W_BACK_OFF:
        n.busy = 0;
        n.w = W_ASLEEP;
        emit(&n, "W is at rest");
        break;
    case W_ASLEEP: /* the kernel looks at the word once more */
        n.w = s->holds || is(BREAK_STILL_BLIND_SLEEP) ? W_WAITS : W_LOOK;
        emit(&n, "W sleeps while it is held");
        break;
    case W_LIFT:
        n.busy = 0;
        n.w = W_IDLE;
        emit(&n, "W has worked");
        break;
    case W_MOVED: step_w(s); break;
    default: break;
    }
}

/* ---- everybody -------------------------------------------------------------------------------- */

static void step_heir(const struct state *s)
{
    struct state n = *s;
    n.c[HEIR].knocked = 1;
    if (s->c[HEIR].uffd == CRADLE && !s->c[HEIR].knocked)
        emit(&n, "the heir knocks");
}

static void step_all(const struct state *s)
{
    if (s->f == F_GONE)
        return;
    step_p(s);
    step_p_owner(s);
    step_children(s);
    step_f(s);
    if (sc->still) {
        step_still(s, HEIR);
        step_still(s, BARE);
        step_w_still(s);
        return;
    }
    step_u(s);
    step_w(s);
    step_heir(s);
    if (sc->heir) {
        t_prepare(s);
        t_fork(s);
    }
}

static bool at_rest(const struct state *s)
{
    if (s->f == F_GONE)
        return true;
    return s->p == P_REST && s->u == U_REST && s->v == U_REST && s->t == T_REST &&
           (s->w == W_IDLE || s->w == W_UNBORN) && s->f == F_IDLE && !s->window && !s->line &&
           !s->giving && !s->taking && !s->parked && !s->holds && !s->busy && !any(s, PENDING) &&
           !any(s, CRADLE) && !any(s, BROOD);
}

/* ---- the explorer ----------------------------------------------------------------------------- */

static struct {
    struct state *states;
    uint32_t *parents, *table, count;  /* table: 0, or the number of a state and 1 */
    uint32_t *from, *to, nedges, room; /* steps that nobody has to wish for */
    uint8_t *good;
} ex;

static uint32_t current, wanted;
static const char *wanted_label;
static bool full;

static uint32_t hash(const struct state *s)
{
    const uint8_t *b = (const uint8_t *)s;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < sizeof(*s); i++)
        h = (h ^ b[i]) * 0x100000001b3u;
    return (uint32_t)(h >> 29);
}

static uint32_t *cell(const struct state *s)
{
    uint32_t i = hash(s) & (TABLE - 1);
    while (ex.table[i] && memcmp(&ex.states[ex.table[i] - 1], s, sizeof(*s)) != 0)
        i = (i + 1) & (TABLE - 1);
    return &ex.table[i];
}

static void note_edge(uint32_t to)
{
    if (ex.nedges == ex.room) {
        ex.room = ex.room ? 2 * ex.room : 1u << 20;
        ex.from = realloc(ex.from, ex.room * sizeof(*ex.from));
        ex.to = realloc(ex.to, ex.room * sizeof(*ex.to));
        if (!ex.from || !ex.to)
            exit(2);
    }
    ex.from[ex.nedges] = current;
    ex.to[ex.nedges++] = to;
}

static void visit_new(const struct state *next, enum urge urge, const char *label)
{
    (void)label;
    uint32_t *c = cell(next);
    if (!*c) {
        if (ex.count == LIMIT) {
            full = true;
            return;
        }
        ex.states[ex.count] = *next;
        ex.parents[ex.count] = current;
        *c = ++ex.count;
    }
    if (urge == MUST)
        note_edge(*c - 1);
}

static void visit_label(const struct state *next, enum urge urge, const char *label)
{
    (void)urge;
    if (memcmp(next, &ex.states[wanted], sizeof(*next)) == 0)
        wanted_label = label;
}

static void print_state(const struct state *s)
{
    static const char *const recs[] = {"KERNEL", "STORED", "MOVING", "FILLING"};
    static const char *const uffds[] = {"-", "pending", "cradle", "brood", "gone", "own"};
    printf(" %-7s heap %c want %c |", recs[s->rec], "0123..?."[s->heap], "0123..?."[s->must]);
    for (unsigned i = 0; i < NCHILDREN; i++)
        printf(" %s %c/%c |", uffds[s->c[i].uffd], "0123..?."[s->c[i].heap],
               "0123..?."[s->c[i].must]);
    printf(" window %u held %u\n", s->window, s->holds);
}

static void print_path(uint32_t to)
{
    const char *why = wrong;
    if (to != 0) {
        print_path(ex.parents[to]);
        wanted = to;
        wanted_label = "";
        visit = visit_label;
        step_all(&ex.states[ex.parents[to]]);
    }
    printf("    %-38s", to ? wanted_label : "start");
    print_state(&ex.states[to]);
    wrong = why;
}

static void begin(void)
{
    struct state s;
    memset(&s, 0, sizeof(s));
    s.heap = s.must = FIRST;
    s.writes = sc->heir && sc->bare ? 1 : 2;
    s.forked = 1;
    s.w = sc->newborn ? W_UNBORN : W_IDLE;
    memset(ex.table, 0, TABLE * sizeof(*ex.table));
    ex.count = ex.nedges = 0;
    current = 0;
    full = false;
    wrong = NULL;
    visit = visit_new;
    visit_new(&s, WISH, "start");
}

/* P1. Returns the state in which something was found wrong, or count. */
static uint32_t explore(void)
{
    begin();
    for (uint32_t i = 0; i < ex.count; i++) {
        const struct state s = ex.states[i];
        current = i;
        check_children(&s);
        if (!wrong)
            step_all(&s);
        if (full)
            wrong = "more states than the explorer has room for";
        if (wrong)
            return i;
    }
    return ex.count;
}

/* P2: backwards from the states at rest, until nothing is new. */
static uint32_t explore_rest(void)
{
    bool more = true;
    for (uint32_t i = 0; i < ex.count; i++)
        ex.good[i] = at_rest(&ex.states[i]);
    while (more) {
        more = false;
        for (uint32_t e = ex.nedges; e-- > 0;)
            if (ex.good[ex.to[e]] && !ex.good[ex.from[e]])
                ex.good[ex.from[e]] = more = true;
    }
    uint32_t i = 0;
    while (i < ex.count && ex.good[i])
        i++;
    if (i < ex.count)
        wrong = "somebody stands still for ever";
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
    printf("%-28s %-9s %9u states  %s\n", breaks[b].name, sc->name, ex.count, why ? why : "holds");
    if (why && verbose)
        print_path(at);
    fflush(stdout);
    return !why;
}

static int check_all(void)
{
    unsigned passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++) {
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
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++)
        printf("--only=%s\n", scenarios[i].name);
    for (unsigned b = BREAK_NONE + 1; b < BREAK_COUNT; b++)
        printf("--break=%-28s %s\n", breaks[b].name, breaks[b].what);
    return 0;
}

static int check_one(const char *arg)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++)
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
    ex.table = malloc((size_t)TABLE * sizeof(*ex.table));
    ex.good = malloc(LIMIT);
    if (!ex.states || !ex.parents || !ex.table || !ex.good) {
        puts("no memory");
        return 2;
    }
    if (argc > 1)
        return strcmp(argv[1], "--list") == 0 ? list() : check_one(argv[1]);
    return check_all();
}
