/* SPDX-License-Identifier: MIT */
/*
 * zalloc.h -- the one function that zalloc adds to the malloc family.
 *
 * A program needs it only to look inside or to steer; under LD_PRELOAD it can be found at run time:
 *
 *     int (*ctl)(const char *, void *, size_t *, const void *, size_t) =
 *         dlsym(RTLD_DEFAULT, "zallctl");
 *     uint64_t stored;
 *     size_t len = sizeof(stored);
 *     if (ctl && ctl("stats.refresh", NULL, NULL, NULL, 0) == 0 &&
 *         ctl("stats.pager.stored", &stored, &len, NULL, 0) == 0)
 *         printf("%llu pages are compressed\n", (unsigned long long)stored);
 */
#ifndef ZALLOC_H
#define ZALLOC_H

#include <stddef.h>
#include <stdint.h>

#define ZALLOC_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Reads the value of `name` into *oldp, then sets it from *newp. Either half is left out by passing
 * NULL, and 0 for newlen. *oldlenp holds the size of the buffer at *oldp: it must be exactly the
 * size of the value's type.
 *
 * NAME                TYPE           ACCESS  MEANING
 * "version"           const char *   read    ZALLOC_VERSION of the library
 * "stats.<statistic>" uint64_t       read    a statistic by the name that `zalloc stats` lists, in
 *                                            the unit it lists. Counters are exact at every moment;
 *                                            gauges (kind GAUGE) that have to be measured are as of
 *                                            the last "stats.refresh"
 * "stats.refresh"     none           order   measures all gauges now; takes up to some milliseconds
 *                                            per GiB of heap
 * "conf.<key>"        uint64_t or    read    a configuration key by the name that `zalloc conf`
 *                     const char *           lists: numbers, sizes in bytes and booleans (0, 1) as
 *                                            uint64_t; paths and words as const char *
 * "conf.cold_ms"      uint64_t       both    milliseconds untouched after which a page is cold
 * "conf.cpu_limit"    uint64_t       both    background CPU at most, percent of one core
 * "conf.target"       uint64_t       both    footprint in bytes to shrink to; 0: none
 * "cold_ms", "cpu_limit", "target"           the same three under short names
 * "pager.backend"     const char *   read    "move", "remap", "none", or "not started" (the heap is
 *                                            still small)
 * "pager.evict"       none           order   compresses everything that can be, and returns when it
 *                                            is done
 * "pager.dense"       none           order   the same as pager.evict, and then packs what is stored
 *                                            as densely as it goes
 * "pager.file"        none           order   the same as pager.dense, and then writes what is stored to
 *                                            the file tier, as far as there is one and has room
 * "pager.thaw"        none           order   brings every compressed page back, and returns when it
 *                                            is done; cold pages go again later (`zalloc thaw`
 *                                            keeps them)
 * "thread.idle"       none           order   gives back what the calling thread keeps for its next
 *                                            calls of malloc; for a thread about to wait for long
 *
 * Strings belong to the library and live as long as the process; paths and words never change.
 *
 * Returns 0, or one of these (errno is not touched):
 *   ENOENT  there is no such name
 *   EINVAL  name is NULL; one of oldp and oldlenp is NULL and the other is not; *oldlenp is not the
 *           size of the type (as much of the value as fits is copied, and *oldlenp says how much);
 *           newlen is not; the new value is out of range
 *   EPERM   a new value for what can only be read, or any value for an order
 *   ENOMEM  an order found no memory to carry it out
 *   EAGAIN  an order could not be carried out: there is no userfaultfd here, or compress:false is
 *           set
 * After an error in the new value the old one has been read and nothing was changed.
 *
 * Thread safety: may be called on any thread at any time, and after fork in the child. The pager's
 * orders wait for the background thread; concurrent ones take turns.
 * Signal safety: reading is async-signal-safe, on a thread that has called malloc before.
 * "stats.refresh" and the orders are not.
 */
int zallctl(const char *name, void *oldp, size_t *oldlenp, const void *newp, size_t newlen);

/*
 * C23 names, for compilers whose <stdlib.h> has no declarations yet:
 * free with the size (and alignment) asked for.
 */
void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t alignment, size_t size);

#ifdef __cplusplus
}
#endif

#endif
