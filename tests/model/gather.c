/* SPDX-License-Identifier: MIT *
 * One file of over 600 lines for the reason that tests/model/model.c gives.
 */
/*
 * gather -- explores every interleaving of a thread's cache, the worker that takes from it unasked
 * (alloc/gather.h), and forks.
 *
 * usage: gather                    the true protocol in every scenario, then each broken one
 *        gather --break=NAME       one broken protocol, with the shortest way to the failure
 *        gather --only=SCENARIO    the true protocol in one scenario;   gather --list: the names
 *
 * THE MODEL
 * One bin of three entries and four slots, or one pocket of three units and runs of 1, 1, 1 and 2.
 *
 *   O  the cache's thread: takes and puts, by fast or slow path, gives back unasked; for ever.
 *   W  the worker: pass after pass, at any moment, whatever O does.
 *
 * Steps are one load, or one store, of a word that the other writes or reads. What O does in a slow
 * path is decided in one step, and then stored word by word.
 *
 * O's stores go into a buffer, and from there to memory, one at a time, at any moment after: first
 * in, first out (x86); or, in the scenarios that are weak, a store may overtake all but those to its
 * own word, but a release waits for all before it.  There O may also have made one load, of an entry
 * or of the gate, ahead of its turn; but not before a barrier, a load with acquire, or a load or
 * store of its own of that word. What only O writes (top, a pocket's units, left) it reads as it
 * stored it last.  W's barrier falls between two of O's instructions: it empties the buffer and
 * undoes the early load. W's own stores are immediate: where their order counts, an atomic exchange or a
 * barrier comes between.
 *
 * In scenarios with forks a child may be born at any step, and is followed instead of its parent. W
 * is gone, with what it had in hand. Either O has forked (perhaps in a signal handler, amid a path)
 * and goes on. Or a stranger has, and another thread has the cache, if it was not busy, and begins
 * in a slow path: that is a fork with handlers, and more, as a pass may be under way; a cache that
 * nobody has is one whose thread does nothing. The child has another worker, and may fork again.
 *
 * Slots are numbered anew in every state, so that states that differ by that only are one.
 *
 * PROPERTIES
 * P1  Whoever takes a slot (O, W, a slow path that gives it back) takes it from the bin or from
 *     central, and it was there: with nobody else. Nobody writes behind the array.
 * P2  When both are at rest every slot is in one place: once in the bin, or with the program, or
 *     in central. A child may lack what W had in hand, and what a stranger's thread had.
 * P3  From every state a state at rest can be reached, by steps that nobody has to wish for.
 * P4  In a slow path, behind the gate, O has no hole, nor has it any at rest unless holes says so; and
 *     the pocket's left is right.
 *
 * LEFT OUT
 * Several bins (they share gate, busy and holes, and nothing else) and several caches. Changes of array
 * and depth: they are work of a slow path, as a refill is. Sleep at the gate, which has a timeout. A
 * barrier that fails, a hand that is full: W puts back then, too. What is in the slots. How a child
 * learns that it is one (mark, adopt): here its gates have another number, and older ones are dead.
 * That a fork takes time: who writes to a page that is protected already waits in its fault for the
 * fork's end, and so do all its later stores, so that what the child sees is a consistent cut.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: with malloc, up to LIMIT states.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT (8u << 20)
#define TABLE (1u << 24)

enum { DEPTH = 3, SLOTS = 4, BUFFER = 12 };
/* Words: entries (slots, or a pocket's lengths), a pocket's units. */
enum { ENTRY, UNIT = DEPTH + 1, TOP = 2 * UNIT, BUSY, GATE, HOLES, WORDS, RELEASE = 128 };
enum { OPEN, DEAD, CLOSED }; /* gate: DEAD is by a worker that did not come along */
enum { BIN, HANDS, MOVING, CENTRAL, WORKER, LOST };
enum { O_REST, O_POP, O_PUSH, O_RAISE, O_BEGIN, O_GATE, O_DEAD, O_HOLES, O_WORK, O_END };
enum { TAKE, PUT, SWEEP };
enum {
    W_IDLE,
    W_SYNC,
    W_BUSY,
    W_HOLES,
    W_TOP,
    W_FENCE,
    W_SYNC_AGAIN,
    W_CHECK_TOP,
    W_CHECK_FENCE,
    W_TAKE,
    W_PUT_BACK,
    W_OPEN,
    W_GIVE
};

/* Bytes only: states are compared and hashed as memory. */
struct state {
    uint8_t m[WORDS];
    uint8_t word[BUFFER], value[BUFFER], stores, todo; /* the last `todo` are not executed yet */
    uint8_t o, op, p, want, by, left;                  /* O: where it is, and its registers */
    uint8_t ahead, early;                              /* a word and 1, and what was read there */
    uint8_t w, f, x, t, i;                             /* W's */
    uint8_t home[SLOTS + 1];                           /* whose a slot is */
} __attribute__((aligned(8)));

struct scenario {
    const char *name;
    bool weak, fork, pocket;
    uint8_t buffer;
};

static const struct scenario scenarios[] = {
    {.name = "ordered", .buffer = 4},
    {.name = "weak", .buffer = 3, .weak = true},
    {.name = "ordered-fork", .buffer = 3, .fork = true},
    {.name = "weak-fork", .buffer = 2, .weak = true, .fork = true},
    {.name = "pocket", .buffer = 2, .weak = true, .pocket = true},
    {.name = "pocket-fork", .buffer = 2, .pocket = true, .fork = true},
};
enum { IN_ORDERED, IN_WEAK, IN_ORDERED_FORK, IN_WEAK_FORK, IN_POCKET, IN_POCKET_FORK };

/* Each takes one step of the protocol away: name, the scenario that shows it, what is done instead. */
#define BREAKS(X) \
    X(NO_SYNC, "no-first-barrier", IN_ORDERED, "W looks at busy without a barrier") \
    X(NO_SYNC_AGAIN, "no-second-barrier", IN_ORDERED, "W looks at top again without a barrier") \
    X(NO_BUSY, "busy-not-looked-at", IN_ORDERED, "W does not ask whether O is in a slow path") \
    X(NO_TOP, "top-not-looked-at-again", IN_ORDERED, "W looks at the fence only") \
    X(AT_FENCE, "top-may-be-the-fence", IN_ORDERED, "W is content with top >= f") \
    X(NO_FENCE, "fence-not-looked-at", IN_ORDERED, "W looks at top only") \
    X(BLIND, "put-back-by-a-store", IN_ORDERED, \
      "W puts the fence's slot back over whatever is there") \
    X(NO_PUT_BACK, "not-put-back", IN_ORDERED, "W leaves the fence where it may not take") \
    X(TOP_TOO, "top-taken-too", IN_ORDERED, "W takes what is above the fence, too") \
    X(OPEN_EARLY, "opened-too-soon", IN_ORDERED, "W opens the gate, then takes") \
    X(NO_GATE, "gate-ignored", IN_ORDERED, "O goes on at a closed gate") \
    X(GATE_FIRST, "gate-before-busy", IN_ORDERED, \
      "O looks at the gate, then says that it is busy") \
    X(NO_CLOSING_UP, "not-closed-up", IN_ORDERED, "O does not close up holes") \
    X(NO_SECOND_LOOK, "no-second-look", IN_ORDERED, "O refills a bin that was not empty") \
    X(HOLES_LAST, "holes-after-the-gate", IN_ORDERED, "W opens the gate, then tells of the holes") \
    X(TOP_RELAXED, "put-without-release", IN_WEAK, "top may be raised before the slot is there") \
    X(BUSY_RELAXED, "end-without-release", IN_WEAK, "busy may fall before the slow path is done") \
    X(TOP_FIRST, "top-before-slot", IN_ORDERED_FORK, "O raises top, then stores the slot") \
    X(HOLES_LATE, "holes-after-the-fence", IN_ORDERED_FORK, "W tells of holes when it takes") \
    X(GIVEN_FIRST, "given-before-taken", IN_ORDERED_FORK, \
      "W gives a slot back, then takes it out") \
    X(DEAD_GATE, "waits-at-a-dead-gate", IN_ORDERED_FORK, \
      "the child waits for the parent's worker") \
    X(DEAD_STORE, "dead-gate-opened-by-a-store", IN_ORDERED_FORK, \
      "O opens a dead gate whoever closed it") \
    X(LEFT_KEPT, "left-not-mended", IN_POCKET, \
      "O closes up the pocket, and leaves left as it was") \
    X(UNIT_LAST, "unit-after-n", IN_POCKET_FORK, "O raises n, then stores the unit") \
    X(FAST_FIRST, "fast-path-before-slow", IN_POCKET_FORK, \
      "who has a stranger's cache does not begin in a slow path")

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

static bool is(unsigned b)
{
    return (unsigned)broken == b;
}

/* ---- memory ----------------------------------------------------------------------------------- */

/* As O sees it. */
static unsigned view(const struct state *s, unsigned word)
{
    for (unsigned i = s->stores; i-- > 0;)
        if ((s->word[i] & ~RELEASE) == word)
            return s->value[i];
    return s->m[word];
}

static unsigned load(struct state *n, unsigned word)
{
    unsigned v = n->ahead == word + 1 ? n->early : view(n, word);
    if (n->ahead == word + 1 || word == GATE) /* with acquire */
        n->ahead = n->early = 0;
    return v;
}

static void store(struct state *n, unsigned word, unsigned v)
{
    n->word[n->stores] = (uint8_t)word;
    n->value[n->stores++] = (uint8_t)v;
    n->todo++;
    if (n->ahead == (word & ~RELEASE) + 1u)
        n->ahead = n->early = 0;
}

static void drain(struct state *n, unsigned i)
{
    n->m[n->word[i] & ~RELEASE] = n->value[i];
    for (n->stores--; i < n->stores; i++) {
        n->word[i] = n->word[i + 1];
        n->value[i] = n->value[i + 1];
    }
    n->word[i] = n->value[i] = 0;
}

static void barrier(struct state *n)
{
    while (n->stores > n->todo)
        drain(n, 0);
    n->ahead = n->early = 0;
}

static bool may_drain(const struct state *s, unsigned i)
{
    if (i > 0 && (!sc->weak || s->word[i] & RELEASE))
        return false;
    for (unsigned k = 0; k < i; k++)
        if (!((s->word[k] ^ s->word[i]) & ~RELEASE))
            return false;
    return true;
}

static void step_memory(const struct state *s)
{
    struct state n;
    for (unsigned i = 0; i + s->todo < s->stores; i++) {
        n = *s;
        drain(&n, i);
        if (may_drain(s, i))
            visit(&n, MUST, "a store of O's arrives");
    }
    /* Entries: while W changes none, and above top, it makes no difference when. */
    unsigned most = s->w == W_IDLE ? 0 : view(s, TOP);
    for (unsigned word = ENTRY + 1; sc->weak && !s->todo && word <= GATE; word++) {
        if (word > ENTRY + most && word != GATE)
            continue;
        n = *s;
        n.ahead = (uint8_t)(word + 1);
        n.early = (uint8_t)view(s, word);
        visit(&n, WISH, "O loads ahead of its turn");
    }
}

/* ---- slots ------------------------------------------------------------------------------------ */

static unsigned length(unsigned slot)
{
    return slot == SLOTS ? 2 : 1;
}

/* What is put into an entry. */
static unsigned mark(unsigned slot)
{
    return sc->pocket ? length(slot) : slot;
}

static void move(struct state *n, unsigned slot, unsigned from, unsigned to)
{
    if (n->home[slot] != from)
        wrong = from == CENTRAL ? "central has a slot that is another's"
                                : "a slot is taken that is another's";
    n->home[slot] = (uint8_t)to;
}

/* The slots O sees; a hole is 0. */
static unsigned slots_of(const struct state *s, unsigned *a)
{
    for (unsigned i = 1; i <= view(s, TOP); i++)
        a[i - 1] = !view(s, ENTRY + i) ? 0 : view(s, (sc->pocket ? UNIT : ENTRY) + i);
    return view(s, TOP);
}

static void rewrite(struct state *n, const unsigned *a, unsigned count, unsigned top)
{
    for (unsigned i = 1; i <= count; i++) {
        if (sc->pocket && view(n, UNIT + i) != a[i - 1])
            store(n, UNIT + i, a[i - 1]);
        if (view(n, ENTRY + i) != mark(a[i - 1]))
            store(n, ENTRY + i, mark(a[i - 1]));
    }
    if (view(n, TOP) != top)
        store(n, TOP, top);
}

static unsigned close_up(unsigned *a, unsigned count)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++)
        if (a[i])
            a[n++] = a[i];
    return n;
}

static void mend(struct state *n)
{
    unsigned a[DEPTH], count = slots_of(n, a);
    n->left = sc->pocket ? DEPTH : 0;
    for (unsigned i = 0; sc->pocket && i < count; i++)
        n->left = (uint8_t)(n->left - (a[i] ? length(a[i]) : 0));
}

/* P4 */
static void check_order(const struct state *s)
{
    struct state n = *s;
    unsigned a[DEPTH], count = slots_of(s, a);
    mend(&n);
    if (close_up(a, count) != count)
        wrong = "a hole nobody told of";
    else if (n.left != s->left)
        wrong = "the pocket's left is wrong";
}

/* P2 */
static void check_rest(const struct state *s)
{
    unsigned a[DEPTH], count = slots_of(s, a), seen[SLOTS + 1] = {0};
    for (unsigned i = 0; i < count; i++)
        seen[a[i]]++;
    for (unsigned slot = 1; slot <= SLOTS; slot++)
        if (seen[slot] != (s->home[slot] == BIN))
            wrong = seen[slot] ? "the bin has a slot twice, or another's" : "a slot is lost";
    if (!s->m[HOLES])
        check_order(s);
}

static bool names_slot(unsigned word)
{
    return sc->pocket ? word >= UNIT && word < TOP : word < UNIT;
}

/* Calls f for all that names a slot. */
static void each_name(struct state *s, void (*f)(uint8_t *name))
{
    for (unsigned word = 0; word < TOP; word++)
        if (names_slot(word))
            f(&s->m[word]);
    for (unsigned i = 0; i < s->stores; i++)
        if (names_slot(s->word[i]))
            f(&s->value[i]);
    f(&s->p);
    if (!sc->pocket)
        f(&s->x);
    if (s->ahead && names_slot(s->ahead - 1u))
        f(&s->early);
}

static uint8_t new_name[SLOTS + 1], named;

static void name(uint8_t *slot)
{
    if (*slot && !new_name[*slot])
        new_name[*slot] = sc->pocket && *slot == SLOTS ? SLOTS : ++named;
}

static void rename_to(uint8_t *slot)
{
    *slot = new_name[*slot];
}

/* Slots are alike, and so are states that differ in their numbers only: one stands for all. */
static void number(struct state *s)
{
    uint8_t home[SLOTS + 1];
    memset(new_name, 0, sizeof(new_name));
    named = 0;
    each_name(s, name);
    for (unsigned at = BIN; at <= LOST; at++)
        for (unsigned slot = 1; slot <= SLOTS; slot++)
            if (s->home[slot] == at) {
                uint8_t narrow = (uint8_t)slot;
                name(&narrow);
            }
    each_name(s, rename_to);
    memcpy(home, s->home, sizeof(home));
    for (unsigned slot = 1; slot <= SLOTS; slot++)
        s->home[new_name[slot]] = home[slot];
}

/* ---- O ---------------------------------------------------------------------------------------- */

/* Its stores are executed one by one, the first with the step itself; the buffer must have room. */
static void step_done(const struct state *s, struct state *n, enum urge urge, const char *label)
{
    if (n->stores > sc->buffer && s->stores && n->stores > s->stores)
        return;
    n->todo = (uint8_t)(n->todo - (n->todo > 0));
    visit(n, urge, label);
}

static void o_finish(struct state *n, unsigned at)
{
    n->o = (uint8_t)at;
    if (at == O_REST)
        n->op = n->p = n->want = 0;
    n->by = 0;
}

/* The fast paths up to their first store. */
static void o_start(const struct state *s)
{
    unsigned top = view(s, TOP);
    struct state n;
    for (unsigned want = 1; want <= 1u + sc->pocket; want++) {
        n = *s;
        unsigned e = load(&n, ENTRY + top);
        n.op = TAKE;
        n.want = sc->pocket ? (uint8_t)want : 0;
        n.o = e && (!sc->pocket || e == want) ? O_POP : O_BEGIN;
        if (n.o == O_POP)
            n.p = (uint8_t)(sc->pocket ? view(s, UNIT + top) : e);
        step_done(s, &n, WISH, n.o == O_POP ? "malloc loads the top entry" : "malloc must refill");
    }
    for (unsigned slot = 1; slot <= SLOTS; slot++) {
        n = *s;
        bool fits = sc->pocket ? s->left >= length(slot) : top < DEPTH;
        n.op = PUT;
        n.p = (uint8_t)slot;
        n.o = fits ? O_PUSH : O_BEGIN;
        n.home[slot] = MOVING;
        if (s->home[slot] == HANDS)
            step_done(s, &n, WISH, fits ? "free begins" : "free must flush");
    }
    n = *s;
    n.op = SWEEP;
    n.o = O_BEGIN;
    step_done(s, &n, WISH, "O begins to give back");
}

/* A push is stores of unit, entry, top; `by` counts them. */
static void o_push(const struct state *s)
{
    const char *order =
        !sc->pocket ? (is(BREAK_TOP_FIRST) ? "te" : "et") : (is(BREAK_UNIT_LAST) ? "etu" : "uet");
    unsigned above = view(s, TOP) + !memchr(order, 't', s->by);
    struct state n = *s;
    if (above > DEPTH) {
        wrong = "O puts a slot behind the array's end";
        return;
    }
    if (order[s->by] == 't') {
        store(&n, TOP | (is(BREAK_TOP_RELAXED) ? 0 : RELEASE), above);
        if (s->home[s->p] != LOST)
            move(&n, s->p, MOVING, BIN);
        n.left = (uint8_t)(s->left - (sc->pocket ? length(s->p) : 0));
    } else {
        bool unit = order[s->by] == 'u';
        store(&n, (unit ? UNIT : ENTRY) + above, unit ? s->p : mark(s->p));
    }
    n.by++;
    if (!order[n.by])
        o_finish(&n, O_REST);
    step_done(s, &n, MUST, order[s->by] == 't' ? "free raises top" : "free stores the slot");
}

static void o_pop(const struct state *s)
{
    struct state n = *s;
    move(&n, s->p, BIN, HANDS);
    store(&n, TOP, view(s, TOP) - 1);
    n.left = (uint8_t)(s->left + (sc->pocket ? length(s->p) : 0));
    o_finish(&n, O_REST);
    step_done(s, &n, MUST, "malloc lowers top, and has the slot");
}

static void o_begin(const struct state *s)
{
    struct state n = *s;
    unsigned a[DEPTH], count;
    switch (s->o) {
    case O_BEGIN:
        n.o = is(BREAK_GATE_FIRST) && s->by ? O_HOLES : O_GATE;
        if (!is(BREAK_GATE_FIRST) || s->by)
            store(&n, BUSY, 1);
        n.by = 0;
        step_done(s, &n, MUST, "O is busy");
        break;
    case O_GATE:
        n.by = (uint8_t)load(&n, GATE);
        n.o = n.by == DEAD && !is(BREAK_DEAD_GATE) ? O_DEAD : O_GATE;
        if (n.by == OPEN || is(BREAK_NO_GATE))
            n.o = is(BREAK_GATE_FIRST) ? O_BEGIN : O_HOLES;
        n.by = n.o == O_DEAD ? n.by : n.o == O_BEGIN;
        step_done(s, &n, MUST, n.o == O_GATE ? "O waits at the gate" : "O looks at the gate");
        break;
    case O_DEAD:
        if (is(BREAK_DEAD_STORE))
            store(&n, GATE, OPEN);
        else if (s->stores && !sc->weak)
            return; /* an atomic operation */
        else if (s->m[GATE] == s->by)
            n.m[GATE] = OPEN;
        n.by = 0;
        n.o = O_GATE;
        step_done(s, &n, MUST, "O opens a dead gate");
        break;
    default:
        n.o = O_WORK;
        if (view(s, HOLES) && !is(BREAK_NO_CLOSING_UP)) {
            count = close_up(a, slots_of(s, a));
            rewrite(&n, a, count, count);
            store(&n, HOLES, 0);
            if (!is(BREAK_LEFT_KEPT))
                mend(&n);
        }
        step_done(s, &n, MUST, "O closes up holes, if any");
    }
}

static void o_work_done(const struct state *s, struct state *n, const char *label)
{
    n->o = O_END;
    n->p = n->want = 0;
    step_done(s, n, MUST, label);
}

/* Takes entry i out of the list, for `whom`. */
static unsigned take_out(struct state *n, unsigned *a, unsigned count, unsigned i, unsigned whom)
{
    if (sc->pocket && a[i])
        n->left = (uint8_t)(n->left + length(a[i]));
    if (a[i])
        move(n, a[i], BIN, whom);
    a[i] = 0;
    return close_up(a, count);
}

static void o_refill(const struct state *s)
{
    struct state n = *s;
    unsigned a[DEPTH], count = slots_of(s, a), taken = 0;
    for (unsigned i = count; i-- > 0 && !is(BREAK_NO_SECOND_LOOK);) {
        if (!a[i] || (sc->pocket && length(a[i]) != s->want))
            continue;
        count = take_out(&n, a, count, i, HANDS);
        rewrite(&n, a, count, count);
        o_work_done(s, &n, "O finds a slot after all");
        return;
    }
    for (unsigned slot = 1; slot <= SLOTS && taken < DEPTH; slot++) {
        if (s->home[slot] != CENTRAL || (sc->pocket && length(slot) != s->want))
            continue;
        if (taken)
            move(&n, a[taken - 1], HANDS, BIN);
        move(&n, slot, CENTRAL, HANDS);
        a[taken++] = slot;
        struct state done = n;
        if (!sc->pocket)
            rewrite(&done, a, taken, taken - 1);
        o_work_done(s, &done, "O refills");
        if (sc->pocket)
            return;
    }
    if (!taken)
        o_work_done(s, &n, "O finds nothing");
}

static void o_work(const struct state *s)
{
    unsigned a[DEPTH + 2] = {0}, count = slots_of(s, a);
    check_order(s);
    if (s->op == TAKE) {
        o_refill(s);
        return;
    }
    struct state n = *s;
    for (unsigned gone = 0;; gone++) {
        bool fits = sc->pocket ? n.left >= length(s->p) : count < DEPTH;
        struct state done = n;
        unsigned more[DEPTH + 2], with = count;
        memcpy(more, a, sizeof(more));
        if (s->op == PUT && fits) {
            move(&done, s->p, MOVING, BIN);
            done.left = (uint8_t)(n.left - (sc->pocket ? length(s->p) : 0));
            more[with++] = s->p;
        }
        rewrite(&done, more, with, with);
        if (s->op == SWEEP || fits)
            o_work_done(s, &done, "O gives back, and puts");
        if (!count || (sc->pocket && s->op == PUT && fits))
            return;
        count = take_out(&n, a, count, 0, CENTRAL);
    }
}

static void step_o(const struct state *s)
{
    struct state n = *s;
    if (s->todo) {
        n.todo--;
        visit(&n, MUST, "O stores the next word");
        return;
    }
    switch (s->o) {
    case O_REST: o_start(s); break;
    case O_POP: o_pop(s); break;
    case O_PUSH: o_push(s); break;
    case O_WORK: o_work(s); break;
    case O_END:
        store(&n, BUSY | (is(BREAK_BUSY_RELAXED) ? 0 : RELEASE), 0);
        o_finish(&n, O_REST);
        step_done(s, &n, MUST, "O is busy no more");
        break;
    default: o_begin(s);
    }
}

/* ---- W ---------------------------------------------------------------------------------------- */

static void w_at(struct state *n, unsigned at, const char *label)
{
    n->w = (uint8_t)at;
    if (at == W_IDLE || at == W_GIVE)
        n->f = n->x = n->t = n->i = 0;
    visit(n, n->w == W_SYNC ? WISH : MUST, label);
}

/* Steps 1 to 3. */
static void w_begin(const struct state *s)
{
    struct state n = *s;
    switch (s->w) {
    case W_IDLE:
        n.m[GATE] = CLOSED;
        w_at(&n, W_SYNC, "W closes the gate");
        break;
    case W_SYNC:
        if (!is(BREAK_NO_SYNC))
            barrier(&n);
        w_at(&n, W_BUSY, "W's barrier");
        break;
    case W_BUSY:
        w_at(&n, s->m[BUSY] && !is(BREAK_NO_BUSY) ? W_OPEN : W_HOLES, "W looks at busy");
        break;
    case W_HOLES:
        n.m[HOLES] |= !is(BREAK_HOLES_LATE) && !is(BREAK_HOLES_LAST);
        w_at(&n, W_TOP, "W tells of holes");
        break;
    case W_TOP:
        n.f = (uint8_t)(s->m[TOP] > 1 ? s->m[TOP] - 1 : 0);
        w_at(&n, n.f ? W_FENCE : W_OPEN, "W looks at top");
        break;
    case W_FENCE:
        n.x = s->m[ENTRY + s->f];
        n.m[ENTRY + s->f] = 0;
        w_at(&n, W_SYNC_AGAIN, "W puts the fence");
        break;
    default:
        if (!is(BREAK_NO_SYNC_AGAIN))
            barrier(&n);
        w_at(&n, W_CHECK_TOP, "W's second barrier");
    }
}

static void w_take(const struct state *s)
{
    struct state n = *s;
    unsigned e = s->i == s->f ? s->x : s->m[ENTRY + s->i];
    unsigned slot = sc->pocket ? s->m[UNIT + s->i] : e;
    bool first = is(BREAK_GIVEN_FIRST) && s->i < s->f; /* given before it is NULLed */
    if (is(BREAK_HOLES_LATE))
        n.m[HOLES] = 1;
    if (e && s->home[slot] != (first && s->t ? CENTRAL : BIN))
        wrong = "W takes a slot that is not the bin's";
    else if (e)
        n.home[slot] = first ? CENTRAL : WORKER;
    if (first && e && !s->t) {
        n.t = 1;
        w_at(&n, W_TAKE, "W gives a slot that it has not taken yet");
        return;
    }
    n.t = 0;
    if (s->i == s->f)
        n.x = 0;
    else
        n.m[ENTRY + s->i] = 0;
    n.i = (uint8_t)(is(BREAK_TOP_TOO) && s->i >= s->f ? s->i + 1 : s->i - 1);
    if (n.i > s->f && n.i > s->m[TOP])
        n.i = (uint8_t)(s->f - 1);
    w_at(&n, n.i ? W_TAKE : is(BREAK_OPEN_EARLY) ? W_GIVE : W_OPEN, "W takes a slot");
}

/* Steps 4 to 6. */
static void w_end(const struct state *s)
{
    struct state n = *s;
    bool closed = !is(BREAK_OPEN_EARLY) || s->i != s->f;
    switch (s->w) {
    case W_CHECK_TOP:
        n.w = W_PUT_BACK;
        if (s->m[TOP] + is(BREAK_AT_FENCE) > s->f || is(BREAK_NO_TOP))
            n.w = W_CHECK_FENCE;
        w_at(&n, n.w, "W looks at top again");
        break;
    case W_CHECK_FENCE:
        n.w = s->m[ENTRY + s->f] && !is(BREAK_NO_FENCE) ? W_PUT_BACK : W_TAKE;
        n.i = n.w == W_TAKE ? s->f : 0;
        w_at(&n, n.w == W_TAKE && is(BREAK_OPEN_EARLY) ? W_OPEN : n.w, "W looks at the fence");
        break;
    case W_PUT_BACK:
        if ((!s->m[ENTRY + s->f] || is(BREAK_BLIND)) && !is(BREAK_NO_PUT_BACK))
            n.m[ENTRY + s->f] = s->x;
        n.x = 0;
        w_at(&n, W_OPEN, "W puts the fence's slot back");
        break;
    case W_OPEN:
        n.m[GATE] = OPEN;
        w_at(&n, closed || !s->i ? W_GIVE : W_TAKE, "W opens the gate");
        break;
    default:
        for (unsigned slot = 1; slot <= SLOTS; slot++)
            if (s->home[slot] == WORKER)
                n.home[slot] = CENTRAL;
        n.m[HOLES] |= is(BREAK_HOLES_LAST);
        w_at(&n, W_IDLE, "W gives what it has to central");
    }
}

static void step_w(const struct state *s)
{
    if (s->w <= W_SYNC_AGAIN)
        w_begin(s);
    else if (s->w == W_TAKE)
        w_take(s);
    else
        w_end(s);
}

/* ---- forks ------------------------------------------------------------------------------------ */

static bool holds(const struct state *s, unsigned slot)
{
    unsigned a[DEPTH], count = slots_of(s, a);
    while (count > 0 && a[count - 1] != slot)
        count--;
    return count > 0;
}

/* What W had in hand is nobody's. */
static void worker_gone(struct state *n)
{
    unsigned fence = sc->pocket ? n->m[UNIT + n->f] : n->x;
    bool taken = n->o == O_POP && n->p == fence; /* by O */
    if (n->x && n->o == O_PUSH && n->by == 1 + sc->pocket && n->p == fence &&
        n->f == view(n, TOP) + 1 && !view(n, ENTRY + n->f) && n->home[fence] == MOVING)
        n->home[fence] = LOST; /* before O could raise top */
    if (n->x && !taken && n->home[fence] == BIN && !holds(n, fence))
        n->home[fence] = LOST;
    for (unsigned slot = 1; slot <= SLOTS; slot++)
        if (n->home[slot] == WORKER)
            n->home[slot] = LOST;
    n->m[GATE] = n->m[GATE] == CLOSED ? DEAD : n->m[GATE];
    n->w = n->f = n->x = n->t = n->i = 0;
}

static void step_fork(const struct state *s)
{
    struct state n = *s;
    barrier(&n);
    worker_gone(&n);
    visit(&n, WISH, "O forks");
    if (s->stores || s->m[BUSY])
        return; /* with stores under way it is the same a bit later */
    n = *s;
    o_finish(&n, O_REST);
    n.o = is(BREAK_FAST_FIRST) ? O_REST : O_BEGIN;
    n.op = is(BREAK_FAST_FIRST) ? TAKE : SWEEP;
    n.ahead = n.early = 0;
    worker_gone(&n);
    for (unsigned slot = 1; slot <= SLOTS; slot++)
        if (n.home[slot] == MOVING || (s->o == O_POP && s->p == slot && !holds(&n, slot)))
            n.home[slot] = LOST;
    mend(&n);
    visit(&n, WISH, "a stranger forks, another has the cache");
}

/* ---- the explorer ----------------------------------------------------------------------------- */

static void step_all(const struct state *s)
{
    step_memory(s);
    step_o(s);
    step_w(s);
    if (sc->fork)
        step_fork(s);
}

static bool at_rest(const struct state *s)
{
    return s->o == O_REST && !s->stores && s->w == W_IDLE;
}

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
    uint64_t h = 0, part;
    for (size_t i = 0; i < sizeof(*s); i += sizeof(part)) {
        memcpy(&part, (const char *)s + i, sizeof(part));
        h = (h ^ part) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return (uint32_t)h;
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
    struct state n = *next;
    (void)label;
    number(&n);
    uint32_t *c = cell(&n);
    if (!*c) {
        if (ex.count == LIMIT) {
            full = true;
            return;
        }
        ex.states[ex.count] = n;
        ex.parents[ex.count] = current;
        *c = ++ex.count;
    }
    if (urge == MUST)
        note_edge(*c - 1);
}

static void visit_label(const struct state *next, enum urge urge, const char *label)
{
    struct state n = *next;
    (void)urge;
    number(&n);
    if (memcmp(&n, &ex.states[wanted], sizeof(n)) == 0)
        wanted_label = label;
}

static void print_state(const struct state *s)
{
    static const char *const homes[] = {"bin", "O", "moves", "central", "W", "lost"};
    printf(" top %u:", s->m[TOP]);
    for (unsigned i = 1; i <= DEPTH; i++)
        printf(sc->pocket ? " %u(%u)" : " %u", s->m[ENTRY + i], s->m[UNIT + i]);
    printf(" %s%s%s |", s->m[BUSY] ? "busy " : "", s->m[GATE] ? "closed " : "",
           s->m[HOLES] ? "holes " : "");
    for (unsigned i = 0; i < s->stores; i++) {
        unsigned word = s->word[i] & ~RELEASE;
        const char *const names[] = {"top", "busy", "gate", "holes"};
        printf(i + s->todo < s->stores ? " " : " ~");
        word < TOP ? printf("%s%u=", word < UNIT ? "" : "u", word % UNIT)
                   : printf("%s=", names[word - TOP]);
        printf("%u", s->value[i]);
    }
    printf(" |");
    for (unsigned slot = 1; slot <= SLOTS; slot++)
        printf(" %s", homes[s->home[slot]]);
    printf("\n");
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
    memset(&s.home[1], CENTRAL, SLOTS);
    s.left = sc->pocket ? DEPTH : 0;
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
    printf("%-28s %-12s %9u states  %s\n", breaks[b].name, sc->name, ex.count, why ? why : "holds");
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
