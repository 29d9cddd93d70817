/* SPDX-License-Identifier: MIT */
/*
 * report -- the findings of `zalloc doctor`, printed as lines or as JSON.
 */
#ifndef ZA_TOOL_REPORT_H
#define ZA_TOOL_REPORT_H

#include "base/base.h"

enum za_verdict { ZA_OK, ZA_WARN, ZA_NO };

struct za_finding {
    enum za_verdict verdict;
    const char *what; /* a literal */
    char fact[160];
    char fix[256]; /* a command, or empty */
};

struct za_report {
    struct za_finding findings[32];
    size_t n;
};

/*
 * Adds a finding and returns it, so that a fix can be added;
 * a report that is full keeps its last place for the latest.
 */
struct za_finding *za_report_add(struct za_report *r, enum za_verdict v, const char *what,
                                 const char *format, ...) __attribute__((format(printf, 4, 5)));
void za_report_fix(struct za_finding *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void za_report_print(const struct za_report *r, bool compresses);
void za_report_json(const struct za_report *r, bool compresses);

#endif
