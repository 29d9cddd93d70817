/* SPDX-License-Identifier: MIT */
/*
 * filing -- when blobs go to the file tier, and what forks and new threads need of it.
 *
 * A blob goes when it has been packed densely and has lain untouched for two dense ages more: a
 * restore from a disk takes as long as dozens from memory. Above the target the coldest go before
 * their time (plan.c). Above max_store the coldest go whatever their age and codec, and where none
 * can go nothing more is packed. The program waits for none of
 * this: W writes, within its budget, up to a segment a turn. What a full or failing disk refuses
 * stays in memory, and is tried again after a while, each time a longer one. What is moved within
 * the files, to win back what has died there, waits for itself only: it is what makes room.
 *
 * F reads: it waits for the disk, and with it whoever else faults. It reads 64 KiB around what it
 * was asked for, since neighbours were packed, and filed, together. So nothing that a read from the
 * disk waits for may be a thread of the program: a file system or device that the program serves is
 * no place for the file (doc/reliability/limits.md); nobody can see that from here, and none is
 * refused.
 *
 * Forks. A child is lent the files (compress/tier.h): W sends descriptors through the socket of the
 * fork before it stands still, and the child's fault thread takes them out before anything else.
 * That is so for HAND_OVER and REOPEN; FILL reads in the parent, THAW leaves nothing in the files.
 * Where something could not be sent the forking thread has everything brought back first, as it has
 * before a fork that cannot be asked to wait (still.c).
 *
 * I1  A child that has a fault thread has every file that its records need, or is stopped.
 * I2  A blob that cannot be read back ends the process: wrong bytes are never handed out.
 * I3  A reader's window shows bytes of the files that there are: none outlives its tier.
 *
 * Locks: none (W; F in fetch, with its own room).  May sleep: in I/O.  Allocates: in the store.
 */
#include "pager/filing.h"

#include <errno.h>

#include "base/conf.h"
#include "base/remedy.h"
#include "base/stat.h"
#include "compress/tier.h"
#include "pager/private.h"

#define AGES 2u /* dense ages in memory */
#define WORTH ((uint32_t)(256 * ZA_KIB))
#define RETRY_MIN_NS ZA_NS_PER_S
#define RETRY_MAX_NS (1024 * ZA_NS_PER_S)
#define ROOM_STEPS 4u
#define SQUEEZE_BYTES (2 * ZA_MIB)
#define MARGIN_SHARE 16u /* of max_store: for the next blobs, and for what is moved */

/* Who reads has a place for what it reads. */
struct seat {
    struct za_reader reader;
    char bytes[ZA_BLOB_MAX_RAW];
};
static struct seat seats[2]; /* W's, F's */

/* After a refusal. */
struct retry {
    uint64_t at, ns;
};
static struct retry out, within; /* to the files, from file to file */
static bool lent;                /* the forking thread's and W's, by turns */

static struct za_tier *tier(void)
{
    return za_pg.store ? za_store_tier(za_pg.store) : NULL;
}

static bool works(void)
{
    return tier() && tier()->keys;
}

static uint64_t ms_of(uint64_t now)
{
    return now / ZA_NS_PER_MS;
}

void za_filing_open(void)
{
    static const char line[] = "zalloc: file: cannot be used; the file tier is off\n";
    static const struct za_store_ops ops = {za_store_map, za_store_unmap};
    if (!za_conf.file[0])
        return;
    /* I3: a child that begins anew has its parent's windows, and numbers its writes from 1 too. */
    seats[0].reader.serial = seats[1].reader.serial = 0;
    if (za_tier_open(tier(), za_conf.file, &ops) < 0) {
        za_os->tell(line, sizeof(line) - 1);
        za_stat_add(ZA_STAT_FILE_OFF, 1);
        return;
    }
    tier()->max_bytes = za_conf.file_max;
}

/* ---- steps of W ---- */

static void refused(struct retry *retry, int64_t r)
{
    bool full = r == -ENOSPC || r == -EDQUOT || r == -EFBIG;
    za_stat_add(full ? ZA_STAT_FILE_FULL : ZA_STAT_FILE_FAILED, 1);
    retry->ns = retry->ns ? za_min(2 * retry->ns, RETRY_MAX_NS) : RETRY_MIN_NS;
    retry->at = za_os->now() + retry->ns;
}

/* True: something has moved. */
static bool judge(struct retry *retry, int64_t r)
{
    if (r < 0)
        refused(retry, r);
    else if (r > 0)
        *retry = (struct retry){0};
    return r > 0;
}

static bool file_all(void)
{
    static const struct za_file_rule all = {UINT64_MAX, 1, false};
    return judge(&out, za_store_file(za_pg.store, &all));
}

/* Above this W begins to file, so that packing need not wait. */
static bool nearly_full(void)
{
    uint64_t max = za_conf.max_store;
    return max && za_store_held(za_pg.store) >= max - max / 8;
}

static bool file_cold(uint64_t now)
{
    uint64_t age = AGES * (za_conf.dense_ms ? za_conf.dense_ms : za_conf.cold_ms), ms = ms_of(now);
    struct za_file_rule rule = {ms > age ? ms - age : 0, WORTH, za_conf.dense_ms != 0};
    return judge(&out, za_store_file(za_pg.store, &rule));
}

static bool refile(void)
{
    bool moved = judge(&within, za_store_refile(za_pg.store));
    if (moved)
        out = (struct retry){0}; /* there will be room */
    return moved;
}

/* Once a turn: by it blobs have their age. */
void za_filing_clock(uint64_t now)
{
    za_store_clock(za_pg.store, ms_of(now));
}

bool za_filing_turn(uint64_t now)
{
    bool more = false;
    if (!works())
        return false;
    if (now >= out.at)
        more = za_conf.torture || nearly_full() ? file_all() : file_cold(now);
    return (now >= within.at && refile()) || more;
}

uint64_t za_filing_early(enum za_filing_what what)
{
    uint64_t now = za_os->now();
    struct za_file_rule rule = {ms_of(now) + 1, WORTH, what == ZA_FILING_DENSE};
    int64_t r = works() && now >= out.at ? za_store_file(za_pg.store, &rule) : 0;
    return judge(&out, r) ? (uint64_t)r : 0;
}

void za_filing_all(void)
{
    out.at = 0;
    za_store_close(za_pg.store);
    while (works() && file_all())
        ;
    za_store_reclaim(za_pg.store);
}

bool za_filing_full(void)
{
    uint64_t max = za_conf.max_store;
    return max && za_store_held(za_pg.store) > max - za_min(ZA_MIB, max / MARGIN_SHARE);
}

bool za_filing_room(void)
{
    for (unsigned i = 0; i < ROOM_STEPS && za_filing_full(); i++) {
        if (!works() || za_os->now() < out.at || !file_all())
            break;
        za_store_reclaim(za_pg.store);
    }
    return !za_filing_full();
}

/*
 * What is packed again takes room twice until the old blobs are gone.  It makes room in the end, so
 * it may go on up to max_store, and a segment beyond; there the old ones are squeezed out first.
 */
bool za_filing_slack(void)
{
    uint64_t max = za_conf.max_store;
    for (unsigned i = 0; i < ROOM_STEPS && max && za_store_held(za_pg.store) > max; i++) {
        (void)za_store_compact(za_pg.store, SQUEEZE_BYTES);
        za_store_reclaim(za_pg.store);
    }
    return !max || za_store_held(za_pg.store) <= max;
}

/* ---- reading ---- */

const void *za_filing_fetch(const struct za_blob_view *v, bool on_fault_thread)
{
    struct seat *seat = &seats[on_fault_thread];
    if (v->size > sizeof(seat->bytes) ||
        za_store_load(za_pg.store, v, &seat->reader, seat->bytes) < 0)
        return NULL;
    return seat->bytes;
}

/* ---- forks ---- */

bool za_filing_needed(void)
{
    return za_pg.store && za_store_has_filed(za_pg.store);
}

void za_filing_fork_begin(void)
{
    lent = false;
    if (za_pg_active() && tier())
        tier()->lent = 0;
}

void za_filing_lend(int sock)
{
    lent = !tier() || za_without(D1_LEND) || za_tier_lend(tier(), sock);
}

bool za_filing_lent(void)
{
    return lent;
}

/* What was not lent is not needed: everything was brought back, and waits to be dropped. */
bool za_filing_borrow(int sock)
{
    return !tier() || za_without(D1_LEND) || za_tier_borrow(tier(), sock);
}
