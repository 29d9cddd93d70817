/* SPDX-License-Identifier: MIT */
/*
 * remedy -- which remedies are taken away, in the build that can (ZA_TEST_WITHOUT): see remedy.h.
 *
 * The variable is read from /proc by the constructor, or before it by the first to ask: neither
 * getenv nor `environ` works at a process's first malloc. A name that is not in the table ends the
 * process: a test with a slip of the pen would prove nothing.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "base/remedy.h"

#ifdef ZA_TEST_WITHOUT

#include <fcntl.h>
#include <string.h>

#include "base/raw.h"

#define VARIABLE "ZALLOC_WITHOUT="

#define ZA_REMEDY_X(ID, name, danger, what) name,
static const char *const names[] = {ZA_REMEDY_TABLE(ZA_REMEDY_X)};
#undef ZA_REMEDY_X

static bool off[ZA_REMEDY_MAX]; /* atomic */
static bool known;              /* atomic; the variable has been read */

static void take_away(const char *word, size_t len)
{
    for (unsigned i = 0; i < ZA_REMEDY_MAX; i++)
        if (strlen(names[i]) == len && memcmp(names[i], word, len) == 0) {
            __atomic_store_n(&off[i], true, __ATOMIC_RELAXED);
            return;
        }
    za_fatal("ZALLOC_WITHOUT names a remedy that is not in base/remedy.h");
}

static void take_away_all(const char *list, size_t len)
{
    while (len) {
        const char *comma = memchr(list, ',', len);
        size_t word = comma ? (size_t)(comma - list) : len;
        if (word)
            take_away(list, word);
        word += comma != NULL;
        list += word;
        len -= word;
    }
}

/* The variables, one behind the other with a zero byte after each; as many as there is room for. */
static size_t read_environment(char *buf, size_t room)
{
    size_t have = 0;
    long n = 0;
    long fd =
        za_raw_call4(SYS_openat, AT_FDCWD, (long)"/proc/self/environ", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    while (have < room &&
           (n = za_raw_call4(SYS_read, fd, (long)buf + (long)have, (long)(room - have), 0)) > 0)
        have += (size_t)n;
    (void)za_raw_call4(SYS_close, fd, 0, 0, 0);
    return have;
}

static void read_variable(void)
{
    static char buf[1 << 16];
    const size_t skip = sizeof(VARIABLE) - 1;
    size_t have = read_environment(buf, sizeof(buf) - 1);
    for (const char *s = buf; s < buf + have; s += strlen(s) + 1)
        if (strncmp(s, VARIABLE, skip) == 0)
            take_away_all(s + skip, strlen(s + skip));
}

bool za_remedy_off(enum za_remedy r)
{
    if (!__atomic_load_n(&known, __ATOMIC_ACQUIRE)) {
        read_variable();
        __atomic_store_n(&known, true, __ATOMIC_RELEASE);
    }
    return __atomic_load_n(&off[r], __ATOMIC_RELAXED);
}

/* While /proc can still be opened. */
__attribute__((constructor(101))) static void look(void)
{
    (void)za_remedy_off(ZA_P1_CHECKSUM);
}

#endif
