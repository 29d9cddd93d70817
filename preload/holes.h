/* SPDX-License-Identifier: MIT */
/*
 * holes -- what a child lacks of the heap, because of MADV_DONTFORK, is closed with zeros.
 *
 * Elsewhere a hole is the program's own affair.  In the heap it is an address that malloc hands out,
 * and the first thing the kernel finds room for: a thread's stack, a library.  So a child closes them
 * before anything else is mapped, and whoever reads there sees zeros where he would have died.  The
 * pager leaves such memory alone (ZA_PIN_FOREIGN): what is mapped there in a child is not registered.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: mappings.  Signal safety: all of it.
 */
#ifndef ZA_PRELOAD_HOLES_H
#define ZA_PRELOAD_HOLES_H

/* From now on children may lack something. */
void za_holes_expect(void);
/* In a child, before anything is mapped there: a thread's stack, say. */
void za_holes_close(void);

#endif
