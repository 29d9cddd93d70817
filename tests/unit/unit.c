/* SPDX-License-Identifier: MIT */
/*
 * unit -- runs the registered tests, each in a child, and counts.
 *
 * A child says how it ended by its exit status: 0, EXIT_FAILED or EXIT_SKIPPED; anything else (a
 * signal, a sanitizer's status, a time-out) is a failure as well.  A test that must die is judged
 * by the signal and by what it left in a file that stood for its standard error.
 */
#define _GNU_SOURCE
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_FAILED 1
#define EXIT_SKIPPED 77
#define TIMEOUT_S 200
#define OUTPUT_MAX 4096

enum result { PASSED, FAILED, SKIPPED };

static struct unit_case *first, **link_end = &first;

void unit_register(struct unit_case *c)
{
    *link_end = c;
    link_end = &c->next;
}

/* dprintf, not printf: a check may fail on a thread that stopped another one inside stdio. */
void unit_fail(const char *file, int line, const char *text)
{
    dprintf(2, "%s:%d: failed: %s\n", file, line, text);
    _exit(EXIT_FAILED);
}

void unit_fail_eq(const char *file, int line, const char *text, uint64_t a, uint64_t b)
{
    dprintf(2, "%s:%d: failed: %s: %lld (%#llx), %lld (%#llx)\n", file, line, text, (long long)a,
            (unsigned long long)a, (long long)b, (unsigned long long)b);
    _exit(EXIT_FAILED);
}

void unit_fail_str(const char *file, int line, const char *a, const char *b)
{
    dprintf(2, "%s:%d: failed: text is\n  \"%s\"\nand should be\n  \"%s\"\n", file, line, a, b);
    _exit(EXIT_FAILED);
}

void unit_skip(const char *why)
{
    dprintf(2, "skipped: %s\n", why);
    _exit(EXIT_SKIPPED);
}

/* `pattern` is a whole name, or a beginning followed by '*'. */
static bool matches(const char *text, const char *pattern)
{
    size_t n = strlen(pattern);

    if (n > 0 && pattern[n - 1] == '*')
        return strncmp(text, pattern, n - 1) == 0;
    return strcmp(text, pattern) == 0;
}

static bool wanted(const struct unit_case *c, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (matches(c->name, argv[i]))
            return true;
    return argc < 2;
}

_Noreturn static void run_child(const struct unit_case *c, int err)
{
    if (err >= 0)
        dup2(err, 2);
    alarm(TIMEOUT_S);
    c->fn();
    _exit(0);
}

static int run_forked(const struct unit_case *c, int err)
{
    int status = -1;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        run_child(c, err);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return status;
}

static void say_status(const struct unit_case *c, int status)
{
    if (WIFSIGNALED(status))
        printf("FAILED %s: %s\n", c->name, strsignal(WTERMSIG(status)));
    else
        printf("FAILED %s: exit status %d\n", c->name, WEXITSTATUS(status));
}

static enum result run_living(const struct unit_case *c)
{
    int status = run_forked(c, -1);

    if (status == 0)
        return PASSED;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
        printf("skipped %s\n", c->name);
        return SKIPPED;
    }
    say_status(c, status);
    return FAILED;
}

/* What qemu-user says of a signal, behind the program's own words, is not the program's. */
static ssize_t without_emulator(char *buf, ssize_t n)
{
    buf[n < 0 ? 0 : n] = '\0';
    const char *said = strstr(buf, "qemu: uncaught target signal");
    return said ? said - buf : n;
}

/* Reads the file back, less its final newline; a missing newline stays visible as a difference. */
static void read_output(int fd, char *buf, size_t cap)
{
    ssize_t n = without_emulator(buf, pread(fd, buf, cap - 1, 0));

    if (n > 0 && buf[n - 1] == '\n')
        n--;
    else if (n > 0 && (size_t)n < cap - 1)
        buf[n++] = '$';
    buf[n < 0 ? 0 : n] = '\0';
}

static enum result run_dying(const struct unit_case *c)
{
    char said[OUTPUT_MAX];
    int fd = memfd_create("stderr", MFD_CLOEXEC);
    int status = run_forked(c, fd);

    read_output(fd, said, sizeof(said));
    close(fd);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && matches(said, c->dies))
        return PASSED;
    say_status(c, status);
    printf("  it should have aborted with\n    %s\n  and said\n    %s\n", c->dies, said);
    return FAILED;
}

static int list(void)
{
    for (const struct unit_case *c = first; c; c = c->next)
        printf("%s\n", c->name);
    return 0;
}

int main(int argc, char **argv)
{
    int count[3] = {0};

    if (argc == 2 && strcmp(argv[1], "-l") == 0)
        return list();
    for (const struct unit_case *c = first; c; c = c->next)
        if (wanted(c, argc, argv))
            count[c->dies ? run_dying(c) : run_living(c)]++;
    printf("%d passed, %d failed\n", count[PASSED], count[FAILED]);
    return count[FAILED] ? 1 : 0;
}
