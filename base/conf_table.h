/* SPDX-License-Identifier: MIT */
/*
 * conf_table -- the one table of configuration keys;
 * expanded into struct, parser, printer and README.
 *
 * X(name, TYPE, default, min, max, unit, help)
 * TYPE: BOOL, U64 (plain number), SIZE (K, M, G, T suffixes, powers of 1024), PATH, ENUM_<type>.
 */
#ifndef ZA_BASE_CONF_TABLE_H
#define ZA_BASE_CONF_TABLE_H

#define ZA_CONF_TABLE(X) \
    X(compress, BOOL, true, 0, 1, "", "compress cold pages; false: a plain allocator") \
    X(dedup, DEDUP, ZA_DEDUP_ZERO, 0, 0, "", \
      "off; zero: pages of one word over and over cost next to nothing; content: equal pages are stored once") \
    X(ksm, BOOL, false, 0, 1, "", \
      "show the kernel what is cold and does not compress: it may merge equal pages (KSM)") \
    X(cold_ms, U64, 8000, 1, 86400000, "ms", \
      "a page untouched for this long is cold, at first; follows how often pages come back") \
    X(dense_ms, U64, 30000, 0, 86400000, "ms", \
      "stored this long: packed again, denser (zstd); 0: never") \
    X(cpu_limit, U64, 15, 1, 100, "percent", \
      "background CPU at most, in percent of one core; all of one while memory is short " \
      "(`pager.strain`); what the program asks for or waits for does not count") \
    X(target, SIZE, 0, 0, (UINT64_MAX >> 1), "bytes", \
      "shrink the footprint to this, coldest first; 0: none") \
    X(start_bytes, SIZE, (16u << 20), 0, (UINT64_MAX >> 1), "bytes", \
      "no background thread before the heap has this size") \
    X(dirty_decay_ms, U64, 5000, 0, 86400000, "ms", \
      "freed memory, and what idle threads keep, goes back after this long") \
    X(reserve, SIZE, 0, (64u << 20), (UINT64_MAX >> 1), "bytes", \
      "address space reserved for the heap; 0: by the machine's memory") \
    X(mmap, MMAP, ZA_MMAP_AUTO, 0, 0, "", \
      "private anonymous memory that the program maps itself is compressed, too; auto: from when it has " \
      "mapped more than 16 MiB, where there is a back-end") \
    X(backend, BACKEND, ZA_BACKEND_AUTO, 0, 0, "", "auto, move, remap or none") \
    X(torture, BOOL, false, 0, 1, "", \
      "evict everything evictable at once, again and again (tests)") \
    X(file, PATH, "", 0, 0, "", \
      "directory (or a path in it) whose disk takes the coldest blobs, encrypted; empty: none") \
    X(file_max, SIZE, 0, (1u << 20), (UINT64_MAX >> 1), "bytes", \
      "disk that the file tier takes at most; 0: no limit") \
    X(max_store, SIZE, 0, (2u << 20), (UINT64_MAX >> 1), "bytes", \
      "blobs in memory at most; beyond it they go to the file, or nothing more is packed; 0: no " \
      "limit") \
    X(thaw_on_crash, BOOL, false, 0, 1, "", \
      "a fatal signal: bring everything back before the core is written") \
    X(stats_print, BOOL, false, 0, 1, "", "print statistics to standard error at exit") \
    X(stats_json, PATH, "", 0, 0, "", "write statistics as JSON to this file at exit") \
    X(abort_conf, BOOL, false, 0, 1, "", "abort on a malformed or unknown pair") \
    X(confirm_conf, BOOL, false, 0, 1, "", "print every pair that was accepted to standard error")

#endif
