/* SPDX-License-Identifier: MIT */
/*
 * unit -- a small test runner: every test runs in a child of its own, a crash is a failure with a
 * name.
 *
 *   UNIT_TEST(name) { CHECK(expr); CHECK_EQ(a, b); CHECK_STR(s, "text"); }
 *   UNIT_DIES(name, "zalloc: exact line") { ...must abort, with exactly this on standard error... }
 *   UNIT_DIES(name, "zalloc: beginning*") { ...only the beginning is compared... }
 *
 * Tests register themselves and run in the order of the file.  A check may fail on any thread.
 * UNIT_SKIP("why") ends a test that cannot run here; it counts neither way, but is shown.
 * Command line: names (or beginnings with a final *) of the tests to run.  -l lists them.
 * The last line of output is `N passed, N failed`.
 */
#ifndef ZA_TESTS_UNIT_UNIT_H
#define ZA_TESTS_UNIT_UNIT_H

#include <stdint.h>
#include <string.h>

struct unit_case {
    const char *name;
    const char *dies; /* the line it dies with; NULL: it must not */
    void (*fn)(void);
    struct unit_case *next;
};

void unit_register(struct unit_case *c);
_Noreturn void unit_fail(const char *file, int line, const char *text);
_Noreturn void unit_fail_eq(const char *file, int line, const char *text, uint64_t a, uint64_t b);
_Noreturn void unit_fail_str(const char *file, int line, const char *a, const char *b);
_Noreturn void unit_skip(const char *why);

#define UNIT_CASE(id, line) \
    static void unit_fn_##id(void); \
    __attribute__((constructor)) static void unit_add_##id(void) \
    { \
        static struct unit_case c = {#id, line, unit_fn_##id, NULL}; \
        unit_register(&c); \
    } \
    static void unit_fn_##id(void)

#define UNIT_TEST(id) UNIT_CASE(id, NULL)
#define UNIT_DIES(id, line) UNIT_CASE(id, line)
#define UNIT_SKIP(why) unit_skip(why)

#define CHECK(e) ((e) ? (void)0 : unit_fail(__FILE__, __LINE__, #e))
#define CHECK_EQ(a, b) \
    do { \
        uint64_t unit_a = (uint64_t)(a), unit_b = (uint64_t)(b); \
        if (unit_a != unit_b) \
            unit_fail_eq(__FILE__, __LINE__, #a " == " #b, unit_a, unit_b); \
    } while (0)
#define CHECK_STR(a, b) \
    do { \
        const char *unit_s = (a), *unit_t = (b); \
        if (strcmp(unit_s, unit_t) != 0) \
            unit_fail_str(__FILE__, __LINE__, unit_s, unit_t); \
    } while (0)

#endif
