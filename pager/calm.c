/* SPDX-License-Identifier: MIT */
/*
 * calm -- what W may do to memory that children made without our handlers have yet to be given.
 *
 * THEORY
 *
 * A bare fork (_Fork, raw clone) copies the address space at a moment T that nobody of ours
 * chooses. Pages that are out are missing in the child; F gives them to it from the parent's
 * records as they are when F has read the fork's message, some time after T. Whatever W does in
 * between is safe for the child if it keeps a page's bytes (compressing, moving them about), and
 * harmful if it takes away what the program gave up after T: that is garbage in the parent and
 * alive in the child.
 *
 * Harmful, too, is it to copy a page back to its heap address after T (remap.c): the child has it
 * there no more than before, and F would not find it out.
 *
 * So every step of W that takes contents away (a scrubbed copy that is committed, a page without a
 * live byte, a discard, a relocation) stands between za_calm_begin and za_calm_end, *after* W has
 * learnt what was given up; and so does the last step of a copy, the record's, *after* the copy.
 *
 * I1  When za_calm_begin returns, every child whose T lies before its look has been filled. A child
 *     whose T lies after it was made when the program had given up what the step takes away.
 * I2  F fills a bare child only while W is outside such a step, and no such step begins before F is
 *     done. F holds no claim on a record meanwhile but those of the service that it interrupted,
 *     and these pages it hands out at once (heir.c).
 *
 * How W looks: from T until F has read the message the kernel answers EAGAIN to every ioctl that
 * changes pages, a senseless one included. If it does not, the message either does not exist or has
 * been read; the service in which F read it ends only when the child is full, so W waits for the
 * end of the service that is under way, if any.
 *
 * Why F may wait for W here, and nowhere else (page.h I4): W in such a step waits for nobody but F,
 * and F goes on to do what W can wait for: it reads its messages, fills W's holes in the mirror,
 * and has no record of its own (serve_mirror, heir.c). Other messages are put off. F goes before
 * everybody else, and W behind: on W's processor it would wait in vain, so it sleeps between two
 * looks (fault.c), and W does not begin a step where it would wait itself.
 *
 * What MOVE does needs no calm: after T the pages are shared with the child, and MOVE refuses them.
 *
 * Locks: none.  May sleep: W in za_calm_begin.  May fault: no.  Allocates: nothing.
 */
#include <errno.h>

#include "pager/private.h"

#define LOOK_NS ZA_NS_PER_MS

static bool giving(void)
{
    return __atomic_load_n(&za_pg.giving, __ATOMIC_SEQ_CST) != 0;
}

/* Is there a child that F has not heard of? */
static bool unheard(void)
{
    char *any = za_pg_heap(0);
    return za_pg.caps.event_fork && za_os->uffd_copy(za_pg.uffd, any, any, 0, false) == -EAGAIN;
}

/* False: F has heard of a child, and waits for W to fill it. */
static bool served(void)
{
    uint32_t seq = __atomic_load_n(&za_pg.fault_seq, __ATOMIC_SEQ_CST);
    while (za_pg.caps.event_fork && (seq & 1) && !giving() &&
           __atomic_load_n(&za_pg.fault_seq, __ATOMIC_SEQ_CST) == seq)
        za_os->relax();
    return !giving();
}

/* W is on nobody's way while a child is to be heard of, or is filled. */
static void await_children(void)
{
    do {
        uint32_t now = giving();
        (void)za_os->wait(&za_pg.giving, now, now ? ZA_NEVER : LOOK_NS);
    } while (giving() || unheard());
}

void za_calm_begin(void)
{
    for (;;) {
        __atomic_store_n(&za_pg.taking, 1, __ATOMIC_SEQ_CST);
        if (!giving() && !unheard() && served())
            return;
        __atomic_store_n(&za_pg.taking, 0, __ATOMIC_SEQ_CST);
        await_children();
    }
}

void za_calm_end(void)
{
    __atomic_store_n(&za_pg.taking, 0, __ATOMIC_SEQ_CST);
}

/* F: no step that takes contents away begins from now on, and the one under way is over. */
void za_calm_impose(void (*meanwhile)(void))
{
    __atomic_store_n(&za_pg.giving, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&za_pg.taking, __ATOMIC_SEQ_CST))
        meanwhile();
}

void za_calm_lift(void)
{
    __atomic_store_n(&za_pg.giving, 0, __ATOMIC_SEQ_CST);
    za_os->wake(&za_pg.giving);
}
