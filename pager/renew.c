/* SPDX-License-Identifier: MIT */
/*
 * renew -- new threads of ours for a process that has given an identity away (D14).
 *
 * Linux keeps user, groups and capabilities per thread, and libc's setuid carries a change to the
 * threads that libc knows. Ours would stay what the program no longer wants to be. They cannot
 * follow: they have no capability to. So the thread of the program that changed last makes a new
 * fault thread, which is born with the new identity, and the old one gives its userfaultfd to it
 * through a socket; the new one starts a worker when it is needed.
 *
 *   P (program)   makes a socket and F', which waits on it; asks W
 *   W             takes its end of the socket, tells F; when F is gone, answers and ends
 *   F             between two messages: sends the userfaultfd, ends
 *   F'            takes the userfaultfd over and serves
 *
 * Only what the program cannot take back counts: with 0 among its user ids it may become
 * anything again, and programs do so for every request.
 *
 * I1  From the moment F has sent the descriptor until F' reads it, faults wait in the userfaultfd.
 *     F' was born before and waits on nobody but F, so P may fault at any time here.
 * I2  W and F stop between two steps: no record is MOVING, RETURNING, PACKING, BACK or FILLING on
 *     their behalf.
 * I3  A step that fails leaves the old threads in place and is counted.
 * I4  Whoever changes looks at the identity our threads were born with before it takes fork's lock,
 *     which a signal handler could not: at a record that is whole, while other threads of ours may be
 *     born. Birth follows birth: F' writes it before it starts a worker, which writes the same.
 * I5  W registers the bell before it rings, and P rings the same one for F': a process may change
 *     before anything of it has been registered, and F sleeps until it gets a message.
 * I6  In a signal handler in the middle of P's own request or fork it waits (inside.c).
 *
 * Locks: fork's and ZA_RANK_CTL on P; none on W, F, F'.  May sleep: yes.
 * Allocates: the stack of F'. That of a thread that has ended stays mapped, mostly untouched.
 */
#include <errno.h>

#include "base/remedy.h"
#include "base/stat.h"
#include "compress/tier.h"
#include "pager/private.h"

#define WORDS (sizeof(struct za_identity) / sizeof(uint64_t))

union record {
    struct za_identity identity;
    uint64_t words[WORDS];
};

static union record
    born; /* [a] of our threads, all of them the same; whole while born_seq is even */
static uint32_t born_seq;    /* [a] */
static int offered = -1;     /* [a] W to F: the end of the socket to send to */
static uint32_t offer_over;  /* [a] futex word: F has sent (1), or could not (2) */
static uint32_t newcomer_up; /* [a] futex word: F' has its end of the socket (1), or not (2) */

static bool among(uint32_t id, const uint32_t ids[3])
{
    return id == ids[0] || id == ids[1] || id == ids[2];
}

static bool all_among(const uint32_t some[3], const uint32_t ids[3])
{
    return among(some[0], ids) && among(some[1], ids) && among(some[2], ids);
}

/* Could a thread that was born as `then` do what a process that is `now` cannot? */
bool za_renew_wanted(const struct za_identity *then, const struct za_identity *now)
{
    if (!all_among(then->uid, now->uid))
        return true;
    if (among(0, now->uid))
        return false;
    return !all_among(then->gid, now->gid) || then->groups != now->groups;
}

/* Our threads, at their birth, one after the other (I4). */
void za_renew_born(void)
{
    union record me = {.words = {0}};
    za_os->identity(&me.identity);
    __atomic_fetch_add(&born_seq, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < WORDS; i++)
        __atomic_store_n(&born.words[i], me.words[i], __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&born_seq, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&za_pg.pid, za_os->pid(), __ATOMIC_RELEASE);
}

/* Whole, as one of them was born. */
void za_renew_read(struct za_identity *out)
{
    union record r;
    for (;;) {
        uint32_t seq = __atomic_load_n(&born_seq, __ATOMIC_SEQ_CST);
        for (unsigned i = 0; i < WORDS; i++)
            r.words[i] = __atomic_load_n(&born.words[i], __ATOMIC_SEQ_CST);
        if (!(seq & 1) && __atomic_load_n(&born_seq, __ATOMIC_SEQ_CST) == seq)
            break;
        za_os->relax();
    }
    *out = r.identity;
}

/* ---- F ----------------------------------------------------------------------------------------*/

/* Files of the control group, or a word in place of each that there is not. */
static void send_group(int sock)
{
    int fds[ZA_GROUP_FILES];
    za_os->group_kept(fds);
    for (unsigned i = 0; i < ZA_GROUP_FILES; i++)
        if (fds[i] < 0 || za_os->send_file(sock, fds[i]) < 0)
            (void)za_os->say(sock);
}

static void receive_group(int sock)
{
    int fds[ZA_GROUP_FILES];
    for (unsigned i = 0; i < ZA_GROUP_FILES; i++)
        fds[i] = za_os->recv_file(sock);
    za_os->group_keep(fds);
}

/* True: F has nothing left to serve with, and ends. */
bool za_renew_leave(void)
{
    int sock = __atomic_load_n(&offered, __ATOMIC_ACQUIRE);
    if (sock < 0 || za_heir_waits((int[ZA_HEIR_FDS]){0}))
        return false;
    __atomic_store_n(&offered, -1, __ATOMIC_RELAXED);
    bool sent =
        za_tier_send(za_store_tier(za_pg.store), sock) && za_os->send_file(sock, za_pg.uffd) == 0;
    int pagemap = za_os->pagemap_kept();
    if (sent && (pagemap < 0 || za_os->send_file(sock, pagemap) < 0))
        (void)za_os->say(sock);
    if (sent)
        send_group(sock);
    __atomic_store_n(&offer_over, sent ? 1 : 2, __ATOMIC_RELEASE);
    za_os->wake(&offer_over);
    return sent;
}

/* ---- W ----------------------------------------------------------------------------------------*/

static uint32_t await(uint32_t *word)
{
    uint32_t v;
    while (!(v = __atomic_load_n(word, __ATOMIC_ACQUIRE)))
        (void)za_os->wait(word, 0, ZA_NEVER);
    return v;
}

/* 0: F is gone, and W has to go; -errno: everything stays. */
int za_renew_hand_over(int tid, int theirs, uint64_t number)
{
    if (!za_pg_active())
        return 0;                                        /* no F, and no userfaultfd */
    if (!za_without(D14_BELL) && !za_place_ready_bell()) /* I5 */
        return -ENOMEM;
    int sock = za_os->fetch_file(tid, theirs, number);
    if (sock < 0)
        return sock;
    __atomic_store_n(&offer_over, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&offered, sock, __ATOMIC_RELEASE);
    za_fault_ring();
    uint32_t how = await(&offer_over);
    (void)za_os->close(sock);
    return how == 1 ? 0 : -EIO;
}

/* ---- F' ---------------------------------------------------------------------------------------*/

static void newcomer_says(uint32_t what)
{
    __atomic_store_n(&newcomer_up, what, __ATOMIC_RELEASE);
    za_os->wake(&newcomer_up);
}

/* F'; it starts the worker when P rings, which is when the old one is certainly gone. */
static void newcomer_main(void *socket)
{
    int sock = za_os->keep_only((int)(intptr_t)socket);
    newcomer_says(sock < 0 ? 2 : 1);
    int files[ZA_TIER_FILES + 1];
    struct za_tier *tier = za_pg.store ? za_store_tier(za_pg.store) : NULL;
    if (sock < 0 || (tier && !za_tier_receive(tier, sock, files)))
        return;
    int fd = za_os->recv_file(sock);
    if (fd < 0)
        return;
    if (tier)
        za_tier_adopt(tier, files);
    za_os->pagemap_keep(za_os->recv_file(sock));
    receive_group(sock);
    (void)za_os->close(sock);
    za_pg.uffd = fd;
    za_renew_born();
    za_os->be_urgent();
    za_os->drop_privileges();
    za_fault_loop(false);
}

static void lone_worker_main(void *arg)
{
    (void)arg;
    (void)za_os->private_files();
    za_os->drop_privileges();
    za_worker_main(NULL);
}

/* Without a back-end there is no F to start one. */
static void start_lone_worker(void)
{
    __atomic_store_n(&za_pg.worker_up, 1, __ATOMIC_RELEASE);
    za_still_born();
    if (za_os->thread_start(lone_worker_main, NULL, "zalloc-worker", false) == 0)
        return;
    za_still_unborn();
    __atomic_store_n(&za_pg.worker_up, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&za_pg.life, ZA_LIFE_FAILED, __ATOMIC_RELEASE);
}

/* ---- P ----------------------------------------------------------------------------------------*/

static int hand_over(const int socks[2])
{
    newcomer_up = 0;
    int r = za_os->thread_start(newcomer_main, (void *)(intptr_t)socks[1], "zalloc-fault", false);
    if (r < 0)
        return r;
    if (await(&newcomer_up) != 1)
        return -EMFILE;
    r = za_mail_renew(socks[0], start_lone_worker);
    if (r < 0 || !za_pg_active())
        (void)za_os->say(socks[0]); /* nothing comes: F' ends */
    if (r < 0)
        return r;
    if (za_pg_active())
        za_fault_ring();
    return 0;
}

static void renew_now(void)
{
    int socks[2];
    int r = za_os->socketpair(socks);
    if (r == 0) {
        r = hand_over(socks);
        (void)za_os->close(socks[0]);
        (void)za_os->close(socks[1]);
    }
    za_stat_add(r < 0 ? ZA_STAT_RENEW_FAILED : ZA_STAT_RENEWED, 1);
}

/* Are our threads left with more than the calling thread has now? */
static bool wanted(void)
{
    struct za_identity now, then;
    za_os->identity(&now);
    za_renew_read(&then);
    return za_renew_wanted(&then, &now);
}

/*
 * A child that opens a userfaultfd of its own is promised that it may (fork.c, still.c): not while
 * another thread forks.
 */
bool za_pager_change_begin(void)
{
    if (za_without(D14_CHANGE) || !za_pager_active() || za_pg.caps.event_fork || za_inside() ||
        za_pg_borrowed())
        return false;
    za_fork_exclude();
    za_still_change(true);
    return true;
}

void za_pager_change_end(bool begun)
{
    if (!begun)
        return;
    za_still_change(false);
    za_fork_allow();
}

void za_pager_renew(void)
{
    /* A vfork child changes itself. */
    if (!za_pager_has_worker() || za_pg_borrowed() || !wanted())
        return;
    if (za_inside()) {
        za_inside_owe();
        return;
    }
    za_fork_exclude();
    if (wanted())
        renew_now();
    za_fork_allow();
}
