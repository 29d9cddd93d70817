/* SPDX-License-Identifier: MIT */
/*
 * os -- the table for Linux, its start, and how a fatal line leaves the process.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#include "os/os.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <sys/auxv.h>

#include "base/meta.h"
#include "os/private.h"
#include "os/sys.h"

#define SIGNAL_BIT(n) (1ull << ((n)-1))

static void write_error(const char *s, size_t len);

static struct za_os linux_table = {
    .page_size = 4096,
    .reserve = za_linux_reserve,
    .map = za_linux_map,
    .unmap = za_linux_unmap,
    .commit = za_linux_commit,
    .decommit = za_linux_decommit,
    .purge = za_linux_purge,
    .populate = za_linux_populate,
    .populate_read = za_linux_populate_read,
    .remap = za_linux_remap,
    .ordinary = za_linux_ordinary,
    .carry_off = za_linux_carry_off,
    .reserve_again = za_linux_reserve_again,
    .held = za_linux_held,
    .mergeable = za_linux_mergeable,
    .merged = za_linux_merged,
    .pagemap = za_linux_pagemap,
    .pagemap_keep = za_linux_pagemap_keep,
    .pagemap_kept = za_linux_pagemap_kept,
    .present = za_linux_present,
    .group_keep = za_linux_group_keep,
    .group_kept = za_linux_group_kept,
    .room = za_linux_room,
    .resident = za_linux_resident,
    .memory_total = za_linux_memory_total,
    .address_limit = za_linux_address_limit,
    .data_limit = za_linux_data_limit,
    .now = za_linux_now,
    .thread_cpu = za_linux_thread_cpu,
    .wait = za_linux_wait,
    .wake = za_linux_wake,
    .rehearse = za_linux_rehearse,
    .thread_start = za_linux_thread_start,
    .private_files = za_linux_private_files,
    .be_urgent = za_linux_be_urgent,
    .be_modest = za_linux_be_modest,
    .be_fair = za_linux_be_fair,
    .drop_privileges = za_linux_drop_privileges,
    .relax = za_linux_relax,
    .sync_threads = za_linux_sync_threads,
    .uffd_open = za_linux_uffd_open,
    .uffd_register = za_linux_uffd_register,
    .uffd_unregister = za_linux_uffd_unregister,
    .uffd_read = za_linux_uffd_read,
    .poll = za_linux_poll,
    .uffd_move = za_linux_uffd_move,
    .uffd_copy = za_linux_uffd_copy,
    .uffd_zero = za_linux_uffd_zero,
    .uffd_wake = za_linux_uffd_wake,
    .close = za_linux_close,
    .spare_files = za_linux_spare_files,
    .socketpair = za_linux_socketpair,
    .socket_number = za_linux_socket_number,
    .fetch_file = za_linux_fetch_file,
    .send_file = za_linux_send_file,
    .recv_file = za_linux_recv_file,
    .say = za_linux_say,
    .hear = za_linux_hear,
    .map_for_me = za_linux_map_for_me,
    .keep_only = za_linux_keep_only,
    .tier_dir = za_linux_tier_dir,
    .tier_open = za_linux_tier_open,
    .tier_write = za_linux_tier_write,
    .tier_read = za_linux_tier_read,
    .tier_punch = za_linux_tier_punch,
    .tier_lend = za_linux_tier_lend,
    .tier_alone = za_linux_tier_alone,
    .hide = za_linux_hide,
    .identity = za_linux_identity,
    .pid = za_linux_pid,
    .parent = za_linux_parent,
    .tid = za_linux_tid,
    .random = za_linux_random,
    .tell = write_error,
};

const struct za_os *const za_os_linux = &linux_table;
const struct za_os *za_os = &linux_table;

static void write_all(int fd, const char *s, size_t len)
{
    while (fd >= 0 && len > 0) {
        long n = za_sys3(SYS_write, fd, s, len);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return;
        s += n;
        len -= (size_t)n;
    }
}

/* Our own threads have no descriptor 2 of the program's: they borrow it for the moment. */
static void write_error(const char *s, size_t len)
{
    bool borrow = za_linux_on_own_thread();
    int fd = borrow ? za_linux_fetch_file(0, 2, 0) : 2;
    write_all(fd, s, len);
    if (borrow && fd >= 0)
        (void)za_linux_close(fd);
}

/* abort(3) needs thread state that our threads lack; this is what it comes down to. */
static void end_process(void)
{
    uint64_t abrt = SIGNAL_BIT(SIGABRT);
    long pid = za_sys0(SYS_getpid), tid = za_sys0(SYS_gettid);
    (void)za_sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &abrt, 0, sizeof(abrt));
    (void)za_sys3(SYS_tgkill, pid, tid, SIGABRT);
    /* A handler of the program returned: take the default action instead. */
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } dfl = {0, 0, 0, 0};
    (void)za_sys4(SYS_rt_sigaction, SIGABRT, &dfl, 0, sizeof(dfl.mask));
    (void)za_sys3(SYS_tgkill, pid, tid, SIGABRT);
    for (;;)
        (void)za_sys1(SYS_exit_group, 134);
}

static void *map_meta(size_t len)
{
    void *p;
    return za_os->map(&p, len) < 0 ? NULL : p;
}

void za_os_init(void)
{
    static const struct za_fatal_ops ends = {write_error, end_process};
    static bool done;
    if (done)
        return;
    unsigned long page = getauxval(AT_PAGESZ);
    if (page)
        linux_table.page_size = page;
    za_fatal_set_ops(&ends);
    za_meta_init(map_meta);
    done = true;
}

const char *za_os_errname(int err)
{
    switch (err < 0 ? -err : err) {
    case EPERM: return "EPERM";
    case ENOENT: return "ENOENT";
    case EINTR: return "EINTR";
    case EAGAIN: return "EAGAIN";
    case ENOMEM: return "ENOMEM";
    case EACCES: return "EACCES";
    case EBUSY: return "EBUSY";
    case EEXIST: return "EEXIST";
    case EINVAL: return "EINVAL";
    case ENFILE: return "ENFILE";
    case EMFILE: return "EMFILE";
    case ENOSYS: return "ENOSYS";
    case EOPNOTSUPP: return "EOPNOTSUPP";
    case ESRCH: return "ESRCH";
    default: return "an unexpected error";
    }
}
