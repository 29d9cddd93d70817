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
#define KNOWN ((uint64_t)1 << 63)

#define ZA_REMEDY_X(ID, name, danger, what) name,
static const char *const names[] = {ZA_REMEDY_TABLE(ZA_REMEDY_X)};
#undef ZA_REMEDY_X
_Static_assert(ZA_REMEDY_MAX < 63, "a bit for each remedy");

static uint64_t off; /* atomic; bit per remedy, and KNOWN once it has been read */

static uint64_t bit_of(const char *word, size_t len)
{
    for (unsigned i = 0; i < ZA_REMEDY_MAX; i++)
        if (strlen(names[i]) == len && memcmp(names[i], word, len) == 0)
            return (uint64_t)1 << i;
    za_fatal("ZALLOC_WITHOUT names a remedy that is not in base/remedy.h");
}

static uint64_t mask_of(const char *list, size_t len)
{
    uint64_t mask = 0;
    while (len) {
        const char *comma = memchr(list, ',', len);
        size_t word = comma ? (size_t)(comma - list) : len;
        if (word)
            mask |= bit_of(list, word);
        word += comma != NULL;
        list += word;
        len -= word;
    }
    return mask;
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

static uint64_t read_mask(void)
{
    static char buf[1 << 16];
    const size_t skip = sizeof(VARIABLE) - 1;
    size_t have = read_environment(buf, sizeof(buf) - 1);
    for (const char *s = buf; s < buf + have; s += strlen(s) + 1)
        if (strncmp(s, VARIABLE, skip) == 0)
            return mask_of(s + skip, strlen(s + skip));
    return 0;
}

bool za_remedy_off(enum za_remedy r)
{
    uint64_t mask = __atomic_load_n(&off, __ATOMIC_RELAXED);
    if (!(mask & KNOWN)) {
        mask = read_mask() | KNOWN;
        __atomic_store_n(&off, mask, __ATOMIC_RELAXED);
    }
    return mask >> r & 1;
}

/* While /proc can still be opened. */
__attribute__((constructor(101))) static void look(void)
{
    (void)za_remedy_off(ZA_P1_CHECKSUM);
}

#endif
