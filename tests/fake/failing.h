/* SPDX-License-Identifier: MIT */
/*
 * failing -- the operating system, of which one call fails: the k-th, or the k-th and all after it.
 *
 * Counts are shared by all processes forked after failing_start, so the k-th call is the k-th of
 * the whole scenario, whoever makes it.  A failing call does nothing.
 */
#ifndef ZA_TESTS_FAKE_FAILING_H
#define ZA_TESTS_FAKE_FAILING_H

#include "os/os.h"

/* X(entry of struct za_os, type, parameters, arguments): all that may fail and say so. */
#define FAILING_TABLE(X) \
    X(reserve, int, (void **out, size_t len, size_t align), (out, len, align)) \
    X(map, int, (void **out, size_t len), (out, len)) \
    X(unmap, int, (void *p, size_t len), (p, len)) \
    X(commit, int, (void *p, size_t len), (p, len)) \
    X(decommit, int, (void *p, size_t len), (p, len)) \
    X(purge, int, (void *p, size_t len), (p, len)) \
    X(populate, int, (void *p, size_t len), (p, len)) \
    X(remap, int, (void *from, void *to, size_t len), (from, to, len)) \
    X(ordinary, int, (void *p, size_t len), (p, len)) \
    X(carry_off, int, (void *from, void *to, size_t len), (from, to, len)) \
    X(reserve_again, int, (void *p, size_t len), (p, len)) \
    X(held, int, (void), ()) \
    X(pagemap, int, (const void *p, size_t n, uint64_t *words), (p, n, words)) \
    X(present, int, (const void *p, size_t n, unsigned char *vec), (p, n, vec)) \
    X(room, int, (struct za_room * out), (out)) \
    X(resident, int, (const void *p, size_t len, uint64_t *bytes), (p, len, bytes)) \
    X(wait, int, (uint32_t * word, uint32_t seen, uint64_t ns), (word, seen, ns)) \
    X(rehearse, int, (const char **why), (why)) \
    X(thread_start, int, (void (*fn)(void *), void *arg, const char *name, bool share), \
      (fn, arg, name, share)) \
    X(private_files, int, (void), ()) \
    X(sync_threads, int, (void), ()) \
    X(uffd_open, int, (struct za_uffd_caps * caps), (caps)) \
    X(uffd_register, int, (int fd, void *p, size_t len), (fd, p, len)) \
    X(uffd_unregister, int, (int fd, void *p, size_t len), (fd, p, len)) \
    X(uffd_move, int64_t, (int fd, void *dst, void *src, size_t len, bool wake), \
      (fd, dst, src, len, wake)) \
    X(uffd_copy, int64_t, (int fd, void *dst, const void *src, size_t len, bool wake), \
      (fd, dst, src, len, wake)) \
    X(uffd_zero, int64_t, (int fd, void *dst, size_t len, bool wake), (fd, dst, len, wake)) \
    X(poll, int, (const int *fds, unsigned n, uint64_t ns), (fds, n, ns)) \
    X(socketpair, int, (int fds[2]), (fds)) \
    X(fetch_file, int, (int tid, int fd, uint64_t number), (tid, fd, number)) \
    X(send_file, int, (int sock, int fd), (sock, fd)) \
    X(recv_file, int, (int sock), (sock)) \
    X(say, int, (int sock), (sock)) \
    X(hear, int, (int sock, bool wait), (sock, wait)) \
    X(map_for_me, int, (void **out), (out)) \
    X(keep_only, int, (int fd), (fd)) \
    X(mergeable, int, (void *p, size_t len, bool on), (p, len, on)) \
    X(merged, int, (uint64_t * pages, uint64_t * profit), (pages, profit)) \
    X(random, int, (void *to, size_t len), (to, len)) \
    X(tier_dir, int, (const char *path), (path)) \
    X(tier_open, int, (int dir), (dir)) \
    X(tier_write, int, (int fd, const void *p, size_t len, uint64_t at), (fd, p, len, at)) \
    X(tier_read, int, (int fd, void *p, size_t len, uint64_t at), (fd, p, len, at)) \
    X(tier_punch, int, (int fd, uint64_t at, size_t len), (fd, at, len)) \
    X(tier_lend, int, (int fd), (fd)) \
    X(tier_alone, int, (int fd), (fd)) \
    X(hide, int, (void *p, size_t len), (p, len))

#define FAILING_X(name, type, params, args) FAILING_##name,
enum failing_call { FAILING_TABLE(FAILING_X) FAILING_MAX };
#undef FAILING_X

/* Makes za_os the failing one; nothing fails yet. */
void failing_start(void);
/* From now on the k-th call (counted from 1) fails with `err`; with `forever`, all later ones. */
void failing_arm(enum failing_call call, unsigned k, bool forever, int err);
void failing_disarm(void);
/* Calls made since failing_arm. */
unsigned failing_calls(enum failing_call call);
const char *failing_name(enum failing_call call);

#endif
