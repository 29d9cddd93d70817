/* SPDX-License-Identifier: MIT */
/*
 * main -- the `zalloc` command: finds the sub-command, and prints help and version.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "include/zalloc.h"
#include "tool/tool.h"

static const char help[] =
    "usage: zalloc COMMAND [ARGUMENTS]\n"
    "\n"
    "  run [--conf K:V,...] PROGRAM [ARGUMENTS]   run a program under zalloc\n"
    "  doctor [--json] [--file DIR]   can zalloc compress here, and use DIR as a file tier? if not:\n"
    "                     which command allows it\n"
    "  conf               the configuration keys (ZALLOC_CONF=key:value,...)\n"
    "  stats              the statistics and what they mean\n"
    "  stats PID [--json]             the statistics of a running process\n"
    "  thaw PID           brings every page of a process back and keeps it there: before gdb, gcore\n"
    "  resume PID         ends that\n"
    "  core CORE [-o OUT] fills the pages that were out into a core file (OUT: CORE.expanded)\n"
    "  --help, --version\n"
    "\n"
    "`zalloc run` looks for libzalloc.so in $ZALLOC_LIB, beside this command and in ../lib.\n"
    "Exit status: 0 done, 1 doctor says no, or not all could be done, 2 wrong usage; run: the\n"
    "program's, 126 or 127 if it cannot be run.\n";

int za_tool_complain(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    (void)fputs("zalloc: ", stderr);
    (void)vfprintf(stderr, format, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    return EXIT_USAGE;
}

int za_tool_no_arguments(int argc, char **argv)
{
    if (argc > 1)
        return za_tool_complain("%s: unexpected argument \"%s\"", argv[0], argv[1]);
    return 0;
}

/* A full disk or closed pipe is no success. */
static int finish(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)za_tool_complain("cannot write to standard output");
        return status ? status : EXIT_NO;
    }
    return status;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*act)(int argc, char **argv);
    } commands[] = {
        {"run", za_tool_run},     {"doctor", za_tool_doctor}, {"conf", za_tool_conf},
        {"stats", za_tool_stats}, {"thaw", za_tool_thaw},     {"resume", za_tool_resume},
        {"core", za_tool_core},
    };
    if (argc < 2)
        return za_tool_complain("a command is missing; try zalloc --help");
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        (void)fputs(help, stdout);
        return finish(0);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        (void)puts("zalloc " ZALLOC_VERSION);
        return finish(0);
    }
    for (size_t i = 0; i < ZA_ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i].name) == 0)
            return finish(commands[i].act(argc - 1, argv + 1));
    }
    return za_tool_complain("unknown command \"%s\"; try zalloc --help", name);
}
