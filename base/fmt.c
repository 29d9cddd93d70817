/* SPDX-License-Identifier: MIT */
/*
 * fmt -- text into a bounded buffer without stdio.
 *
 * I1  len < cap, and buf[len] is NUL, after every call.
 * I2  `cut` is set if and only if something did not fit.
 *
 * Locks: none.  May sleep: no.  May fault: only on the buffers given.  Allocates: nothing.
 */
#include "base/fmt.h"

#include <string.h>

void za_fmt_init(struct za_fmt *f, char *buf, size_t cap)
{
    ZA_ASSERT(cap >= 1);
    *f = (struct za_fmt){.buf = buf, .cap = cap};
    buf[0] = '\0';
}

void za_fmt_mem(struct za_fmt *f, const char *s, size_t n)
{
    size_t room = f->cap - 1 - f->len;

    if (n > room) {
        n = room;
        f->cut = true; /* I2 */
    }
    memcpy(f->buf + f->len, s, n);
    f->len += n;
    f->buf[f->len] = '\0'; /* I1 */
}

void za_fmt_str(struct za_fmt *f, const char *s)
{
    za_fmt_mem(f, s, strlen(s));
}

void za_fmt_chr(struct za_fmt *f, char c)
{
    za_fmt_mem(f, &c, 1);
}

/* The digits of v, most significant first. */
static void digits(struct za_fmt *f, uint64_t v, unsigned radix)
{
    char tmp[20]; /* UINT64_MAX has 20 decimal digits */
    size_t at = sizeof(tmp);

    do {
        tmp[--at] = "0123456789abcdef"[v % radix];
        v /= radix;
    } while (v);
    za_fmt_mem(f, tmp + at, sizeof(tmp) - at);
}

void za_fmt_u64(struct za_fmt *f, uint64_t v)
{
    digits(f, v, 10);
}

void za_fmt_i64(struct za_fmt *f, int64_t v)
{
    if (v < 0)
        za_fmt_chr(f, '-');
    /* Negated as unsigned: INT64_MIN has no positive counterpart. */
    digits(f, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);
}

void za_fmt_hex(struct za_fmt *f, uint64_t v)
{
    za_fmt_str(f, "0x");
    digits(f, v, 16);
}

void za_fmt_pad(struct za_fmt *f, size_t column)
{
    size_t start = f->len;

    while (start > 0 && f->buf[start - 1] != '\n')
        start--;
    while (f->len - start < column && !f->cut)
        za_fmt_chr(f, ' ');
}

static void json_escaped(struct za_fmt *f, unsigned char c)
{
    if (c == '"' || c == '\\') {
        za_fmt_chr(f, '\\');
        za_fmt_chr(f, (char)c);
    } else if (c < 0x20) {
        za_fmt_str(f, c < 0x10 ? "\\u000" : "\\u00");
        digits(f, c, 16);
    } else {
        za_fmt_chr(f, (char)c);
    }
}

/* Bytes from 0x80 up go through unchanged: UTF-8 in, UTF-8 out. */
void za_fmt_json_str(struct za_fmt *f, const char *s)
{
    za_fmt_chr(f, '"');
    for (; *s; s++)
        json_escaped(f, (unsigned char)*s);
    za_fmt_chr(f, '"');
}
