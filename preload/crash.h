/* SPDX-License-Identifier: MIT */
/* crash -- thaw_on_crash:true: a core dump with every page in it. Theory in crash.c. */
#ifndef ZA_PRELOAD_CRASH_H
#define ZA_PRELOAD_CRASH_H

/* Once, in the constructor. Does nothing unless the option is on. */
void za_crash_prepare(void);
/* In a child made by fork: it has a process id of its own. */
void za_crash_child(void);
/* Each thread's first use of the heap, and its end: a stack for the handler. */
void za_crash_thread_begin(void);
void za_crash_thread_end(void);

#endif
