/* SPDX-License-Identifier: MIT */
/*
 * tier -- the files that the coldest blobs go to: opened, written, read, lent to children.
 *
 * THEORY
 *
 * A place in a file is a whole segment's: the segment in slot S stands at S MiB of its file, which
 * is sparse. So slots, which are never in use twice, are all the bookkeeping of space there is. What
 * a segment holds is written once, in one go, and never changed; when nothing of it lives, and no
 * reader can be looking, its space is given back.
 *
 * Forks. A child shares its parent's files: both find there what both have records of. Neither may
 * then write where the other still reads. So a file has one owner, the process that opened it, and
 * a child is lent it: it reads, and never writes. The owner does not know when its children have
 * forgotten the place S; so at a fork its files are *sealed*: no writing, no giving back. The seal
 * is broken when nobody has the file any more but its owner. To know that, a child gets not the
 * owner's descriptor but one opened anew with a shared lock, which lasts until the last process
 * that it was handed on to has closed it; the owner asks for an exclusive one. Where that cannot be
 * had (no /proc) the child gets the owner's own, and the seal is for good.
 *
 * What an owner writes meanwhile goes to another file. There are ZA_TIER_FILES at most: a process
 * that forks and writes by turns moves what lives in sealed files to the newest (filed.c), and a
 * file without living blobs is closed.
 *
 * Secrecy. What the program thought was in its memory is on a disk now: every file has a key of its
 * own, of random bytes, which dies with the process, and lies where core dumps do not reach. A
 * nonce is the serial number of the write, which no two writes of a process share; a child writes
 * to files of its own only, with their own keys.
 *
 * A limit on what the files take (max_bytes) keeps a part for moving, which alone makes room: what
 * comes from memory stops below it. So a full tier can still empty its sparse segments, as large as
 * they may be.
 *
 * Invariants
 * I1  A file is written and punched only by its owner, and only while it is not sealed.
 * I2  No two writes have the same key and the same serial number.
 * I3  `fd`, the key and the place of a segment stay until its grace period is over (segment.h I4).
 * I4  held_bytes of a file is the sum of what its segments occupy, those in grace included.
 *
 * Locks: none (W only, but za_tier_read: W or F, each with its own reader).  May sleep: in I/O.
 * May fault: own memory only.  Allocates: keys, via ops.
 */
#ifndef ZA_COMPRESS_TIER_H
#define ZA_COMPRESS_TIER_H

#include "compress/chacha.h"
#include "compress/store.h"

#define ZA_TIER_FILES 8u
#define ZA_TIER_BLOCK 4096u
#define ZA_TIER_AROUND ((uint32_t)(64 * ZA_KIB)) /* what is read at once, at least */

/*
 * Key: P written by the writer before a place in it is published, read by any; W writer only.
 * Born: za_tier_write.  Owned: by the tier.
 * Dies: when nothing in it lives and it cannot be written.
 */
struct za_tier_file {
    int fd;              /* P  in the table of W and F; -1: none (lent, but not received) */
    uint8_t key;         /* P  index of its key */
    bool used;           /* W */
    bool mine;           /* W  this process opened it */
    bool sealed;         /* W  others may be reading */
    bool for_good;       /* W  nobody can know when they have ended */
    bool sweep;          /* W  the seal is broken: what died meanwhile is to be punched (filed.c) */
    uint32_t segments;   /* W */
    uint64_t born;       /* W  serial of its first write: which file is the oldest */
    uint64_t held_bytes; /* W  I4 */
    uint64_t left_bytes; /* W  dead, and not given back */
};

/* Key: W writer only. */
struct za_tier {
    struct za_tier_file file[ZA_TIER_FILES];
    uint8_t (*keys)[ZA_CHACHA_KEY]; /* a mapping of its own; NULL: there is no tier */
    int dir;                        /* W  -1: no new files */
    uint64_t serial;                /* W  of the last write; I2 */
    uint64_t max_bytes;             /* W  0: no limit */
    uint32_t lent;                  /* W  descriptors sent before the fork under way */
};

/* One for each reading thread: what it read last, still encrypted. */
struct za_reader {
    uint64_t serial;   /* of the write that the window shows; 0: none */
    uint32_t from, to; /* bytes of it */
    char window[2 * ZA_TIER_AROUND] __attribute__((aligned(ZA_TIER_BLOCK)));
};

/* A segment's place, as its readers need it. */
struct za_tier_place {
    uint8_t file; /* index */
    uint32_t slot;
    uint32_t bytes; /* written */
    uint64_t serial;
};

/* WRITER.  0, or -errno: there is no tier. */
int za_tier_open(struct za_tier *t, const char *path, const struct za_store_ops *ops);
void za_tier_close(struct za_tier *t, const struct za_store_ops *ops); /* files too */
/* As close, in a child that has none of the descriptors. */
void za_tier_forget(struct za_tier *t, const struct za_store_ops *ops);
/*
 * Bytes that may be written at once, in whole blocks, a segment at most: of what comes from memory,
 * or of what is moved within the files.  0: not enough for segments that are not too many and small.
 */
enum za_tier_use { ZA_TIER_COMES, ZA_TIER_MOVES };
uint32_t za_tier_room(const struct za_tier *t, enum za_tier_use use);
/*
 * Encrypts `image` where it stands (room for whole blocks) and writes it; *p says where.  How much may
 * be written is the caller's to ask before.  -errno: nothing has changed.
 */
int za_tier_write(struct za_tier *t, uint32_t slot, char *image, uint32_t bytes,
                  struct za_tier_place *p);
/* A segment is gone, and nobody looks at it any more. */
void za_tier_gone(struct za_tier *t, const struct za_tier_place *p);
/* The oldest of more than half the files there may be, unless it can be written; else -1. */
int za_tier_oldest(struct za_tier *t);
uint64_t za_tier_bytes(const struct za_tier *t); /* occupied on the disk, as far as we know */

size_t za_tier_key_bytes(void); /* mapped */

/* READER.  `len` bytes at `at` of what was written, decrypted; 0 or -errno. */
int za_tier_read(const struct za_tier *t, const struct za_tier_place *p, struct za_reader *r,
                 uint32_t at, uint32_t len, void *to);

/*
 * W, before a fork: seals all, and sends what a child needs to `sock`.  False: not everything could
 * be sent, the child must not need it.
 */
bool za_tier_lend(struct za_tier *t, int sock);
/*
 * A child's fault thread: takes what was sent.  False: something did not arrive.  What was not sent
 * must not be needed.
 */
bool za_tier_borrow(struct za_tier *t, int sock);
/*
 * The same process, new threads: descriptors as they are.  The newcomer keeps them in `fds` until
 * they are its own.
 */
bool za_tier_send(const struct za_tier *t, int sock);
bool za_tier_receive(const struct za_tier *t, int sock, int fds[ZA_TIER_FILES + 1]);
void za_tier_adopt(struct za_tier *t, const int fds[ZA_TIER_FILES + 1]);

#endif
