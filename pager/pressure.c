/* SPDX-License-Identifier: MIT */
/*
 * pressure -- the control group's limit: how much room there is below it, and who may take it.
 *
 * THEORY
 *
 * A group at its limit loses a process, although ours could give memory back, if cold pages are
 * restored faster than others are taken out. So W keeps a reserve free below the limit, and grants
 * F a credit: what may be restored before W has looked again. The reserve's lower half is never
 * granted: W needs memory to pack pages with before it has any back.
 *
 *   W   looks (za_room_look): limit, what is used, credit. Below the reserve it takes out the coldest
 *       pages, whatever their age (plan.c), until there is a reserve again.
 *   F   spends it, counted from before W asked what is used; when there is none, faults wait (wait.c) and W is woken.
 *   P   (program) fills memory that nobody is told of. When the limit is near W registers all of
 *       the heap, and as much beyond its end as there is room for: first touches are then F's to
 *       answer. Who makes the heap larger than that wakes W.
 *
 * Invariants
 * I1  F waits for nobody: a fault that waits is an entry in F's list, and F goes on serving
 *     mirrors, forks and the bell.
 * I2  A fault waits only while W makes room: not while W stands still, touches pages itself
 *     (`unable`), or is not there; not in a fork's window; and never longer than a second, a tenth
 *     where W may wait for a thread of the program (which may be the one that waits), or a moment
 *     where W finds nothing to take out. Then it is answered, and what happens at the limit is the
 *     kernel's decision, as it is without us.
 * I3  In a child nothing is known, and nothing waits, until its own W has looked.
 *
 * What this cannot do: memory that does not go through F (stacks, the program's own mappings,
 * other processes of the group) is seen only when W looks, which it does the more often the less
 * there is left and the faster it went.
 *
 * Locks: none.  May sleep: W, in reading the group's files.  May fault: no.  Allocates: nothing.
 */
#include "base/conf.h"
#include "base/remedy.h"
#include "base/stat.h"
#include "pager/door.h"
#include "pager/policy.h"
#include "pager/private.h"

#define GIVE_UP_NS (100 * ZA_NS_PER_MS)
#define PATIENCE_NS ZA_NS_PER_S
#define HURRIED_PATIENCE_NS (100 * ZA_NS_PER_MS)
#define HOPELESS_PATIENCE_NS (5 * ZA_NS_PER_MS)
#define SPARE_FILES (ZA_GROUP_FILES + 8u) /* what children need is left (mail.c) */
#define NEAR (256 * ZA_MIB) /* what may be filled before W, woken, gets to run on a busy machine */
#define WAIT_NEED ZA_MIB    /* at least so much is made room for where somebody waits */

static struct za_reserve reserve; /* [w] */
static struct za_watch watch;     /* [w] */
static enum za_strain strain;     /* [w] */
static uint64_t limit_seen;       /* [w] bytes; 0: none yet */
static uint64_t left;             /* [w] bytes below the limit */
static uint64_t hopeless_until;   /* [w] ns: nothing to take out was found */
static bool hopeless, hurried;    /* [w] */
static size_t frontier;           /* [w] chunks below are registered */
static bool files_open;           /* [w] the group's files are open in our table */

static uint32_t limited;    /* [a] W writes: a limit is known */
static uint64_t patience;   /* [a] W writes: ns that a fault waits at most */
static int64_t spent;       /* [a] bytes that F has filled; F writes */
static int64_t allowed;     /* [a] what `spent` may be; W writes */
static int64_t alarm_at;    /* [a] W writes: what `spent` is when F wakes W */
static uintptr_t alarm_top; /* [a] the heap's end at which who grows it wakes W; once */
static uint32_t unable;     /* [a] W (or somebody in its place) cannot make room now */

/* ---- W ---------------------------------------------------------------------------------------- */

/* At W's birth. A worker that takes over from another finds the files open. */
void za_room_born(void)
{
    static const int none[ZA_GROUP_FILES] = {-1, -1, -1, -1, -1, -1, -1, -1, -1};
    if (!files_open)
        za_os->group_keep(za_os->spare_files(SPARE_FILES) < 0 ? none : NULL);
    files_open = true;
    watch = (struct za_watch){.seen = 0};
}

static void set_patience(void)
{
    uint64_t ns = hopeless ? HOPELESS_PATIENCE_NS : hurried ? HURRIED_PATIENCE_NS : PATIENCE_NS;
    __atomic_store_n(&patience, ns, __ATOMIC_RELEASE);
}

/*
 * First touches in all of the heap are F's to answer from now on, and in what it may grow by before
 * the next look.
 */
static void register_ahead(size_t bytes)
{
    size_t most = za_pg.size >> ZA_CHUNK_SHIFT;
    size_t n = za_min(za_pg_nchunks() + (bytes >> ZA_CHUNK_SHIFT) + 1, most);
    if (za_door_held() || __atomic_load_n(&za_pg.keep, __ATOMIC_ACQUIRE) || !za_place_records(n))
        return;
    for (; frontier < n; frontier++)
        if (!za_pg.chunks[frontier].lost && !za_place_register(frontier))
            return;
}

/* `before`: what had been spent when the group was asked; more may have been since. */
static void grant(uint64_t now, int64_t before)
{
    int64_t give = za_reserve_credit(&reserve, left);
    size_t ahead = give > 0 ? (size_t)give : 0;
    uintptr_t alarm = __atomic_load_n(&za_pg.top, __ATOMIC_ACQUIRE) + ahead / 2;
    if (ahead < NEAR) {
        register_ahead(ahead);
        alarm = za_pg.base + (frontier << ZA_CHUNK_SHIFT);
    }
    __atomic_store_n(&alarm_top, alarm, __ATOMIC_RELAXED);
    __atomic_store_n(&alarm_at, before + give - (int64_t)(reserve.now / 2), __ATOMIC_RELAXED);
    __atomic_store_n(&allowed, before + give, __ATOMIC_RELEASE);
    hopeless = now < hopeless_until;
    set_patience();
    __atomic_store_n(&limited, 1, __ATOMIC_RELEASE);
}

/* No limit is known: nobody waits, and nobody wakes W. */
static void withdraw(void)
{
    __atomic_store_n(&limited, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&alarm_top, UINTPTR_MAX, __ATOMIC_RELAXED);
}

/* Torture takes everything out all the time, whatever there is room for. */
static struct za_room seen_room(void)
{
    struct za_room room;
    if (za_without(D12_ROOM) || za_conf.torture || !za_pg_active() || za_os->room(&room) < 0)
        room = (struct za_room){.limit = UINT64_MAX};
    return room;
}

/* Once a turn; returns ns until it should be looked again. */
uint64_t za_room_look(uint64_t now)
{
    int64_t before = __atomic_load_n(&spent, __ATOMIC_SEQ_CST);
    const struct za_room room = seen_room();
    bool known = room.limit != UINT64_MAX;
    left = known ? room.limit - room.used : UINT64_MAX;
    if (limit_seen != room.limit)
        za_reserve_start(&reserve, known ? room.limit : 0, now);
    limit_seen = room.limit;
    if (za_reserve_look(&reserve, now, za_stat_get(ZA_STAT_PG_PRESSED),
                        za_stat_get(ZA_STAT_PG_RESTORED)))
        za_stat_add(ZA_STAT_PG_THRASH, 1);
    strain = za_strain(strain, left, &reserve, room.stalled);
    if (known)
        grant(now, before);
    else
        withdraw();
    za_stat_set(ZA_STAT_GROUP_LIMIT, known ? room.limit : 0);
    za_stat_set(ZA_STAT_GROUP_USED, room.used);
    za_stat_set(ZA_STAT_PG_STRAIN, strain);
    return za_watch_look(&watch, now, room.used, left, strain, &reserve);
}

bool za_room_limited(void)
{
    return limited;
}

enum za_strain za_room_strain(void)
{
    return strain;
}

/* No memory for what could be done later: a dictionary, packing densely. */
bool za_room_scarce(void)
{
    return limited && left < reserve.full;
}

/* Bytes that are to be taken out now, coldest first; 0: there is room enough. */
uint64_t za_room_need(uint64_t now)
{
    if (!limit_seen || limit_seen == UINT64_MAX || now < hopeless_until)
        return 0;
    uint64_t goal = reserve.now + reserve.now / 2;
    if (za_wait_any() && left < goal)
        return za_max(goal - left, WAIT_NEED);
    return strain == ZA_STRAIN_PRESS && !reserve.tight ? goal - za_min(left, goal) : 0;
}

/* So many pages were taken out for it; or there are none, and nobody waits long, for a while. */
void za_room_pressed(uint64_t now, size_t pages, bool all_tried)
{
    za_stat_add(ZA_STAT_PG_PRESSED, (int64_t)pages);
    if (pages || !all_tried)
        return;
    hopeless_until = now + GIVE_UP_NS;
    hopeless = true;
    set_patience();
}

/* W is where it may have to wait for a thread of the program, which may be one that waits. */
void za_room_hurry(bool on)
{
    hurried = on;
    set_patience();
}

/*
 * Between the two, on W or on who does W's work: faults are answered at once, for nobody makes
 * room, or it is the one who does that faults.
 */
void za_room_suspend(void)
{
    __atomic_fetch_add(&unable, 1, __ATOMIC_SEQ_CST);
}

void za_room_resume(void)
{
    __atomic_fetch_sub(&unable, 1, __ATOMIC_SEQ_CST);
}

/* ---- the program ------------------------------------------------------------------------------ */

/* The heap ends at `top` now: is there room for what it may be filled with? */
void za_room_grown(uintptr_t top)
{
    uintptr_t alarm = __atomic_load_n(&alarm_top, __ATOMIC_RELAXED);
    if (ZA_LIKELY(top <= alarm) || !__atomic_load_n(&limited, __ATOMIC_RELAXED))
        return;
    if (__atomic_compare_exchange_n(&alarm_top, &alarm, UINTPTR_MAX, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED))
        za_mail_nudge();
}

/* ---- F ---------------------------------------------------------------------------------------- */

/* A fault that takes memory had better wait. */
bool za_room_short(void)
{
    return __atomic_load_n(&limited, __ATOMIC_ACQUIRE) &&
           __atomic_load_n(&spent, __ATOMIC_RELAXED) >=
               __atomic_load_n(&allowed, __ATOMIC_RELAXED) &&
           !__atomic_load_n(&unable, __ATOMIC_SEQ_CST) && !za_mail_parked() &&
           __atomic_load_n(&za_pg.worker_up, __ATOMIC_ACQUIRE) &&
           !__atomic_load_n(&za_pg.window, __ATOMIC_SEQ_CST);
}

uint64_t za_room_patience(void)
{
    return __atomic_load_n(&patience, __ATOMIC_ACQUIRE);
}

void za_room_spend(size_t pages)
{
    int64_t bytes = (int64_t)(pages << za_pg.page_shift);
    int64_t before = __atomic_fetch_add(&spent, bytes, __ATOMIC_SEQ_CST);
    int64_t alarm = __atomic_load_n(&alarm_at, __ATOMIC_RELAXED);
    if (before < alarm && before + bytes >= alarm && __atomic_load_n(&limited, __ATOMIC_RELAXED))
        za_mail_nudge();
}

/* In a child: nothing is known. */
void za_room_forget(void)
{
    files_open = false;
    frontier = 0;
    limit_seen = hopeless_until = 0;
    strain = ZA_STRAIN_NONE;
    limited = unable = 0;
    alarm_top = UINTPTR_MAX;
    za_wait_forget();
}
