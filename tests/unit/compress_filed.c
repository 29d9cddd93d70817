/* SPDX-License-Identifier: MIT */
/*
 * compress_filed -- the store with a file tier: against the shadow model, against a disk that
 * refuses, and lent to children.
 *
 * One file, since all of it stands on the same model, disk and directory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stat.h"
#include "compress/segment.h"
#include "os/os.h"
#include "tests/unit/compress_kit.h"

#define MAX_BLOBS (1u << 14)

static const struct za_file_rule all = {UINT64_MAX, 1, false};
static struct za_os table; /* for what is to fail */

static const char *directory(void)
{
    const char *dir = getenv("TMPDIR");

    return dir ? dir : "/tmp";
}

static struct model filed_at(const char *dir, uint32_t max_size, uint64_t seed)
{
    struct model m = model_new(MAX_BLOBS, max_size, seed);

    table = *za_os_linux;
    za_os = &table;
    CHECK_EQ(za_tier_open(za_store_tier(m.s), dir, &ops), 0);
    return m;
}

/* A file system in memory, where there is one: a model reads and writes a great deal. */
static struct model filed_new(uint32_t max_size, uint64_t seed)
{
    return filed_at(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : directory(), max_size, seed);
}

static void puts_some(struct model *m, int n)
{
    while (n-- > 0)
        model_put(m);
}

static void file_everything(struct model *m)
{
    za_store_close(m->s);
    while (za_store_file(m->s, &all) > 0)
        ;
    model_reclaim(m);
}

/* Bytes on the disk. */
static uint64_t blocks_of(const struct za_tier *t)
{
    struct stat st;
    uint64_t sum = 0;

    for (unsigned i = 0; i < ZA_TIER_FILES; i++)
        if (t->file[i].fd >= 0) {
            CHECK_EQ(fstat(t->file[i].fd, &st), 0);
            sum += (uint64_t)st.st_blocks * 512;
        }
    return sum;
}

static void release_all(struct model *m)
{
    while (m->n) {
        model_release(m);
        if (m->n % 64 == 0)
            model_reclaim(m);
    }
    model_reclaim(m);
    za_store_reclaim(m->s);
}

UNIT_TEST(everything_goes_and_is_found)
{
    struct model m = filed_at(directory(), 16000, 4711);

    puts_some(&m, 3000);
    uint64_t in_memory = stats(m.s).mapped_bytes;
    file_everything(&m);
    CHECK_EQ(stats(m.s).file_blobs, m.n);
    CHECK_EQ(stats(m.s).file_live_bytes, stats(m.s).live_bytes);
    CHECK(in_memory > 8 * SEGMENT);
    CHECK(stats(m.s).mapped_bytes <= SEGMENT); /* a spare */
    CHECK(blocks_of(za_store_tier(m.s)) > stats(m.s).live_bytes / 2);
    model_check(&m);
    release_all(&m);
    CHECK_EQ(stats(m.s).file_blobs, 0);
    CHECK_EQ(stats(m.s).file_bytes, 0);
    CHECK_EQ(blocks_of(za_store_tier(m.s)), 0);
    za_store_check(m.s);
    model_free(&m);
}

/* How many of these blobs are in a file. */
static uint32_t filed_of(const struct model *m, uint64_t first_key, uint64_t last_key)
{
    struct za_blob_view v;
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->n; i++)
        if (m->blob[i].key >= first_key && m->blob[i].key <= last_key) {
            CHECK(za_store_get(m->s, m->blob[i].id, &v));
            n += !v.bytes;
        }
    return n;
}

static void squeeze(struct model *m)
{
    while (za_store_compact(m->s, SEGMENT / 8))
        model_reclaim(m);
    model_reclaim(m);
}

/*
 * Old blobs lose half of theirs, and are moved together, while new ones come; and once more.  They
 * are still the older ones: they go first, and as soon as they would have gone where they were.
 */
UNIT_TEST(what_is_moved_keeps_its_age)
{
    struct model m = filed_new(6000, 4712);
    const struct za_file_rule old = {50, 1, false};

    za_store_clock(m.s, 10);
    puts_some(&m, 6000);
    uint64_t last_old = m.next_key;
    za_store_close(m.s);
    za_store_clock(m.s, 100);
    puts_some(&m, 2000);
    za_store_close(m.s);
    for (int round = 0; round < 2; round++) {
        za_store_clock(m.s, 200 + (uint64_t)round);
        for (uint32_t i = m.n; i-- > 0;)
            if (m.blob[i].key <= last_old && rnd(&m.r) % 2) {
                za_store_release(m.s, m.blob[i].id, m.blob[i].refs);
                model_forget(&m, i);
            }
        squeeze(&m);
        puts_some(&m, 200);
    }
    CHECK(stats(m.s).compacted_bytes > 2 * SEGMENT);
    uint32_t left = 0;
    for (uint32_t i = 0; i < m.n; i++)
        left += m.blob[i].key <= last_old;
    CHECK(za_store_file(m.s, &all) > 0);
    CHECK(filed_of(&m, 1, last_old) > 0);
    while (za_store_file(m.s, &old) > 0)
        ;
    CHECK_EQ(filed_of(&m, 1, last_old), left);
    CHECK_EQ(filed_of(&m, last_old + 1, UINT64_MAX), 0);
    model_check(&m);
    release_all(&m);
    model_free(&m);
}

static int no_room(int fd, const void *p, size_t len, uint64_t at)
{
    (void)fd;
    (void)p;
    (void)len;
    (void)at;
    return -ENOSPC;
}

static uint32_t put_dense(struct model *m, uint32_t size)
{
    content(++m->next_key, buf, size);
    return za_store_put(m->s, buf, size, ZA_BLOB_MAX_RAW, 0, ZA_CODEC_ZSTD, 1);
}

static bool gone(const struct model *m, uint32_t id)
{
    struct za_blob_view v;

    CHECK(za_store_get(m->s, id, &v));
    return !v.bytes;
}

/* Too little for a write, or a write that failed: it goes when there is enough, and room. */
UNIT_TEST(what_did_not_go_goes_later)
{
    struct model m = filed_new(6000, 4713);
    const struct za_file_rule dense = {UINT64_MAX, 100000, true};
    uint32_t id[3];

    for (unsigned i = 0; i < 3; i++) {
        id[i] = put_dense(&m, 40000);
        za_store_close(m.s);
        CHECK_EQ(za_store_file(m.s, &dense) > 0, i == 2);
    }
    CHECK(gone(&m, id[0]) && gone(&m, id[1]) && gone(&m, id[2]));
    table.tier_write = no_room;
    for (unsigned i = 0; i < 3; i++)
        id[i] = put_dense(&m, 40000);
    za_store_close(m.s);
    CHECK_EQ(za_store_file(m.s, &dense), -ENOSPC);
    table.tier_write = za_os_linux->tier_write;
    CHECK(za_store_file(m.s, &dense) > 0);
    CHECK(gone(&m, id[0]) && gone(&m, id[1]) && gone(&m, id[2]));
    za_store_check(m.s);
    model_free(&m);
}

static void filing_step(struct model *m)
{
    struct za_file_rule rule = {stats(m->s).compacted_bytes, 1, false};

    switch (rnd(&m->r) % 8) {
    case 0: za_store_close(m->s); break;
    case 1: CHECK(za_store_file(m->s, &all) >= 0); break;
    case 2: CHECK(za_store_refile(m->s) >= 0); break;
    case 3: za_store_clock(m->s, rnd(&m->r) % 100000); break;
    case 4: CHECK(za_store_file(m->s, &rule) >= 0); break;
    default: model_reclaim(m); break;
    }
}

UNIT_TEST(model)
{
    struct model m = filed_new(6000, 815);

    for (uint64_t i = 0; i < STEPS(80000); i++) {
        model_step(&m, i);
        if (i % 97 == 0)
            filing_step(&m);
        if (i % 8009 == 0)
            model_check(&m);
    }
    CHECK(za_stat_get(ZA_STAT_FILE_WRITTEN) > STEPS(8) * SEGMENT);
    CHECK(STEPS(8) < 8 || za_stat_get(ZA_STAT_FILE_MOVED) > 0); /* a short run has too few dead */
    model_check(&m);
    release_all(&m);
    CHECK_EQ(blocks_of(za_store_tier(m.s)), 0);
    model_free(&m);
}

/* What is on the disk has nothing of the blobs' bytes in it. */
UNIT_TEST(the_file_is_encrypted)
{
    static char text[8192], disk[SEGMENT];
    struct model m = filed_new(8192, 1);
    struct za_tier *t = za_store_tier(m.s);

    memset(text, 'a', sizeof(text));
    for (int i = 0; i < 100; i++)
        CHECK(za_store_put(m.s, text, sizeof(text), sizeof(text), 1, ZA_CODEC_LZ4, 1));
    file_everything(&m);
    uint64_t found = 0, like = 0;
    for (unsigned slot = 1; slot < 8; slot++) {
        ssize_t n = pread(t->file[0].fd, disk, sizeof(disk), (off_t)slot * SEGMENT);
        for (ssize_t i = 0; i < n; i++) {
            found += disk[i] == 'a';
            like += i >= 64 && disk[i] && disk[i] == disk[i - 64];
        }
    }
    CHECK(found < 100 * 8192 / 64);
    CHECK(like < 100 * 8192 / 64);
    model_free(&m);
}

UNIT_TEST(neighbours_are_read_along)
{
    struct model m = filed_new(4000, 3);

    puts_some(&m, 2000);
    file_everything(&m);
    for (uint32_t i = 0; i < m.n; i++)
        model_look(&m, &m.blob[i]);
    CHECK(za_stat_get(ZA_STAT_FILE_READS) < m.n / 8);
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_READS) + za_stat_get(ZA_STAT_FILE_AROUND), m.n);
    model_free(&m);
}

UNIT_TEST(only_what_is_dense_and_old)
{
    struct za_store *s = za_store_new(&ops);
    struct za_file_rule rule = {10, 1, true};
    struct za_blob_view v;
    uint32_t id[600];

    CHECK_EQ(za_tier_open(za_store_tier(s), directory(), &ops), 0);
    za_store_clock(s, 5);
    for (unsigned i = 0; i < 600; i++) {
        content(i, buf, 4096);
        id[i] = za_store_put(s, buf, 4096, 4096, i,
                             za_codec_word(i % 2 ? ZA_CODEC_ZSTD : ZA_CODEC_LZ4, 0), 1);
        if (i == 299) {
            za_store_close(s);
            za_store_clock(s, 10);
        }
    }
    za_store_close(s);
    while (za_store_file(s, &rule) > 0)
        ;
    za_store_check(s);
    for (unsigned i = 0; i < 600; i++) {
        CHECK(za_store_get(s, id[i], &v));
        CHECK_EQ(v.bytes == NULL, i % 2 == 1 && i < 300);
        content(i, buf, 4096);
        CHECK(memcmp(bytes_of(s, &v), buf, 4096) == 0);
    }
    za_tier_close(za_store_tier(s), &ops);
    za_store_free(s);
    CHECK_EQ(mapped_bytes, 0);
}

/* ---- a disk that refuses ---- */

static int refuse, refuse_every;
static uint64_t refused_writes;

static int some_writes(int fd, const void *p, size_t len, uint64_t at)
{
    static int n;

    if (++n % refuse_every == 0) {
        refused_writes++;
        return refuse;
    }
    return za_os_linux->tier_write(fd, p, len, at);
}

UNIT_TEST(a_write_that_fails_changes_nothing)
{
    struct model m = filed_new(6000, 99);

    refuse = -ENOSPC;
    refuse_every = 2;
    table.tier_write = some_writes;
    for (uint64_t i = 0; i < STEPS(30000); i++) {
        model_step(&m, i);
        if (i % 200 == 0) {
            za_store_close(m.s);
            (void)za_store_file(m.s, &all);
            (void)za_store_refile(m.s);
        }
        if (i % 10007 == 0)
            model_check(&m);
    }
    CHECK(refused_writes > STEPS(8));
    model_check(&m);
    model_free(&m);
}

UNIT_TEST(no_memory_for_a_step_changes_nothing)
{
    struct model m = filed_new(6000, 98);

    for (int n = 1; n <= 6; n++) {
        puts_some(&m, 700);
        za_store_close(m.s);
        fail_at = n;
        fail_for = 1;
        (void)za_store_file(m.s, &all);
        fail_at = 0;
        model_check(&m);
    }
    file_everything(&m);
    model_check(&m);
    model_free(&m);
}

static uint64_t bad_from; /* from there to the end of its segment the disk is bad */
static uint64_t bad_reads;

static int some_reads(int fd, void *p, size_t len, uint64_t at)
{
    if (at < bad_from || at >= za_align_down(bad_from, SEGMENT) + SEGMENT)
        return za_os_linux->tier_read(fd, p, len, at);
    bad_reads++;
    return -EIO;
}

/* Of each segment in the file a fifth is left; returns the slot of the first of them. */
static uint32_t thin_out(struct model *m)
{
    struct za_blob_view v;
    uint32_t first = UINT32_MAX;

    for (uint32_t i = m->n; i-- > 0;) {
        CHECK(za_store_get(m->s, m->blob[i].id, &v));
        if (i % 5) {
            za_store_release(m->s, m->blob[i].id, m->blob[i].refs);
            model_forget(m, i);
        } else {
            first = za_min(first, za_place_slot(v.place));
        }
    }
    model_reclaim(m);
    return first;
}

/* It stays, is read once, and the others are won back all the same. */
UNIT_TEST(a_segment_that_cannot_be_read)
{
    struct model m = filed_new(6000, 97);
    int64_t r;

    puts_some(&m, 12000);
    file_everything(&m);
    bad_from = (uint64_t)thin_out(&m) * SEGMENT;
    table.tier_read = some_reads;
    CHECK_EQ(za_store_refile(m.s), -EIO);
    CHECK_EQ(bad_reads, 1);
    model_reclaim(&m);
    while ((r = za_store_refile(m.s)) > 0)
        model_reclaim(&m);
    CHECK_EQ(r, 0);
    CHECK_EQ(bad_reads, 1);
    CHECK(stats(m.s).file_bytes < stats(m.s).file_live_bytes + 2 * SEGMENT);
    bad_from = UINT64_MAX - SEGMENT;
    model_check(&m);
    release_all(&m);
    CHECK_EQ(stats(m.s).file_bytes, 0);
    model_free(&m);
}

/* What had been gathered of it before the bad block does not go: it would be there twice. */
UNIT_TEST(a_segment_of_which_the_end_cannot_be_read)
{
    struct model m = filed_new(6000, 96);

    puts_some(&m, 12000);
    file_everything(&m);
    bad_from = (uint64_t)thin_out(&m) * SEGMENT + SEGMENT / 2;
    table.tier_read = some_reads;
    uint64_t live = stats(m.s).file_live_bytes;
    CHECK_EQ(za_store_refile(m.s), -EIO);
    CHECK_EQ(stats(m.s).file_live_bytes, live);
    while (za_store_refile(m.s) > 0)
        model_reclaim(&m);
    CHECK(za_stat_get(ZA_STAT_FILE_MOVED) > 0);
    bad_from = UINT64_MAX - SEGMENT;
    model_check(&m);
    model_free(&m);
}

UNIT_TEST(file_max_is_a_limit)
{
    struct model m = filed_new(16000, 5);
    int64_t r;

    za_store_tier(m.s)->max_bytes = 3 * SEGMENT;
    puts_some(&m, 3000);
    za_store_close(m.s);
    while ((r = za_store_file(m.s, &all)) > 0)
        ;
    CHECK_EQ(r, -EDQUOT);
    za_store_reclaim(m.s);
    CHECK(stats(m.s).file_bytes <= 3 * SEGMENT && stats(m.s).file_bytes > SEGMENT);
    CHECK(blocks_of(za_store_tier(m.s)) <= 3 * SEGMENT);
    model_check(&m);
    while (stats(m.s).file_blobs)
        release_all(&m);
    puts_some(&m, 200);
    file_everything(&m);
    CHECK_EQ(stats(m.s).file_blobs, m.n);
    model_free(&m);
}

/* Space that has died is won back below the limit, and what waited in memory goes then. */
static void full_and_thinned_out(uint64_t max_bytes)
{
    struct model m = filed_new(6000, 7);
    int64_t r;

    za_store_tier(m.s)->max_bytes = max_bytes;
    puts_some(&m, 12000);
    za_store_close(m.s);
    while ((r = za_store_file(m.s, &all)) > 0)
        ;
    CHECK_EQ(r, -EDQUOT);
    (void)thin_out(&m);
    puts_some(&m, 3000);
    uint64_t before = stats(m.s).file_live_bytes;
    CHECK(before > 0);
    for (unsigned i = 0; i < 64; i++) {
        (void)za_store_file(m.s, &all);
        CHECK(za_store_refile(m.s) >= 0);
        model_reclaim(&m);
        CHECK(blocks_of(za_store_tier(m.s)) <= max_bytes);
    }
    CHECK(stats(m.s).file_live_bytes > 3 * before / 2);
    model_check(&m);
    model_free(&m);
}

UNIT_TEST(a_full_tier_wins_dead_space_back)
{
    full_and_thinned_out(8 * SEGMENT);
    full_and_thinned_out(3 * SEGMENT);
    full_and_thinned_out(SEGMENT);
}

/* The signal is for the thread that writes; ours block it. */
UNIT_TEST(a_limit_on_file_sizes_is_an_error)
{
    struct model m = filed_new(16000, 6);
    struct rlimit limit = {2 * SEGMENT, 2 * SEGMENT};
    sigset_t xfsz;

    sigemptyset(&xfsz);
    sigaddset(&xfsz, SIGXFSZ);
    CHECK_EQ(sigprocmask(SIG_BLOCK, &xfsz, NULL), 0);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    puts_some(&m, 3000);
    za_store_close(m.s);
    int64_t r;
    while ((r = za_store_file(m.s, &all)) > 0)
        ;
    CHECK_EQ(r, -EFBIG);
    model_check(&m);
    model_free(&m);
}

UNIT_TEST(a_directory_that_is_none)
{
    struct za_tier t;

    CHECK_EQ(za_tier_open(&t, "/proc/self/no/such", &ops), -ENOENT);
    CHECK(t.keys == NULL);
    CHECK(za_tier_open(&t, "/proc/self", &ops) < 0);
    CHECK(t.keys == NULL);
    CHECK_EQ(mapped_bytes, 0);
}

/* A path in a directory stands for the directory, and is left alone. */
UNIT_TEST(a_path_in_a_directory)
{
    char path[256];
    struct za_tier t;

    (void)snprintf(path, sizeof(path), "%s/zalloc-no-such-file", directory());
    CHECK_EQ(za_tier_open(&t, path, &ops), 0);
    CHECK_EQ(access(path, F_OK), -1);
    za_tier_close(&t, &ops);
}

/* ---- lent to children ---- */

static void socks_new(int socks[2])
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
}

static pid_t child_of(struct model *m, int rounds)
{
    int socks[2];

    socks_new(socks);
    za_store_tier(m->s)->lent = 0;
    CHECK(za_tier_lend(za_store_tier(m->s), socks[0]));
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        for (unsigned i = 0; i < ZA_TIER_FILES; i++) /* numbers that must mean nothing here */
            if (za_store_tier(m->s)->file[i].fd >= 0)
                close(za_store_tier(m->s)->file[i].fd);
        close(za_store_tier(m->s)->dir);
        CHECK(za_tier_borrow(za_store_tier(m->s), socks[1]));
        close(socks[0]);
        close(socks[1]);
        for (int i = 0; i < rounds; i++) {
            model_check(m);
            for (uint64_t j = 0; j < 2000; j++)
                model_step(m, j);
            file_everything(m);
            CHECK(za_store_refile(m->s) >= 0);
        }
        model_check(m);
        _exit(0);
    }
    close(socks[0]);
    close(socks[1]);
    return pid;
}

static void reap(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

UNIT_TEST(a_child_reads_while_its_parent_goes_on)
{
    struct model m = filed_new(6000, 31);
    pid_t pid[3];

    puts_some(&m, 4000);
    for (int i = 0; i < 3; i++) {
        file_everything(&m);
        pid[i] = child_of(&m, 5);
        for (uint64_t j = 0; j < 3000; j++)
            model_step(&m, j);
        file_everything(&m);
        CHECK(za_store_refile(m.s) >= 0);
        model_check(&m);
    }
    for (int i = 0; i < 3; i++)
        reap(pid[i]);
    model_check(&m);
    release_all(&m);
    CHECK_EQ(blocks_of(za_store_tier(m.s)), 0); /* seals are broken, and what they kept is gone */
    model_free(&m);
}

static unsigned files_of(const struct za_tier *t)
{
    unsigned n = 0;

    for (unsigned i = 0; i < ZA_TIER_FILES; i++)
        n += t->file[i].used;
    return n;
}

UNIT_TEST(a_sealed_file_is_not_written_until_the_seal_breaks)
{
    struct model m = filed_new(6000, 32);
    struct za_tier *t = za_store_tier(m.s);
    int socks[2];

    puts_some(&m, 1000);
    file_everything(&m);
    socks_new(socks);
    CHECK(za_tier_lend(t, socks[0]));
    CHECK_EQ(t->lent, 2);
    puts_some(&m, 500);
    file_everything(&m);
    CHECK_EQ(files_of(t), 2);
    release_all(&m); /* nothing of the first file is needed here any more: it is closed */
    CHECK_EQ(files_of(t), 1);
    CHECK_EQ(blocks_of(t), 0);
    puts_some(&m, 8000);
    file_everything(&m);
    uint64_t sealed = blocks_of(t);
    CHECK(za_tier_lend(t, socks[0]));
    while (m.n > 10)
        model_release(&m);
    model_reclaim(&m);
    za_store_reclaim(m.s);
    CHECK_EQ(blocks_of(t), sealed); /* somebody may be reading it all */
    close(socks[0]);
    close(socks[1]);
    CHECK(za_store_refile(m.s) > 0);
    model_reclaim(&m);
    CHECK_EQ(files_of(t), 1);
    CHECK(blocks_of(t) < sealed / 8);
    model_check(&m);
    model_free(&m);
}

/* A process that forks again and again, with children that stay, comes to an end of files. */
UNIT_TEST(children_that_stay)
{
    struct model m = filed_new(6000, 33);
    struct za_tier *t = za_store_tier(m.s);
    int socks[32][2];
    int64_t r = 0;

    for (int i = 0; i < 32; i++) {
        puts_some(&m, 100);
        za_store_close(m.s);
        while ((r = za_store_file(m.s, &all)) > 0)
            ;
        CHECK(r == 0 || r == -EMFILE);
        r = za_store_refile(m.s);
        CHECK(r >= 0 || r == -EMFILE);
        za_store_reclaim(m.s);
        CHECK(files_of(t) <= ZA_TIER_FILES);
        model_check(&m);
        socks_new(socks[i]);
        CHECK(za_tier_lend(t, socks[i][0]));
    }
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_MOVED) > 0, true);
    for (int i = 0; i < 32; i++) {
        close(socks[i][0]);
        close(socks[i][1]);
    }
    file_everything(&m);
    CHECK_EQ(stats(m.s).file_blobs, m.n);
    model_check(&m);
    model_free(&m);
}

/* Without /proc the file itself is lent, and the seal is for good. */
static int no_lending(int fd)
{
    (void)fd;
    return -ENOENT;
}

UNIT_TEST(a_seal_for_good)
{
    struct model m = filed_new(6000, 34);
    struct za_tier *t = za_store_tier(m.s);

    table.tier_lend = no_lending;
    puts_some(&m, 500);
    file_everything(&m);
    reap(child_of(&m, 2));
    puts_some(&m, 500);
    file_everything(&m);
    CHECK_EQ(files_of(t), 2);
    model_check(&m);
    model_free(&m);
}

UNIT_TEST(new_threads_take_descriptors_along)
{
    struct model m = filed_new(6000, 35);
    struct za_tier *t = za_store_tier(m.s);
    int socks[2], fds[ZA_TIER_FILES + 1];

    puts_some(&m, 500);
    file_everything(&m);
    socks_new(socks);
    CHECK(za_tier_send(t, socks[0]));
    CHECK(za_tier_receive(t, socks[1], fds));
    int old = t->file[0].fd;
    za_tier_adopt(t, fds);
    CHECK(t->file[0].fd != old);
    close(old);
    model_check(&m);
    puts_some(&m, 500);
    file_everything(&m);
    CHECK_EQ(files_of(t), 1);
    model_check(&m);
    model_free(&m);
}
