/* SPDX-License-Identifier: MIT */
/*
 * report -- the findings of `zalloc doctor`, printed as lines or as JSON.
 */
#include "tool/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/fmt.h"

static const char *const words[] = {"ok", "warn", "no"};

struct za_finding *za_report_add(struct za_report *r, enum za_verdict v, const char *what,
                                 const char *format, ...)
{
    if (r->n < ZA_ARRAY_LEN(r->findings))
        r->n++;
    struct za_finding *f = &r->findings[r->n - 1];
    va_list ap;
    f->verdict = v;
    f->what = what;
    f->fix[0] = '\0';
    va_start(ap, format);
    (void)vsnprintf(f->fact, sizeof(f->fact), format, ap);
    va_end(ap);
    return f;
}

void za_report_fix(struct za_finding *f, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(f->fix, sizeof(f->fix), format, ap);
    va_end(ap);
}

void za_report_print(const struct za_report *r, bool compresses)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct za_finding *f = &r->findings[i];
        (void)printf("%-4s  %s: %s\n", words[f->verdict], f->what, f->fact);
        if (f->fix[0])
            (void)printf("      allow it: %s\n", f->fix);
    }
    (void)puts(compresses ? "zalloc would compress cold memory here"
                          : "zalloc would run as a plain allocator here");
}

static void member(struct za_fmt *f, const char *name, const char *value)
{
    za_fmt_json_str(f, name);
    za_fmt_chr(f, ':');
    za_fmt_json_str(f, value);
}

void za_report_json(const struct za_report *r, bool compresses)
{
    static char buf[24 * 1024];
    struct za_fmt f;
    za_fmt_init(&f, buf, sizeof(buf));
    za_fmt_str(&f, "{\"version\":1,\"compresses\":");
    za_fmt_str(&f, compresses ? "true" : "false");
    za_fmt_str(&f, ",\"checks\":[");
    for (size_t i = 0; i < r->n; i++) {
        const struct za_finding *x = &r->findings[i];
        za_fmt_str(&f, i ? ",\n{" : "\n{");
        member(&f, "status", words[x->verdict]);
        za_fmt_chr(&f, ',');
        member(&f, "what", x->what);
        za_fmt_chr(&f, ',');
        member(&f, "fact", x->fact);
        za_fmt_chr(&f, ',');
        member(&f, "fix", x->fix);
        za_fmt_chr(&f, '}');
    }
    za_fmt_str(&f, "\n]}");
    (void)puts(buf);
}
