/* SPDX-License-Identifier: MIT */
/*
 * pager_file -- pages in the file tier: out, back, through forks of every kind, and what happens
 * when the disk is full, the file is damaged, or there is none.
 *
 * Over 600 lines because every part stands on the same start: pages of which it is known where they are.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/conf.h"
#include "compress/segment.h"
#include "compress/tier.h"
#include "os/os.h"
#include "os/sys.h"
#include "pager/dense.h"
#include "pager/filing.h"
#include "pager/private.h"
#include "tests/fake/failing.h"
#include "tests/fake/region.h"
#include "tests/unit/unit.h"

#define PAGES (za_min(40 * REGION_UNIT, 2048))
#define FAILING_WORKS (REGION_PAGE == 4096) /* larger pages have a table of their own */

static void use(const char *path)
{
    strcpy(za_conf.file, path);
}

static const char *directory(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

/* Everything is in the file. */
static void start(void)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    use(directory());
    region_start(ZA_CHUNK_SIZE);
    region_fill(0, PAGES, 1);
    CHECK_EQ(za_pager_file_all(), 0);
    za_pager_stats();
}

static void all_filed(void)
{
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_STORED), PAGES);
    CHECK(za_stat_get(ZA_STAT_FILE_BLOBS) > 0);
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_BLOBS), za_stat_get(ZA_STAT_ST_BLOBS));
    CHECK(za_stat_get(ZA_STAT_FOOT_FILE) > 0);
    CHECK(za_pg.store && za_filing_needed());
}

static void reap(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

UNIT_TEST(out_and_back)
{
    start();
    all_filed();
    CHECK(region_holds(0, PAGES, 1));
    CHECK(za_stat_get(ZA_STAT_FILE_READS) > 0);
    CHECK(za_stat_get(ZA_STAT_FILE_AROUND) > za_stat_get(ZA_STAT_FILE_READS));
    region_check();
    CHECK_EQ(za_pager_file_all(), 0);
    za_pager_stats();
    all_filed();
    CHECK_EQ(za_pager_thaw(), 0);
    region_check();
    za_pager_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_BLOBS), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_FOOT_FILE), 0);
    CHECK(region_holds(0, PAGES, 1));
}

UNIT_TEST(what_dies_leaves_the_file)
{
    start();
    uint64_t before = za_stat_get(ZA_STAT_FOOT_FILE);
    CHECK_EQ(za_pager_discard((uintptr_t)region_at(0), PAGES / 2 * REGION_PAGE), 0);
    region_check();
    CHECK(region_zero(0, PAGES / 2));
    CHECK(region_holds(PAGES / 2, PAGES - PAGES / 2, 1));
    CHECK_EQ(za_pager_thaw(), 0);
    region_check();
    za_pager_stats();
    CHECK(before > 0);
    CHECK_EQ(za_stat_get(ZA_STAT_FOOT_FILE), 0);
}

/* ---- forks ---- */

static void child_life(void)
{
    CHECK(region_holds(0, PAGES, 1));
    CHECK_EQ(za_pager_file_all(), 0);
    CHECK(region_holds(0, PAGES, 1));
    region_fill(0, PAGES / 2, 3);
    CHECK_EQ(za_pager_file_all(), 0);
    CHECK(region_holds(0, PAGES / 2, 3));
    CHECK(region_holds(PAGES / 2, PAGES - PAGES / 2, 1));
}

static pid_t fork_child(void)
{
    pid_t pid = region_fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        child_life();
        _exit(0);
    }
    return pid;
}

static void forks(void)
{
    pid_t pid = fork_child();
    for (uint32_t stamp = 2; stamp < 5; stamp++) {
        CHECK_EQ(za_pager_file_all(), 0);
        region_fill(0, PAGES / 3, stamp);
        CHECK_EQ(za_pager_file_all(), 0);
        CHECK(region_holds(0, PAGES / 3, stamp));
        CHECK(region_holds(PAGES / 3, PAGES - PAGES / 3, 1));
    }
    reap(pid);
    region_fill(0, PAGES, 1);
    CHECK_EQ(za_pager_file_all(), 0);
    reap(fork_child());
    CHECK(region_holds(0, PAGES, 1));
    region_check();
}

static void start_forking(void)
{
    if (region_forks_confuse())
        UNIT_SKIP("ThreadSanitizer cannot follow a fork of several threads");
    start();
    all_filed();
}

UNIT_TEST(a_child_takes_the_files_over)
{
    start_forking();
    uint64_t thawed = za_stat_get(ZA_STAT_FORKS_THAWED);
    forks();
    CHECK_EQ(za_stat_get(ZA_STAT_FORKS_THAWED), thawed);
}

UNIT_TEST(grandchildren)
{
    start_forking();
    pid_t pid = region_fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        pid_t grandchild = fork_child();
        CHECK(region_holds(0, PAGES, 1));
        reap(grandchild);
        CHECK_EQ(za_pager_file_all(), 0);
        reap(fork_child());
        _exit(0);
    }
    region_fill(0, PAGES, 9); /* what it had is not needed here: the file is closed, or sealed */
    CHECK_EQ(za_pager_file_all(), 0);
    reap(pid);
    CHECK(region_holds(0, PAGES, 9));
}

UNIT_TEST(the_parent_exits_first)
{
    int end[2];
    char byte = 0;

    start_forking();
    CHECK_EQ(pipe(end), 0);
    pid_t pid = region_fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        pid_t orphan = region_fork();
        if (orphan > 0)
            _exit(0);
        while (getppid() != 1 && byte++ < 100)
            region_sleep_ms(1);
        child_life();
        CHECK_EQ(write(end[1], "v", 1), 1);
        _exit(0);
    }
    close(end[1]);
    reap(pid);
    CHECK_EQ(read(end[0], &byte, 1), 1);
    CHECK_EQ(byte, 'v');
}

/* Without a socket the parent gives the child everything (FILL), or, unannounced, thaws. */
UNIT_TEST(forks_without_a_socket)
{
    if (!FAILING_WORKS)
        UNIT_SKIP("calls cannot be made to fail under larger pages");
    failing_start();
    start_forking();
    failing_arm(FAILING_socketpair, 1, true, EMFILE);
    forks();
}

UNIT_TEST(descriptors_that_cannot_be_sent)
{
    if (!FAILING_WORKS || region_refused() || region_forks_confuse())
        UNIT_SKIP("calls cannot be made to fail here, or forks are not followed");
    for (unsigned k = 1; k <= 3; k++) {
        pid_t pid = fork();
        if (pid == 0) {
            failing_start();
            start_forking();
            failing_arm(FAILING_send_file, k, false, EAGAIN);
            forks();
            _exit(0);
        }
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
}

static uint64_t fetched(void)
{
    return za_stat_get(ZA_STAT_FILE_READS) + za_stat_get(ZA_STAT_FILE_AROUND);
}

/* A blob is unpacked once for all pages of it. */
UNIT_TEST(a_bare_child_is_filled_blob_by_blob)
{
    start_forking();
    if (!za_pg.caps.event_fork)
        UNIT_SKIP("children are not announced here");
    uint64_t before = fetched();
    pid_t pid = region_fork_bare();
    if (pid == 0)
        _exit(!region_holds(0, PAGES, 1));
    reap(pid);
    CHECK_EQ(fetched() - before, za_stat_get(ZA_STAT_FILE_BLOBS));
}

UNIT_TEST(bare_forks)
{
    start_forking();
    for (int i = 0; i < 3; i++) {
        pid_t pid = region_fork_bare();
        if (pid == 0)
            _exit(!region_holds(0, PAGES, 1));
        reap(pid);
        CHECK_EQ(za_pager_file_all(), 0);
    }
}

/*
 * What F has read last is of a file of the parent's; the child's own begins with the same number of
 * a write.
 */
UNIT_TEST(a_bare_child_reads_what_it_filed_itself)
{
    start_forking();
    CHECK(region_holds(0, REGION_UNIT, 1));
    pid_t pid = region_fork_bare();
    if (pid == 0) {
        (void)za_pager_file_all(); /* finds out, and begins anew */
        region_fill(0, PAGES, 3);
        CHECK_EQ(za_pager_file_all(), 0);
        CHECK_EQ(region_present(0, PAGES), 0);
        CHECK(region_holds(0, PAGES, 3));
        _exit(0);
    }
    reap(pid);
    CHECK(region_holds(0, PAGES, 1));
}

/* ---- the same where the kernel announces no children ---- */

static void give_up_ptrace(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};

    CHECK_EQ(syscall(SYS_capget, &head, caps), 0);
    caps[0].effective &= ~(1u << CAP_SYS_PTRACE);
    caps[0].permitted &= ~(1u << CAP_SYS_PTRACE);
    caps[0].inheritable = 0;
    CHECK_EQ(syscall(SYS_capset, &head, caps), 0);
}

UNIT_TEST(a_child_that_opens_its_own_userfaultfd)
{
    give_up_ptrace();
    start_forking();
    if (za_pg.caps.event_fork)
        UNIT_SKIP("children are announced all the same");
    forks();
    CHECK_EQ(za_stat_get(ZA_STAT_FORKS_THAWED), 0);
}

static void bare_child(enum za_fork_way way)
{
    pid_t pid = region_fork_bare();
    if (pid == 0) {
        za_pager_postbare_child(way);
        _exit(!region_holds(0, PAGES, 1));
    }
    za_pager_postbare_parent(way);
    reap(pid);
    CHECK(region_holds(0, PAGES, 1));
}

UNIT_TEST(a_bare_child_that_nobody_announces)
{
    give_up_ptrace();
    start_forking();
    if (za_pg.caps.event_fork)
        UNIT_SKIP("children are announced all the same");
    enum za_fork_way way = za_pager_prebare(true);
    CHECK_EQ(way, ZA_FORK_THAW);
    bare_child(way);
}

/* What a child before it was lent is not this one's to wait for. */
UNIT_TEST(a_bare_child_after_one_with_handlers)
{
    give_up_ptrace();
    start_forking();
    if (za_pg.caps.event_fork)
        UNIT_SKIP("children are announced all the same");
    reap(fork_child());
    CHECK_EQ(za_pager_thaw(), 0);
    region_check(); /* and all of it has left the file */
    CHECK_EQ(za_pager_evict_all(), 0);
    CHECK(!za_filing_needed());
    enum za_fork_way way = za_pager_prebare(true);
    CHECK_EQ(way, ZA_FORK_REOPEN);
    bare_child(way);
}

/* ---- max_store ---- */

/* Noise that just about compresses, so that it fills the store. */
static void fill_heavy(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        region_fill_random(i, 1);
        memset(region_at(i) + REGION_PAGE / 2, 0, REGION_PAGE / 2);
    }
}

#define HEAVY (8 * ZA_MIB / REGION_PAGE)

static void start_bounded(bool file)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    if (file)
        use(directory());
    za_conf.max_store = 2 * ZA_MIB;
    region_start(ZA_CHUNK_SIZE);
    fill_heavy(HEAVY);
    CHECK_EQ(za_pager_evict_all(), 0);
    za_pager_stats();
}

static bool heavy_holds(void)
{
    for (size_t i = 0; i < HEAVY; i++) {
        char was[REGION_PAGE];
        memcpy(was, region_at(i), REGION_PAGE);
        region_fill_random(i, 1);
        if (memcmp(was, region_at(i), REGION_PAGE / 2) != 0)
            return false;
    }
    return true;
}

UNIT_TEST(beyond_max_store_nothing_is_packed)
{
    start_bounded(false);
    CHECK(za_stat_get(ZA_STAT_PG_REFUSED_FULL) > 0);
    CHECK(za_stat_get(ZA_STAT_ST_MAPPED) <= 3 * ZA_MIB);
    CHECK(za_stat_get(ZA_STAT_ST_HELD) <= 2 * ZA_MIB);
    CHECK(za_stat_get(ZA_STAT_ST_LIVE) > 2 * ZA_MIB * 7 / 8); /* what is allowed is used */
    CHECK(region_present(0, HEAVY) > HEAVY / 4);
    CHECK(za_stat_get(ZA_STAT_PG_STORED) > 0);
    CHECK(heavy_holds());
}

UNIT_TEST(beyond_max_store_blobs_go_to_the_file)
{
    start_bounded(true);
    CHECK(za_stat_get(ZA_STAT_ST_MAPPED) <= 3 * ZA_MIB);
    CHECK(za_stat_get(ZA_STAT_FOOT_FILE) > ZA_MIB);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_REFUSED_FULL), 0);
    CHECK_EQ(region_present(0, HEAVY), 0);
    CHECK(heavy_holds());
}

/*
 * The file is full, and the store too.  What dies in the file makes room there, though there is
 * always something that has just been refused.
 */
UNIT_TEST(what_dies_in_a_full_file_makes_room)
{
    za_conf.file_max = 3 * ZA_MIB;
    start_bounded(true);
    CHECK(za_stat_get(ZA_STAT_PG_REFUSED_FULL) > 0);
    CHECK(za_stat_get(ZA_STAT_FILE_FULL) > 0);
    uint64_t before = za_stat_get(ZA_STAT_PG_STORED);
    for (size_t i = 0; i < HEAVY; i++)
        if (i / ZA_CLUSTER_PAGES % 4)
            region_fill(i, 1, 1);
    for (unsigned i = 0; i < 100 && (region_present(0, HEAVY) || !za_stat_get(ZA_STAT_FILE_MOVED));
         i++) {
        CHECK_EQ(za_pager_evict_all(), 0);
        za_pager_stats();
        region_sleep_ms(50);
    }
    CHECK_EQ(region_present(0, HEAVY), 0);
    CHECK(za_stat_get(ZA_STAT_FILE_MOVED) > 0);
    CHECK(za_stat_get(ZA_STAT_PG_STORED) > before);
    for (size_t i = 0; i < HEAVY; i++)
        if (i / ZA_CLUSTER_PAGES % 4)
            CHECK(region_holds(i, 1, 1));
    region_check();
}

static struct za_os counting;
static uint64_t mapped;      /* bytes of segments, on the worker */
static uint64_t most_mapped; /* atomic */

static int map_counted(void **out, size_t len)
{
    if (len == ZA_SEGMENT_BYTES)
        mapped += len;
    if (mapped > __atomic_load_n(&most_mapped, __ATOMIC_RELAXED))
        __atomic_store_n(&most_mapped, mapped, __ATOMIC_RELAXED);
    return za_os_linux->map(out, len);
}

static int unmap_counted(void *p, size_t len)
{
    if (len == ZA_SEGMENT_BYTES)
        mapped -= len;
    return za_os_linux->unmap(p, len);
}

#define LETTERS (2 * ZA_CHUNK_SIZE)

/* Half of each page is random letters, of which zstd makes half, and LZ4 nothing. */
static void fill_letters(void)
{
    uint64_t x = 1;
    for (size_t i = 0; i < LETTERS; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        region_at(0)[i] = i % REGION_PAGE < REGION_PAGE / 2 ? (char)('a' + (x >> 60)) : 0;
    }
}

static uint64_t letters_sum(void)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < LETTERS; i++)
        sum = sum * 31 + (unsigned char)region_at(0)[i];
    return sum;
}

/* The whole store is packed again in one go, and never is there much more than the bound. */
UNIT_TEST(packing_densely_stays_below_max_store)
{
    if (region_refused() || REGION_PAGE != 4096)
        UNIT_SKIP("userfaultfd is refused here, or the system's calls are another test's");
    za_dense_least = ZA_MIB;
    za_conf.max_store = 10 * ZA_MIB;
    region_start(LETTERS);
    counting = *za_os;
    counting.map = map_counted;
    counting.unmap = unmap_counted;
    za_os = &counting;
    fill_letters();
    uint64_t sum = letters_sum();
    CHECK_EQ(za_pager_evict_all(), 0);
    za_pager_stats();
    CHECK(za_stat_get(ZA_STAT_ST_MAPPED) >= 8 * ZA_MIB);
    CHECK_EQ(za_pager_dense_all(), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_PG_DENSE), LETTERS / REGION_PAGE);
    CHECK(__atomic_load_n(&most_mapped, __ATOMIC_RELAXED) <= za_conf.max_store + 2 * ZA_MIB);
    CHECK_EQ(letters_sum(), sum);
    region_check();
}

/* ---- what fails ---- */

UNIT_TEST(a_full_disk)
{
    if (region_refused() || !FAILING_WORKS)
        UNIT_SKIP("userfaultfd is refused here, or pages are larger");
    failing_start();
    failing_arm(FAILING_tier_write, 1, true, ENOSPC);
    start();
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_BLOBS), 0);
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_FULL), 1); /* and not tried again at once */
    CHECK(region_holds(0, PAGES, 1));
    failing_disarm();
    CHECK_EQ(za_pager_file_all(), 0);
    za_pager_stats();
    all_filed();
    CHECK(region_holds(0, PAGES, 1));
}

/* A disk of the test's own, seen by nobody else; NULL: not allowed. */
static const char *small_disk(const char *size)
{
    static char dir[] = "/tmp/zalloc-disk.XXXXXX";

    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        !mkdtemp(dir))
        return NULL;
    int r = mount("zalloc", dir, "tmpfs", 0, size);
    if (r != 0)
        CHECK_EQ(rmdir(dir), 0);
    return r == 0 ? dir : NULL;
}

/* In earnest, what the test above has by way of a call that fails: and then there is room again. */
UNIT_TEST(a_disk_that_fills_up)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    const char *disk = small_disk("size=2m");
    if (!disk)
        UNIT_SKIP("no file system can be mounted here");
    use(disk);
    region_start(ZA_CHUNK_SIZE);
    fill_heavy(HEAVY);
    char *was = malloc(HEAVY * REGION_PAGE);
    memcpy(was, region_at(0), HEAVY * REGION_PAGE);
    CHECK_EQ(za_pager_file_all(), 0);
    za_pager_stats();
    CHECK(za_stat_get(ZA_STAT_FILE_FULL) > 0);
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_FAILED), 0);
    CHECK(za_stat_get(ZA_STAT_FILE_BLOBS) > 0);
    CHECK(za_stat_get(ZA_STAT_FILE_BLOBS) < za_stat_get(ZA_STAT_ST_BLOBS));
    CHECK(za_stat_get(ZA_STAT_FOOT_FILE) <= 2 * ZA_MIB);
    CHECK_EQ(region_present(0, HEAVY), 0);
    CHECK(memcmp(was, region_at(0), HEAVY * REGION_PAGE) == 0);
    CHECK_EQ(mount("zalloc", disk, "tmpfs", MS_REMOUNT, "size=64m"), 0);
    CHECK_EQ(za_pager_file_all(), 0);
    za_pager_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_BLOBS), za_stat_get(ZA_STAT_ST_BLOBS));
    CHECK_EQ(region_present(0, HEAVY), 0);
    CHECK(memcmp(was, region_at(0), HEAVY * REGION_PAGE) == 0);
    region_check();
    free(was);
    CHECK_EQ(umount2(disk, MNT_DETACH), 0);
    CHECK_EQ(rmdir(disk), 0);
}

/* The file has no name that anybody could delete, and what is open stays. */
UNIT_TEST(a_directory_removed_from_outside)
{
    char dir[] = "/tmp/zalloc-dir.XXXXXX";

    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    CHECK(mkdtemp(dir) != NULL);
    use(dir);
    region_start(ZA_CHUNK_SIZE);
    region_fill(0, PAGES, 1);
    CHECK_EQ(za_pager_file_all(), 0);
    CHECK_EQ(rmdir(dir), 0);
    za_pager_stats();
    all_filed();
    CHECK(region_holds(0, PAGES, 1));
    CHECK_EQ(za_pager_file_all(), 0);
    za_pager_stats();
    all_filed();
    CHECK(region_holds(0, PAGES, 1));
}

UNIT_TEST(no_such_directory)
{
    if (region_refused())
        UNIT_SKIP("userfaultfd is refused here");
    use("/no/such/directory");
    region_start(ZA_CHUNK_SIZE);
    region_fill(0, PAGES, 1);
    CHECK_EQ(za_pager_file_all(), 0);
    za_pager_stats();
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_OFF), 1);
    CHECK_EQ(za_stat_get(ZA_STAT_FILE_BLOBS), 0);
    CHECK_EQ(region_present(0, PAGES), 0);
    CHECK(region_holds(0, PAGES, 1));
}

static int filed_fd(void)
{
    return za_store_tier(za_pg.store)->file[0].fd;
}

static void cut_short(size_t arg)
{
    (void)arg;
    CHECK_EQ(za_sys2(SYS_ftruncate, filed_fd(), ZA_MIB), 0);
}

UNIT_DIES(a_file_cut_short,
          "zalloc: a page cannot be read back from the file tier: its file is cut "
          "short, or its disk fails; stopping before wrong data is seen")
{
    start();
    region_on_worker(cut_short, 0);
    (void)region_holds(0, PAGES, 1);
}

static void spoil(size_t arg)
{
    static char noise[ZA_MIB] __attribute__((aligned(4096)));
    (void)arg;
    memset(noise, 0x55, sizeof(noise));
    for (uint64_t slot = 1; slot < 16; slot++)
        CHECK_EQ(za_os_linux->tier_write(filed_fd(), noise, sizeof(noise), slot * ZA_MIB), 0);
}

UNIT_DIES(a_file_that_was_changed,
          "zalloc: a page in the file tier fails its checksum: its file was "
          "changed; stopping before wrong data is seen")
{
    start();
    region_on_worker(spoil, 0);
    (void)region_holds(0, PAGES, 1);
}
