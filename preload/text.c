/* SPDX-License-Identifier: MIT */
/*
 * text -- a large buffer outside the heap to format into, and the statistics in it.
 *
 * Locks: those of the refresh.  May sleep: on them.  May fault: no.
 * Allocates: one mapping, outside the heap.
 */
#include "preload/text.h"

#include "alloc/alloc.h"
#include "base/stat.h"
#include "os/os.h"
#include "pager/pager.h"
#include "preload/start.h"

/* Two hundred statistics or size classes with their words, several times over. */
#define TEXT_BYTES (128 * ZA_KIB)

bool za_text_begin(struct za_fmt *f)
{
    void *p;
    za_preload_init();
    if (za_os->map(&p, TEXT_BYTES) < 0)
        return false;
    za_fmt_init(f, p, TEXT_BYTES);
    return true;
}

void za_text_end(struct za_fmt *f)
{
    (void)za_os->unmap(f->buf, TEXT_BYTES);
}

void za_text_refresh(void)
{
    za_preload_init();
    za_alloc_stats();
    za_pager_stats();
}

void za_text_stats(struct za_fmt *f)
{
    za_text_refresh();
    za_fmt_str(f, "zalloc statistics, process ");
    za_fmt_i64(f, za_os->pid());
    za_fmt_str(f, ", back-end ");
    za_fmt_str(f, za_pager_backend());
    const char *why = za_pager_why_none();
    if (why && *why) {
        za_fmt_str(f, ": ");
        za_fmt_str(f, why);
    }
    za_fmt_chr(f, '\n');
    za_stat_print(f);
}

void za_text_stats_json(struct za_fmt *f)
{
    za_text_refresh();
    za_stat_json(f);
    if (f->len > 0 && f->buf[f->len - 1] != '\n')
        za_fmt_chr(f, '\n');
}
