/* SPDX-License-Identifier: MIT */
/*
 * os -- every system call the library makes, behind one table of functions, so that tests run on a
 * fake of it (tests/fake) and can make call 1, 2, 3 ... n fail (tests/fault).
 *
 * Contract of every entry: returns >= 0, or -errno; never touches errno; takes no lock; allocates
 * nothing from any malloc; may be called on every thread, ours included (which have no libc thread
 * state: see os/thread.c). "May sleep" is said where it may. Addresses and lengths are page-aligned
 * unless said otherwise.
 */
#ifndef ZA_OS_OS_H
#define ZA_OS_OS_H

#include "base/base.h"

/* Bits of the kernel's pagemap word that the pager reads. */
#define ZA_PM_EXCLUSIVE (1ull << 56)
#define ZA_PM_SWAPPED (1ull << 62)
#define ZA_PM_PRESENT (1ull << 63)

enum za_uffd_event { ZA_EV_NONE, ZA_EV_FAULT, ZA_EV_FORK, ZA_EV_OTHER };

struct za_uffd_msg {
    enum za_uffd_event event;
    uintptr_t addr; /* FAULT: the address touched */
    bool write;     /* FAULT: it was a write */
    int fd;         /* FORK: the child's userfaultfd, in the reader's table */
};

/* What a userfaultfd made here can do. */
struct za_uffd_caps {
    bool move;       /* UFFDIO_MOVE present and of a sane version */
    bool any_move;   /* UFFDIO_MOVE present */
    bool event_fork; /* children are announced */
};

/* What the memory of the process's control group allows (group.c). */
#define ZA_GROUP_FILES 9u
struct za_room {
    uint64_t limit;   /* bytes; UINT64_MAX: none, or not known */
    uint64_t used;    /* of the limit; what the kernel would give up by itself is left out */
    uint32_t stalled; /* PSI: share of the last 10 s in which somebody waited for memory, 0.01 % */
};

/* Whom a thread acts for. */
struct za_identity {
    uint32_t uid[3], gid[3]; /* real, effective, saved */
    uint64_t groups;         /* of the supplementary groups, a digest */
};

struct za_os {
    size_t page_size;

    /*
     * Address space.  reserve: PROT_NONE, no memory charged, aligned;
     * map: zeroed, readable, writable.
     */
    int (*reserve)(void **out, size_t len, size_t align);
    int (*map)(void **out, size_t len);
    int (*unmap)(void *p, size_t len);
    /* reserved -> readable and writable (charged in overcommit mode 2) */
    int (*commit)(void *p, size_t len);
    /* contents dropped, reads as zeros afterwards (MADV_DONTNEED) */
    int (*purge)(void *p, size_t len);
    int (*decommit)(void *p, size_t len); /* empty memory, readable and writable -> reserved */
    int (*populate)(void *p, size_t len); /* make resident and exclusive (MADV_POPULATE_WRITE) */
    int (*populate_read)(void *p, size_t len); /* make resident what may be read, if not written */
    /* mremap MAYMOVE|FIXED|DONTUNMAP: page tables move, `from` stays mapped, empty */
    int (*remap)(void *from, void *to, size_t len);
    /*
     * 0: [p, p+len) is one mapping, writable and not locked.  -EFAULT: more than one; -EBUSY: locked;
     * -EACCES: not to be written.  Makes the first page resident and exclusive.
     */
    int (*ordinary)(void *p, size_t len);
    /*
     * remap to a place of ours that holds nothing, which then may be read only, is inherited by
     * children, and is one mapping with neighbours that came the same way.  On failure the place is
     * reserved as before; -ENXIO: it could not be had back.
     */
    int (*carry_off)(void *from, void *to, size_t len);
    /* a place of carry_off -> reserved, its contents gone; failure as there */
    int (*reserve_again)(void *p, size_t len);
    /*
     * May nothing be carried off?  1: a device may be writing to this process's memory, or there is
     * no address space to spare; 0: neither; -errno: not known.
     */
    int (*held)(void);
    /* may the kernel merge equal pages there, of other processes too?  Off: what is merged is copied */
    int (*mergeable)(void *p, size_t len, bool on);
    /* this process's merged pages, and bytes saved by them; needs /proc */
    int (*merged)(uint64_t *pages, uint64_t *profit);
    int (*pagemap)(const void *p, size_t npages, uint64_t *words); /* words read; needs /proc */
    /*
     * The file behind it stays open in the calling thread's table from now on, so that neither
     * /proc nor a right is needed later: fd, or with -1 one opened here if that works.
     */
    void (*pagemap_keep)(int fd);
    int (*pagemap_kept)(void); /* that descriptor, or -1 */
    /* bit 0 of each byte: page there (mincore) */
    int (*present)(const void *p, size_t npages, unsigned char *vec);
    /*
     * Resident bytes of a range.  The zero page is nobody's memory, where the kernel tells which is
     * one (Linux 6.7) and the calling thread has kept the file behind pagemap().
     */
    int (*resident)(const void *p, size_t len, uint64_t *bytes);
    /*
     * The files behind room() are open in the calling thread's table from now on: those of `fds`
     * (-1: not to be had), or with NULL as many as can be found and opened here.
     */
    void (*group_keep)(const int *fds);
    void (*group_kept)(int fds[ZA_GROUP_FILES]); /* these descriptors, or -1 */
    int (*room)(struct za_room *out);            /* microseconds; -ENOENT: nothing is known */
    uint64_t (*memory_total)(void);              /* bytes of RAM; 0 unknown */
    uint64_t (*address_limit)(void);             /* RLIMIT_AS; UINT64_MAX none */
    uint64_t (*data_limit)(void);                /* RLIMIT_DATA; the same */

    /* Clocks, nanoseconds. */
    uint64_t (*now)(void); /* monotonic */
    uint64_t (*thread_cpu)(void);

    /* Waiting on a word shared between our threads and the program's (private futex). */

    /* 0 woken or changed, -ETIMEDOUT, -EINTR; ~0: for ever */
    int (*wait)(uint32_t *word, uint32_t seen, uint64_t timeout_ns);
    void (*wake)(uint32_t *word);

    /*
     * Before the first thread of ours: what would a seccomp filter kill it for?  What it can do
     * without fails with -EPERM from then on.  -EPERM: anything else, and why (a literal).
     */
    int (*rehearse)(const char **why);
    /* Threads of ours: all signals blocked, unknown to libc.  fn never returns to libc. */
    int (*thread_start)(void (*fn)(void *), void *arg, const char *name, bool share_files);
    /* calling thread: an empty descriptor table of its own, 0-2 occupied */
    int (*private_files)(void);
    void (*be_urgent)(void);       /* calling thread: as high a priority as allowed */
    void (*be_modest)(void);       /* calling thread: lowest normal priority */
    void (*be_fair)(void);         /* calling thread: the process's priority, as far as allowed */
    void (*drop_privileges)(void); /* calling thread: no capability, and no way to get one */
    void (*relax)(void);           /* one spin-wait pause */
    /* every other thread's stores before now are visible here (membarrier) */
    int (*sync_threads)(void);

    /* userfaultfd; descriptors live in the calling thread's table. */

    /* full (kernel faults too); -EPERM and others: why not */
    int (*uffd_open)(struct za_uffd_caps *caps);
    int (*uffd_register)(int fd, void *p, size_t len); /* MISSING mode */
    int (*uffd_unregister)(int fd, void *p, size_t len);
    int (*uffd_read)(int fd, struct za_uffd_msg *msg); /* 1 message, 0 none now */
    /* sleeps until a message or the end on any of n <= 8; 1, or 0 on time-out */
    int (*poll)(const int *fds, unsigned n, uint64_t timeout_ns);
    /* bytes moved so far, or -errno if none; *stops* at the first refusal */
    int64_t (*uffd_move)(int fd, void *dst, void *src, size_t len, bool wake);
    int64_t (*uffd_copy)(int fd, void *dst, const void *src, size_t len, bool wake); /* likewise */
    int64_t (*uffd_zero)(int fd, void *dst, size_t len, bool wake);
    int (*uffd_wake)(int fd, void *p, size_t len);
    int (*close)(int fd);
    /* 0: n more descriptors can be had in the calling thread's table */
    int (*spare_files)(unsigned n);

    /* Handing descriptors over. */
    int (*socketpair)(int fds[2]);     /* SEQPACKET, close-on-exec */
    uint64_t (*socket_number)(int fd); /* which no other socket has; 0: it is none */
    /*
     * Descriptor of thread `tid` (0: the first) -> calling thread's table (pidfd_getfd).  -EBADF: it
     * is not to be reached; number not 0: it is not the socket of that number.
     */
    int (*fetch_file)(int tid, int fd, uint64_t number);
    int (*send_file)(int sock, int fd);
    /* waits; -EPIPE when the other side is gone, -ENOMSG when it said a byte instead */
    int (*recv_file)(int sock);
    int (*say)(int sock);             /* one byte; 0, or -errno */
    int (*hear)(int sock, bool wait); /* 1 a byte came, 0 none now, -EPIPE the other side is gone */
    int (*map_for_me)(void **out);    /* one page, zeroed in every forked child (MADV_WIPEONFORK) */
    /* calling thread: own table, holding only fd (returned, maybe renumbered) */
    int (*keep_only)(int fd);

    /* Files of the file tier (os/tier.c); places, lengths and memory in blocks of 4096. */

    int (*tier_dir)(const char *path); /* a directory to open files in; of a file's path, its own */
    int (*tier_open)(int dir);         /* a new file without a name */
    /* May sleep.  0: on the disk; -errno: nothing of it counts. */
    int (*tier_write)(int fd, const void *p, size_t len, uint64_t at);
    int (*tier_read)(int fd, void *p, size_t len,
                     uint64_t at);                      /* all of it, or -errno; may sleep */
    int (*tier_punch)(int fd, uint64_t at, size_t len); /* gives the space back */
    /* the same file, opened anew for another process to read */
    int (*tier_lend)(int fd);
    int (*tier_alone)(int fd);        /* 1: nobody has what was lent any more, 0 somebody; -errno */
    int (*hide)(void *p, size_t len); /* not for core dumps */

    void (*identity)(struct za_identity *out);  /* the calling thread's */
    int (*pid)(void);                           /* process id now (never cached) */
    int (*parent)(void);                        /* the parent's now; 0: not known */
    int (*tid)(void);                           /* the calling thread's id */
    int (*random)(void *to, size_t len);        /* at most 256 bytes; never waits for the system */
    void (*tell)(const char *line, size_t len); /* to the program's standard error */
};

extern const struct za_os *za_os; /* the table in use: za_os_linux, or a test's */
extern const struct za_os *const za_os_linux;

/* Before anything else, idempotent: page size, fatal and metadata hooks of base. */
void za_os_init(void);

/*
 * A page on its way out and back by each means, with a userfaultfd of the calling thread: 0, or
 * -errno of the first call that fails (-EIO: none fails, but the bytes are not there).
 */
int za_os_try_move(int fd);
int za_os_try_remap(int fd);

/* Text of an errno value for messages of the tool and doctor: "EPERM" style names, never NULL. */
const char *za_os_errname(int err);

#endif
