/* SPDX-License-Identifier: MIT */
/*
 * tool -- the `zalloc` command: one function for each sub-command, and how they complain.
 *
 * A plain program: it may use stdio and malloc, and is never linked with preload.c. Exit status: 0
 * done; 1 the answer is no; 2 wrong usage, one line on standard error; 126 and 127 as the shell's,
 * when a program cannot be run.
 */
#ifndef ZA_TOOL_TOOL_H
#define ZA_TOOL_TOOL_H

#include <stdbool.h>

enum { EXIT_NO = 1, EXIT_USAGE = 2, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* argv[0] is the sub-command's name; each returns the exit status. */
int za_tool_run(int argc, char **argv);
int za_tool_doctor(int argc, char **argv);
int za_tool_conf(int argc, char **argv);
int za_tool_stats(int argc, char **argv);
int za_tool_thaw(int argc, char **argv);
int za_tool_resume(int argc, char **argv);
int za_tool_core(int argc, char **argv);

/* `stats` with a process id. */
int za_tool_stats_of(const char *pid, bool json);

/* "zalloc: <text>" on standard error; returns EXIT_USAGE. */
int za_tool_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Complains about the first argument of a sub-command that takes none; 0 if there is none. */
int za_tool_no_arguments(int argc, char **argv);

#endif
