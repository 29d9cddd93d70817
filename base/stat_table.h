/* SPDX-License-Identifier: MIT */
/*
 * stat_table -- the one table of statistics;
 * expanded into the array, the printer, JSON, zallctl and README.
 *
 * X(NAME, "dotted.name", KIND, "unit", "help")   KIND: COUNTER (only grows) or GAUGE (now).
 */
#ifndef ZA_BASE_STAT_TABLE_H
#define ZA_BASE_STAT_TABLE_H

#define ZA_STAT_TABLE(X) \
    /* footprint: what smaps says; total = heap_resident + limbo + store + meta */ \
    X(FOOT_TOTAL, "footprint.total", GAUGE, "bytes", \
      "resident memory of the library: heap, limbo, store, metadata") \
    X(FOOT_HEAP, "footprint.heap", GAUGE, "bytes", "resident heap") \
    X(FOOT_LIMBO, "footprint.limbo", GAUGE, "bytes", "resident pages in limbo (mirror)") \
    X(FOOT_STORE, "footprint.store", GAUGE, "bytes", "resident blob store") \
    X(FOOT_META, "footprint.meta", GAUGE, "bytes", "resident metadata") \
    X(FOOT_RECORDS, "footprint.records", GAUGE, "bytes", \
      "of the metadata, the pager's records of pages, units and chunks") \
    X(FOOT_FILE, "footprint.file", GAUGE, "bytes", \
      "disk that the file tier takes: no memory, and not in the total") \
    /* allocator */ \
    X(HEAP_COMMITTED, "heap.committed", GAUGE, "bytes", "address space handed to the page heap") \
    X(HEAP_ACTIVE, "heap.active", GAUGE, "bytes", "units in spans and large blocks") \
    X(HEAP_DIRTY, "heap.dirty", GAUGE, "bytes", "free units not yet returned to the system") \
    X(HEAP_ALLOCATED, "heap.allocated", GAUGE, "bytes", \
      "slots and large blocks out of their spans (thread caches included)") \
    X(HEAP_PURGED, "heap.purged", COUNTER, "bytes", "freed memory returned to the system") \
    X(LARGE_ALLOCS, "large.allocs", COUNTER, "", "large blocks handed out") \
    X(LARGE_FREES, "large.frees", COUNTER, "", "large blocks taken back") \
    X(LARGE_MOVES, "large.moves", COUNTER, "", "large blocks grown by moving page tables") \
    X(MAPPED_BLOCKS, "mapped.blocks", COUNTER, "", \
      "mappings of the program's that the heap serves") \
    X(MAPPED_HELD, "mapped.held", GAUGE, "bytes", "of these, the program's") \
    X(MAPPED_WARM, "mapped.warm", GAUGE, "bytes", \
      "unmapped, and kept with their pages for a moment") \
    X(MAPPED_LOST, "mapped.lost", GAUGE, "bytes", \
      "unmapped in pieces, protected or mapped over: not used again") \
    X(CACHE_REFILLS, "cache.refills", COUNTER, "", "thread cache refills") \
    X(CACHE_FLUSHES, "cache.flushes", COUNTER, "", "thread cache flushes") \
    X(CACHE_GATHERED, "cache.gathered", COUNTER, "bytes", "taken from the caches of idle threads") \
    X(THREADS, "cache.threads", GAUGE, "", "thread caches alive") \
    X(LOCK_WAITS, "lock.waits", COUNTER, "", "locks of the allocator that were found taken") \
    X(LOCK_SLEEPS, "lock.sleeps", COUNTER, "", "of these, slept for") \
    X(FOREIGN_FREES, "foreign.frees", COUNTER, "", "pointers not ours handed on or ignored") \
    X(NOMEM, "alloc.nomem", COUNTER, "", "requests refused with ENOMEM") \
    /* pager */ \
    X(PG_STORED, "pager.stored", GAUGE, "pages", "pages in the store") \
    X(PG_LIMBO, "pager.limbo", GAUGE, "pages", "pages in limbo") \
    X(PG_PROBED, "pager.probed", COUNTER, "pages", "pages moved to limbo") \
    X(PG_WARM, "pager.warm", COUNTER, "pages", "pages touched in limbo and moved back") \
    X(PG_PACKED, "pager.packed", COUNTER, "pages", "pages compressed into the store") \
    X(PG_SPLIT, "pager.split", COUNTER, "pages", \
      "of these, with their pointers taken apart first") \
    X(PG_DENSE, "pager.dense", COUNTER, "pages", "stored pages packed again with zstd") \
    X(PG_ZERO, "pager.zero", COUNTER, "pages", "pages all zero after scrubbing: dropped") \
    X(PG_SAME, "pager.same", COUNTER, "pages", \
      "pages that are one word over and over: stored as that word") \
    X(PG_DEAD, "pager.dead", COUNTER, "pages", "pages with no live byte: dropped") \
    X(PG_RAW, "pager.incompressible", COUNTER, "pages", \
      "pages that do not compress: moved back and left alone") \
    X(PG_RACED, "pager.raced", COUNTER, "pages", \
      "packings thrown away because the page was touched meanwhile") \
    X(PG_RESTORED, "pager.restored", COUNTER, "pages", "pages restored from the store") \
    X(PG_AROUND, "pager.around", COUNTER, "pages", "of these, brought along with a neighbour") \
    X(PG_FILLED, "pager.filled", COUNTER, "pages", \
      "first touches of fresh pages in registered chunks") \
    X(PG_FAULTS, "pager.faults", COUNTER, "", "faults served") \
    X(PG_STALE, "pager.stale", COUNTER, "", "fault messages that had nothing left to do") \
    X(PG_DISCARDED, "pager.discarded", COUNTER, "pages", \
      "stored pages dropped because their block was freed") \
    X(PG_MOVED, "pager.moved", COUNTER, "pages", "stored pages whose record moved with a realloc") \
    X(PG_REFUSED_BUSY, "pager.refused.busy", COUNTER, "pages", \
      "shared after fork, pinned by a device or merged") \
    X(PG_REFUSED_LOCKED, "pager.refused.locked", COUNTER, "pages", \
      "locked, protected or another mapping") \
    X(PG_REFUSED_NOMEM, "pager.refused.nomem", COUNTER, "pages", \
      "no memory for store or mirror: not evicted") \
    X(PG_REFUSED_FULL, "pager.refused.full", COUNTER, "pages", \
      "no room below max_store: not packed") \
    X(PG_REFUSED_OTHER, "pager.refused.other", COUNTER, "pages", "any other refusal") \
    X(PG_UNSAID, "pager.unsaid", COUNTER, "pages", \
      "pages that the kernel moved and did not say so: moved back") \
    X(PG_STOPPED, "pager.stopped", GAUGE, "", \
      "1: a signal handler came when a range could not be marked, and nothing goes out any more") \
    X(PG_HELD, "pager.held", COUNTER, "", \
      "remap: times that devices might have been writing to memory: nothing is taken out") \
    X(PG_UNSHARED, "pager.unshared", COUNTER, "pages", "pages made exclusive again after a fork") \
    X(PG_CHUNKS, "pager.chunks", GAUGE, "", "chunks registered with userfaultfd") \
    X(PG_REG_FAILED, "pager.registration_failures", COUNTER, "", \
      "registrations the kernel refused") \
    X(PG_TURNS, "pager.turns", COUNTER, "", "turns of the worker") \
    X(PG_CPU_NS, "pager.cpu_ns", COUNTER, "ns", "CPU time of the worker") \
    X(PG_FAULT_CPU_NS, "pager.fault_cpu_ns", COUNTER, "ns", "CPU time of the fault thread") \
    X(PG_THROTTLED, "pager.throttled", COUNTER, "", "turns cut short by the CPU budget") \
    X(PG_REFAULTS, "pager.refaults", COUNTER, "", \
      "times that a 64 KiB unit was wanted soon after it was stored: left alone for longer") \
    X(PG_COLD_MS, "pager.cold_ms_now", GAUGE, "ms", "the age at which a page is cold, at present") \
    X(PG_THRASH, "pager.thrash", COUNTER, "", \
      "intervals in which what had gone out kept coming back as fast") \
    X(PG_STRAIN, "pager.strain", GAUGE, "", \
      "memory is short: 1 ages pass faster, 2 the coldest pages go whatever their age") \
    X(PG_PRESSED, "pager.pressed", COUNTER, "pages", "pages taken out for want of room") \
    X(PG_DELAYED, "pager.delayed", COUNTER, "", \
      "faults that waited for room in the control group") \
    X(PG_DELAY_NS, "pager.delayed_ns", COUNTER, "ns", "how long they waited, together") \
    X(PG_OVERDUE, "pager.overdue", COUNTER, "", "of these, answered although there was no room") \
    X(PG_RECONCILED, "pager.reconciled", COUNTER, "pages", \
      "records set right after faults served during a fork") \
    X(FILTER_DEATHS, "threads.filter_deaths", COUNTER, "", \
      "calls that a seccomp filter kills for, found out by a child: not made") \
    X(FORKS, "fork.prepared", COUNTER, "", "forks through our handlers") \
    X(FORKS_HANDED, "fork.handed_over", COUNTER, "", "children that took over their userfaultfd") \
    X(FORKS_REOPENED, "fork.reopened", COUNTER, "", \
      "children that opened a userfaultfd of their own") \
    X(FORKS_THAWED, "fork.thawed", COUNTER, "", "forks before which everything was restored") \
    X(RENEWED, "threads.renewed", COUNTER, "", "threads replaced after a change of identity") \
    X(RENEW_FAILED, "threads.renew_failed", COUNTER, "", \
      "replacements that failed: threads keep the old identity") \
    X(FORKS_STRANGERS, "fork.strangers", COUNTER, "", \
      "children without handlers that were made while another fork awaited its child") \
    X(FORKS_BARE, "fork.bare", COUNTER, "", "forks without handlers: child restored whole") \
    /* control group */ \
    X(GROUP_LIMIT, "group.limit", GAUGE, "bytes", \
      "memory limit of the process's control group; 0: none, or not known") \
    X(GROUP_USED, "group.used", GAUGE, "bytes", \
      "of it in use by all its processes, but for what the kernel gives up by itself") \
    /* store */ \
    X(ST_BLOBS, "store.blobs", GAUGE, "", "blobs alive") \
    X(ST_RAW, "store.raw_bytes", GAUGE, "bytes", "bytes of pages the living blobs stand for") \
    X(ST_LIVE, "store.live_bytes", GAUGE, "bytes", "bytes of living blobs with their headers") \
    X(ST_BLOB_BYTES, "store.blob_bytes", GAUGE, "bytes", \
      "of these, what was compressed: without headers and what rounds them up") \
    X(ST_DICTS, "store.dictionary_bytes", GAUGE, "bytes", \
      "dictionaries, their training, and room for zstd") \
    X(ST_MAPPED, "store.mapped_bytes", GAUGE, "bytes", "store segments mapped: address space") \
    X(ST_HELD, "store.held_bytes", GAUGE, "bytes", "memory that store segments hold") \
    X(ST_TABLE, "store.table_bytes", GAUGE, "bytes", "memory of the table of blobs") \
    X(ST_COMPACTED, "store.compacted_bytes", COUNTER, "bytes", "blob bytes moved by compaction") \
    X(ST_NOMEM, "store.nomem", COUNTER, "", "segments the system refused") \
    /* dedup: scanned = zero + same + duplicate + unique + skipped */ \
    X(DD_SCANNED, "dedup.scanned", COUNTER, "pages", "pages about to be packed, looked at") \
    X(DD_ZERO, "dedup.zero", COUNTER, "pages", "of these, all zero") \
    X(DD_SAME, "dedup.same", COUNTER, "pages", "of these, one word over and over") \
    X(DD_DUPLICATE, "dedup.duplicate", COUNTER, "pages", \
      "of these, equal to a page in the store or beside it, byte by byte") \
    X(DD_UNIQUE, "dedup.unique", COUNTER, "pages", "of these, equal to none that is known") \
    X(DD_SKIPPED, "dedup.skipped", COUNTER, "pages", \
      "of these, not compared: content is not shared, or duplicates are rare here") \
    X(DD_FALSE, "dedup.false_digests", COUNTER, "pages", \
      "pages whose digest was known and whose bytes differed") \
    X(DD_REFUSED, "dedup.refused", COUNTER, "", \
      "times that the index had no memory, or the system no random bytes") \
    X(DD_SHARED, "dedup.shared_pages", GAUGE, "pages", \
      "stored pages more than the living blobs hold: what sharing saves now") \
    X(DD_ENTRIES, "dedup.index_pages", GAUGE, "pages", "contents the index knows") \
    X(DD_INDEX, "dedup.index_bytes", GAUGE, "bytes", "the index") \
    X(KSM_CHUNKS, "ksm.chunks", GAUGE, "", "chunks that the kernel may merge pages of") \
    X(KSM_MERGED, "ksm.merged_pages", GAUGE, "pages", "pages of the process merged by the kernel") \
    X(KSM_PROFIT, "ksm.profit", GAUGE, "bytes", "what that saves, by the kernel's account") \
    X(KSM_REFUSED, "ksm.refused", COUNTER, "", "chunks that the kernel would not merge pages of") \
    /* file tier */ \
    X(FILE_BLOBS, "file.blobs", GAUGE, "", "of the blobs alive, in files") \
    X(FILE_LIVE, "file.live_bytes", GAUGE, "bytes", "bytes of living blobs in files") \
    X(FILE_WRITTEN, "file.written", COUNTER, "bytes", "blob bytes written to files") \
    X(FILE_MOVED, "file.moved", COUNTER, "bytes", \
      "of these, from a sparse or old place in a file to a new one") \
    X(FILE_READS, "file.reads", COUNTER, "", "blobs that had to be read from a file") \
    X(FILE_AROUND, "file.around", COUNTER, "", "blobs that had been read along with a neighbour") \
    X(FILE_FULL, "file.refused.full", COUNTER, "", \
      "writes that file_max or the disk had no room for: blobs stay in memory") \
    X(FILE_FAILED, "file.refused.error", COUNTER, "", \
      "writes that failed otherwise: blobs stay in memory") \
    X(FILE_OFF, "file.unusable", COUNTER, "", "times that `file` could not be used at all") \
    X(CONF_BAD, "conf.bad", COUNTER, "", "malformed pairs in ZALLOC_CONF")

#endif
