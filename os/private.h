/* SPDX-License-Identifier: MIT */
/*
 * private -- what the files of os/ share with each other:
 * one function for each entry of struct za_os.
 */
#ifndef ZA_OS_PRIVATE_H
#define ZA_OS_PRIVATE_H

#include "os/os.h"

int za_linux_reserve(void **out, size_t len, size_t align);
int za_linux_map(void **out, size_t len);
int za_linux_map_for_me(void **out);
int za_linux_unmap(void *p, size_t len);
int za_linux_commit(void *p, size_t len);
int za_linux_decommit(void *p, size_t len);
int za_linux_purge(void *p, size_t len);
int za_linux_populate(void *p, size_t len);
int za_linux_populate_read(void *p, size_t len);
int za_linux_remap(void *from, void *to, size_t len);
int za_linux_ordinary(void *p, size_t len);
int za_linux_carry_off(void *from, void *to, size_t len);
int za_linux_reserve_again(void *p, size_t len);
int za_linux_held(void);
int za_linux_mergeable(void *p, size_t len, bool on);
int za_linux_merged(uint64_t *pages, uint64_t *profit);
int za_linux_pagemap(const void *p, size_t npages, uint64_t *words);
void za_linux_pagemap_keep(int fd);
int za_linux_pagemap_kept(void);
void za_linux_group_keep(const int *fds);
void za_linux_group_kept(int fds[ZA_GROUP_FILES]);
int za_linux_room(struct za_room *out);
/* As group_keep(NULL), from other files than the process's own (tests). */
void za_group_open(const char *groups, const char *mounts, const char *pressure);
int za_linux_resident(const void *p, size_t len, uint64_t *bytes);
size_t za_linux_zero_bytes(const void *p, size_t len);
int za_linux_present(const void *p, size_t npages, unsigned char *vec);
uint64_t za_linux_memory_total(void);
uint64_t za_linux_address_limit(void);
uint64_t za_linux_data_limit(void);

uint64_t za_linux_now(void);
uint64_t za_linux_thread_cpu(void);
int za_linux_wait(uint32_t *word, uint32_t seen, uint64_t timeout_ns);
void za_linux_wake(uint32_t *word);

int za_linux_thread_start(void (*fn)(void *), void *arg, const char *name, bool share_files);
void za_linux_be_urgent(void);
void za_linux_be_modest(void);
void za_linux_be_fair(void);
void za_linux_drop_privileges(void);
void za_linux_relax(void);
int za_linux_sync_threads(void);
bool za_linux_on_own_thread(void);

int za_linux_private_files(void);
int za_linux_close(int fd);
int za_linux_spare_files(unsigned n);
int za_linux_socketpair(int fds[2]);
uint64_t za_linux_socket_number(int fd);
int za_linux_fetch_file(int tid, int fd, uint64_t number);
int za_linux_send_file(int sock, int fd);
int za_linux_recv_file(int sock);
int za_linux_say(int sock);
int za_linux_hear(int sock, bool wait);
int za_linux_keep_only(int fd);
void za_linux_identity(struct za_identity *out);
int za_linux_pid(void);
int za_linux_parent(void);
int za_linux_tid(void);
int za_linux_random(void *to, size_t len);

/* Calls that a seccomp filter answers with death: not made, as if they had been refused. */
enum za_dead {
    ZA_DEAD_DUMPABLE = 1,
    ZA_DEAD_CARRY = 2, /* any of mremap's back-end */
    ZA_DEAD_PRESENT = 4,
    ZA_DEAD_PAGEMAP = 8,
    ZA_DEAD_SYNC = 16,
    ZA_DEAD_PRIORITY = 32,
    ZA_DEAD_FETCH = 64,
    ZA_DEAD_HAND_OVER = 128,
    ZA_DEAD_PRIVILEGES = 256,
    ZA_DEAD_PARENT = 512
};
extern unsigned za_linux_dead; /* written before our threads start */

ZA_INLINE bool za_linux_is_dead(enum za_dead what)
{
    return (za_linux_dead & what) != 0;
}

int za_linux_rehearse(const char **why);

int za_linux_tier_dir(const char *path);
int za_linux_tier_open(int dir);
int za_linux_tier_write(int fd, const void *p, size_t len, uint64_t at);
int za_linux_tier_read(int fd, void *p, size_t len, uint64_t at);
int za_linux_tier_punch(int fd, uint64_t at, size_t len);
int za_linux_tier_lend(int fd);
int za_linux_tier_alone(int fd);
int za_linux_hide(void *p, size_t len);

int za_linux_uffd_open(struct za_uffd_caps *caps);
int za_linux_uffd_register(int fd, void *p, size_t len);
int za_linux_uffd_unregister(int fd, void *p, size_t len);
int za_linux_uffd_read(int fd, struct za_uffd_msg *msg);
int za_linux_poll(const int *fds, unsigned n, uint64_t timeout_ns);
int64_t za_linux_uffd_move(int fd, void *dst, void *src, size_t len, bool wake);
int64_t za_linux_uffd_copy(int fd, void *dst, const void *src, size_t len, bool wake);
int64_t za_linux_uffd_zero(int fd, void *dst, size_t len, bool wake);
int za_linux_uffd_wake(int fd, void *p, size_t len);

#endif
