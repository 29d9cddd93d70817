/* SPDX-License-Identifier: MIT */
/*
 * inspect -- the functions by which programs look at and tune their heap: mallinfo, malloc_info,
 * malloc_stats, malloc_trim, mallopt. In glibc's shapes, about our heap.
 *
 * glibc's words map so: arena = memory we hold for blocks; uordblks = blocks out (blocks in thread
 * caches count as out until they are flushed); fordblks = the rest; keepcost = what malloc_trim
 * could return. We map no block by itself: the mmap figures are zero, and sums over uordblks and
 * hblkhd stay right.
 *
 * Other C libraries declare none of these, and no program built for them calls one: there this file
 * is empty.
 *
 * Locks: those of za_alloc_stats.  May sleep: on them and in writing.  May fault: no.
 * Allocates: a mapping for the text, outside the heap.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#ifdef __GLIBC__

#include "alloc/alloc.h"
#include "base/fmt.h"
#include "base/stat.h"
#include "os/os.h"
#include "pager/pager.h"
#include "preload/export.h"
#include "preload/file.h"
#include "preload/start.h"
#include "preload/text.h"

struct usage {
    size_t held, out, free, dirty;
};

static struct usage usage_now(void)
{
    struct usage u;
    za_preload_init();
    za_alloc_stats();
    u.out = za_stat_get(ZA_STAT_HEAP_ALLOCATED);
    u.dirty = za_stat_get(ZA_STAT_HEAP_DIRTY);
    /* Read one after the other while others allocate: never let a difference wrap. */
    u.held = za_max(za_stat_get(ZA_STAT_HEAP_ACTIVE) + u.dirty, u.out);
    u.free = u.held - u.out;
    return u;
}

ZA_EXPORT struct mallinfo2 mallinfo2(void)
{
    struct usage u = usage_now();
    struct mallinfo2 m = {0};
    m.arena = u.held;
    m.uordblks = u.out;
    m.fordblks = u.free;
    m.keepcost = u.dirty;
    return m;
}

/* The old form has int fields; glibc lets them wrap, we stop at the largest. */
static int clipped(size_t n)
{
    return n > INT32_MAX ? INT32_MAX : (int)n;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
ZA_EXPORT struct mallinfo mallinfo(void)
{
    struct usage u = usage_now();
    struct mallinfo m = {0};
    m.arena = clipped(u.held);
    m.uordblks = clipped(u.out);
    m.fordblks = clipped(u.free);
    m.keepcost = clipped(u.dirty);
    return m;
}
#pragma GCC diagnostic pop

/*
 * Every parameter of glibc's is accepted: none has anything to tune here,
 * and refusing would be an error to callers.
 */
ZA_EXPORT int mallopt(int param, int value)
{
    (void)value;
    switch (param) {
    case M_MXFAST:
    case M_NLBLKS:
    case M_GRAIN:
    case M_KEEP:
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX: return 1;
    default: return 0;
    }
}

ZA_EXPORT int malloc_trim(size_t pad)
{
    (void)pad;
    za_preload_init();
    return za_trim() > 0;
}

/* ---- text ------------------------------------------------------------------------------------ */

static void attribute(struct za_fmt *f, const char *name, uint64_t v)
{
    za_fmt_chr(f, ' ');
    za_fmt_str(f, name);
    za_fmt_str(f, "=\"");
    za_fmt_u64(f, v);
    za_fmt_chr(f, '"');
}

static void element(struct za_fmt *f, const char *name, const char *type, const char *unit,
                    size_t size)
{
    za_fmt_chr(f, '<');
    za_fmt_str(f, name);
    za_fmt_str(f, " type=\"");
    za_fmt_str(f, type);
    za_fmt_chr(f, '"');
    za_fmt_str(f, unit);
    attribute(f, "size", size);
    za_fmt_str(f, "/>\n");
}

static size_t xml_classes(struct za_fmt *f)
{
    struct za_class_stats c;
    size_t free_slots = 0, from = 1;
    za_fmt_str(f, "<sizes>\n");
    for (unsigned i = 0; za_class_stats(i, &c); i++) {
        size_t unused = c.slots > c.used ? c.slots - c.used : 0;
        if (c.slot_size == 0)
            continue;
        if (c.spans > 0) {
            za_fmt_str(f, "  <size");
            attribute(f, "from", from);
            attribute(f, "to", c.slot_size);
            attribute(f, "total", unused * c.slot_size);
            attribute(f, "count", unused);
            attribute(f, "used", c.used);
            attribute(f, "spans", c.spans);
            za_fmt_str(f, "/>\n");
        }
        free_slots += unused;
        from = c.slot_size + 1;
    }
    za_fmt_str(f, "</sizes>\n");
    return free_slots;
}

/* What stands once inside the only heap and once for the whole, as glibc has it. */
static void xml_totals(struct za_fmt *f, const struct usage *u, size_t free_slots, bool whole)
{
    za_fmt_str(f, "<total type=\"fast\" count=\"0\" size=\"0\"/>\n<total type=\"rest\"");
    attribute(f, "count", free_slots);
    attribute(f, "size", u->free);
    za_fmt_str(f, "/>\n");
    if (whole)
        za_fmt_str(f, "<total type=\"mmap\" count=\"0\" size=\"0\"/>\n");
    size_t committed = za_stat_get(ZA_STAT_HEAP_COMMITTED);
    element(f, "system", "current", "", u->held);
    element(f, "system", "max", "", committed);
    element(f, "aspace", "total", "", committed);
    element(f, "aspace", "mprotect", "", committed);
}

static void xml(struct za_fmt *f)
{
    struct usage u = usage_now();
    za_fmt_str(f, "<malloc version=\"1\">\n<heap nr=\"0\">\n");
    size_t free_slots = xml_classes(f);
    xml_totals(f, &u, free_slots, false);
    za_fmt_str(f, "</heap>\n");
    xml_totals(f, &u, free_slots, true);
    za_fmt_str(f, "</malloc>\n");
}

ZA_EXPORT int malloc_info(int options, FILE *out)
{
    struct za_fmt f;
    if (options != 0)
        return EINVAL;
    if (!za_text_begin(&f))
        return ENOMEM;
    xml(&f);
    size_t n = fwrite(f.buf, 1, f.len, out);
    int rc = n == f.len ? 0 : EIO;
    za_text_end(&f);
    return rc;
}

static void line(struct za_fmt *f, const char *what, size_t v)
{
    za_fmt_str(f, what);
    za_fmt_str(f, " = ");
    za_fmt_u64(f, v);
    za_fmt_chr(f, '\n');
}

/* Straight to descriptor 2: the caller may hold stderr's lock, or have closed the stream. */
ZA_EXPORT void malloc_stats(void)
{
    struct za_fmt f;
    struct usage u = usage_now();
    if (!za_text_begin(&f))
        return;
    za_fmt_str(&f, "Arena 0:\n");
    line(&f, "system bytes    ", u.held);
    line(&f, "in use bytes    ", u.out);
    za_fmt_str(&f, "Total (incl. mmap):\n");
    line(&f, "system bytes    ", u.held);
    line(&f, "in use bytes    ", u.out);
    line(&f, "max mmap regions", 0);
    line(&f, "max mmap bytes  ", 0);
    za_text_stats(&f);
    (void)za_file_write(2, f.buf, f.len);
    za_text_end(&f);
}

#endif
