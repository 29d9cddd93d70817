/* SPDX-License-Identifier: MIT */
/*
 * base -- how the library ends a process: one line on standard error, then SIGABRT.
 *
 * A line is put together on the stack and leaves in one write, so that lines of several threads do
 * not mix.  Refuses to return, to allocate, and to use stdio: the caller may be inside malloc.
 *
 * I1  Works before os/ has been initialised: the default ops are raw system calls.
 *
 * Locks: none.  May sleep: in write.  May fault: no.
 * Allocates: nothing (FATAL_MAX bytes of stack).
 */
#include "base/base.h"

#include "base/fmt.h"
#include "base/raw.h"

#define FATAL_MAX 512

static void raw_write_err(const char *s, size_t len)
{
    while (len) {
        long n = za_raw_write(2, s, len);
        if (n <= 0)
            return;
        s += n;
        len -= (size_t)n;
    }
}

static const struct za_fatal_ops raw_ops = {raw_write_err, za_raw_abort_signal};
static const struct za_fatal_ops *ops = &raw_ops; /* I1 */

void za_fatal_set_ops(const struct za_fatal_ops *new_ops)
{
    __atomic_store_n(&ops, new_ops, __ATOMIC_RELEASE);
}

/* Prints the line in `f`, with its newline even when it was cut, and ends the process. */
_Noreturn static void end(struct za_fmt *f)
{
    const struct za_fatal_ops *o = __atomic_load_n(&ops, __ATOMIC_ACQUIRE);

    f->buf[f->len] = '\n';
    o->write_err(f->buf, f->len + 1);
    o->abort();
    za_raw_abort_signal();
    /* The program blocks or ignores SIGABRT; an illegal instruction cannot be ignored. */
    __builtin_trap();
}

/* The buffer keeps one byte beyond what fmt may use: `end` puts the newline there. */
static void start(struct za_fmt *f, char *buf)
{
    za_fmt_init(f, buf, FATAL_MAX);
    za_fmt_str(f, "zalloc: ");
}

ZA_COLD void za_fatal(const char *text)
{
    char buf[FATAL_MAX + 1];
    struct za_fmt f;

    start(&f, buf);
    za_fmt_str(&f, text);
    end(&f);
}

ZA_COLD void za_fatal_ptr(const char *what, const void *p, const char *text)
{
    char buf[FATAL_MAX + 1];
    struct za_fmt f;

    start(&f, buf);
    za_fmt_str(&f, what);
    za_fmt_chr(&f, '(');
    za_fmt_hex(&f, (uintptr_t)p);
    za_fmt_str(&f, "): ");
    za_fmt_str(&f, text);
    end(&f);
}

ZA_COLD void za_assert_fail(const char *expr, const char *file, int line)
{
    char buf[FATAL_MAX + 1];
    struct za_fmt f;

    start(&f, buf);
    za_fmt_str(&f, "assertion failed: ");
    za_fmt_str(&f, expr);
    za_fmt_str(&f, " at ");
    za_fmt_str(&f, file);
    za_fmt_chr(&f, ':');
    za_fmt_i64(&f, line);
    end(&f);
}
