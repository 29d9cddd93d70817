/* SPDX-License-Identifier: MIT */
/*
 * region -- a region with an owner of the test's own: known contents, liveness under control, and
 * a way to run a step on the worker.
 *
 * Nothing happens by itself: pages are cold after a day, the threads start when asked to.  A page
 * of the region is written as (page number, stamp), so that a page out of place shows as well as an
 * old one.
 */
#ifndef ZA_TESTS_FAKE_REGION_H
#define ZA_TESTS_FAKE_REGION_H

#include "base/base.h"
#include "base/stat.h"

/* Larger pages than the machine's are made of those (wide.h): tests built with ZA_TEST_PAGE. */
#ifdef ZA_TEST_PAGE
#define REGION_PAGE ((size_t)ZA_TEST_PAGE)
#else
#define REGION_PAGE ((size_t)4096)
#endif
#define REGION_UNIT (ZA_UNIT_SIZE / REGION_PAGE) /* pages in a unit */
#define REGION_GRANULES (REGION_PAGE / 16)       /* of 16 bytes, in a page */
#define REGION_SIZE (REGION_PAGE << 14)
#define REGION_DAY_MS 86400000u

/* Reserves the region, makes `used` bytes of it usable and gives it to the pager. */
void region_start(size_t used);
/* The same where the kernel may give huge pages. */
void region_start_huge(size_t used);
/* The cold age, while the worker runs. */
void region_cold_ms(uint64_t ms);
/* Makes the used part larger. */
void region_grow(size_t used);
char *region_at(size_t page);

/* What the owner says of a page: bit i of word i / 64 for each granule; NULL: everything lives. */
typedef void region_live_fn(size_t page, uint64_t mask[REGION_GRANULES / 64]);
void region_live(region_live_fn *fn);

/* Contents: compressible, or not at all. */
void region_fill(size_t page, size_t n, uint32_t stamp);
void region_fill_random(size_t page, size_t n);
bool region_holds(size_t page, size_t n, uint32_t stamp);
bool region_holds_as(size_t page, size_t n, size_t as, uint32_t stamp); /* written as page `as` */
bool region_holds_random(size_t page, size_t n);
uint64_t region_word(size_t as, uint32_t stamp, size_t i); /* word i of a page */
bool region_zero(size_t page, size_t n);

/* Pages present at their heap address, asked of the kernel without touching them. */
size_t region_present(size_t page, size_t n);
/* And in the mirror. */
size_t region_mirrored(size_t page, size_t n);
/* Pages of memory behind pages, by the kernel's account of mappings that lie within. */
size_t region_weight(size_t page, size_t n);
/* The kernel tells which pages are its zero page, and the library does not count them. */
bool region_zeros_told(void);

/* Runs fn(arg) on the worker between two steps of its own, and waits for it. */
void region_on_worker(void (*fn)(size_t arg), size_t arg);
/* za_pager_check, on the worker: nobody changes the store meanwhile. */
void region_check(void);
/* Takes the pages of whole units to limbo, as a probe does, and leaves them there. */
void region_limbo(size_t page, size_t n);

/* ThreadSanitizer takes the threads that a child does not have for running ones. */
bool region_forks_confuse(void);
/* mlock and munlock, which sanitizers make do nothing. */
int region_lock(size_t page, size_t n);
int region_unlock(size_t page, size_t n);

/* fork, as preload does it; a child that hangs is killed. */
int region_fork(void);
/* clone without any handler, and without libc's knowledge; the child may read, write and exit. */
int region_fork_bare(void);

/* Waits until *stat is `want`, 10 s at most; its last value. */
uint64_t region_await(enum za_stat_id id, uint64_t want);
void region_sleep_ms(unsigned ms);

/* userfaultfd is refused to this process: the tests of the real thing cannot run. */
bool region_refused(void);
/* The back-end under test is remap (environment: BACKEND=remap), not move. */
bool region_remaps(void);

#endif
