/* SPDX-License-Identifier: MIT */
/*
 * footprint -- how much memory the library really holds, as smaps would count it.
 *
 * Locks: ZA_RANK_META inside meta.  May sleep: mmap_lock.  Allocates: nothing.
 */
#include "base/meta.h"
#include "base/stat.h"
#include "pager/dense.h"
#include "pager/private.h"
#include "pager/share.h"

static uint64_t resident(const void *p, size_t len)
{
    uint64_t bytes = 0;
    if (len == 0 || za_os->resident(p, za_align_up(len, za_os->page_size), &bytes) < 0)
        return 0;
    return bytes;
}

static uint64_t limbo_bytes(void)
{
    uint64_t total = 0;
    for (size_t c = 0; za_pg.pages && c < za_pg.records_ready; c++)
        if (za_pg.chunks[c].registered)
            total += resident((char *)za_pg.mirror + (c << ZA_CHUNK_SHIFT), ZA_CHUNK_SIZE);
    return total;
}

static uint64_t records_bytes(void)
{
    size_t chunks = za_pg.records_ready;
    if (!za_pg.pages)
        return 0;
    return resident(za_pg.pages, chunks * (ZA_CHUNK_SIZE >> za_pg.page_shift) * 8) +
           resident(za_pg.units, chunks * ZA_UNITS_PER_CHUNK * sizeof(struct za_unit)) +
           resident(za_pg.chunks, (za_pg.size >> ZA_CHUNK_SHIFT) * sizeof(struct za_chunk));
}

/* All but the records. */
static uint64_t other_meta_bytes(void)
{
    uint64_t total = 0;
    void *p;
    size_t len;
    for (unsigned i = 0; za_meta_chunk(i, &p, &len); i++)
        total += resident(p, len);
    for (unsigned i = 0; za_share_area(i, &p, &len); i++)
        total += resident(p, len);
    return total;
}

static uint64_t store_bytes(void)
{
    uint64_t total = 0;
    void *p;
    size_t len;
    for (unsigned i = 0; za_pg.store && za_store_area(za_pg.store, i, &p, &len); i++)
        total += resident(p, len);
    return total + za_dense_bytes();
}

/* Also in a child whose parent had a store, and that has none. */
void za_footprint_of_store(void)
{
    struct za_store_stats s = {0};
    if (za_pg.store)
        za_store_stats(za_pg.store, &s);
    za_stat_set(ZA_STAT_ST_BLOBS, s.blobs);
    za_stat_set(ZA_STAT_ST_RAW, s.raw_bytes);
    za_stat_set(ZA_STAT_ST_LIVE, s.live_bytes);
    za_stat_set(ZA_STAT_ST_BLOB_BYTES, s.blob_bytes);
    za_stat_set(ZA_STAT_ST_DICTS, za_dense_bytes());
    za_stat_set(ZA_STAT_ST_MAPPED, s.mapped_bytes);
    za_stat_set(ZA_STAT_ST_HELD, s.held_bytes);
    za_stat_set(ZA_STAT_ST_TABLE, s.table_bytes);
    za_stat_set(ZA_STAT_ST_COMPACTED, s.compacted_bytes);
    za_share_gauges();
    za_ksm_gauges();
    za_stat_set(ZA_STAT_FILE_BLOBS, s.file_blobs);
    za_stat_set(ZA_STAT_FILE_LIVE, s.file_live_bytes);
    za_stat_set(ZA_STAT_FOOT_FILE, s.file_bytes);
}

/* On W, or in a process without one. */
void za_footprint(void)
{
    uintptr_t top = __atomic_load_n(&za_pg.top, __ATOMIC_ACQUIRE);
    uint64_t heap = resident((void *)za_pg.base, top - za_pg.base);
    uint64_t limbo = limbo_bytes(), store = store_bytes();
    uint64_t records = records_bytes(), meta = records + other_meta_bytes();
    za_footprint_of_store();
    za_stat_set(ZA_STAT_FOOT_HEAP, heap);
    za_stat_set(ZA_STAT_FOOT_LIMBO, limbo);
    za_stat_set(ZA_STAT_FOOT_STORE, store);
    za_stat_set(ZA_STAT_FOOT_META, meta);
    za_stat_set(ZA_STAT_FOOT_RECORDS, records);
    za_stat_set(ZA_STAT_FOOT_TOTAL, heap + limbo + store + meta);
    uint32_t registered = __atomic_load_n(&za_pg.nregistered, __ATOMIC_RELAXED);
    za_stat_set(ZA_STAT_PG_CHUNKS, registered ? registered - 1 : 0); /* one is the bell */
}
