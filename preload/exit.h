/* SPDX-License-Identifier: MIT */
/* exit -- statistics when the program ends. Theory in exit.c. */
#ifndef ZA_PRELOAD_EXIT_H
#define ZA_PRELOAD_EXIT_H

/* In the constructor: keeps standard error within reach, if statistics are to be printed there. */
void za_exit_prepare(void);

#endif
