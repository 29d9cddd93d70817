/* SPDX-License-Identifier: MIT */
/*
 * fmt -- text into a bounded buffer without stdio: strings, decimals, hex, sizes, fixed point.
 *
 * Appends never overflow: what does not fit is cut and `cut` is set.
 * The buffer is always NUL-terminated.
 */
#ifndef ZA_BASE_FMT_H
#define ZA_BASE_FMT_H

#include "base/base.h"

struct za_fmt {
    char *buf;
    size_t cap; /* bytes in buf, >= 1 */
    size_t len; /* characters so far, without the NUL */
    bool cut;
};

void za_fmt_init(struct za_fmt *f, char *buf, size_t cap);
void za_fmt_str(struct za_fmt *f, const char *s);
void za_fmt_mem(struct za_fmt *f, const char *s, size_t n);
void za_fmt_chr(struct za_fmt *f, char c);
void za_fmt_u64(struct za_fmt *f, uint64_t v);
void za_fmt_i64(struct za_fmt *f, int64_t v);
void za_fmt_hex(struct za_fmt *f, uint64_t v);    /* with 0x */
void za_fmt_pad(struct za_fmt *f, size_t column); /* spaces up to a column of the current line */
void za_fmt_json_str(struct za_fmt *f, const char *s); /* quoted and escaped */

#endif
