/* SPDX-License-Identifier: MIT */
/*
 * footprint -- the library's own account of its memory against the kernel's, at several moments.
 *
 * usage: footprint plain            prints the KiB of anonymous memory of this program without the
 *                                   library, and of no heap: what is not the library's
 *        LD_PRELOAD=... footprint KIB      the test; KIB as printed by the plain run
 *
 * METHOD
 * The library's memory is anonymous and unnamed in /proc/self/smaps: no file, no [heap], no
 * [stack].  So is a little that belongs to the loader, libc and this program (thread blocks, zeroed
 * data): that much the plain run weighs, and it is subtracted.  What stays on the library's side
 * without being in footprint.total are its zeroed static data and the stacks of its two threads,
 * 0.3 MiB together; the tolerance of 2 % has to hold with them in it.  Pss equals Rss here: nothing
 * is shared, no child lives.
 *
 * cold_ms is a day and nothing is packed again by itself (the runner sees to that), so that only
 * orders move pages, and freed memory is trimmed before it is weighed.  The two figures are taken at
 * a moment at which the library's own is the same before and after.
 *
 * Last line: N passed, N failed.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define KIB 1024ul
#define MIB (1024ul * KIB)
#define TEXT_BLOCKS 100000u /* 160 MiB of text that compresses */
#define TEXT_BYTES 1600u
#define NOISE_BLOCKS 640u /* 40 MiB of noise that does not */
#define NOISE_BYTES (64 * KIB)
#define ZEROS (1024 * MIB)
#define TOLERANCE 0.02

typedef int ctl_fn(const char *, void *, size_t *, const void *, size_t);

static ctl_fn *ctl;
static int passed, failed;
static char *text[TEXT_BLOCKS], *noise[NOISE_BLOCKS];

static uint64_t next(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    return x ^= x << 17;
}

static void expect(int good, const char *when, const char *what)
{
    if (good) {
        passed++;
        return;
    }
    failed++;
    printf("FAILED %s: %s\n", when, what);
}

static void order(const char *name)
{
    int rc = ctl(name, NULL, NULL, NULL, 0);
    if (rc == 0)
        return;
    printf("FAILED %s: error %d\n0 passed, 1 failed\n", name, rc);
    exit(1);
}

static uint64_t stat_of(const char *name)
{
    char full[64];
    uint64_t v = 0;
    size_t len = sizeof(v);
    (void)snprintf(full, sizeof(full), "stats.%s", name);
    if (ctl(full, &v, &len, NULL, 0) != 0) {
        printf("FAILED %s: no such statistic\n0 passed, 1 failed\n", full);
        exit(1);
    }
    return v;
}

/* ---- the kernel's account -------------------------------------------------------------------- */

/* A line without allocating: stdio would change what it measures. False at the end. */
static int line_of(int fd, char *out, size_t cap)
{
    static char buf[4096];
    static ssize_t have, at;
    size_t n = 0;
    for (;;) {
        if (at == have) {
            have = read(fd, buf, sizeof(buf));
            at = 0;
            if (have <= 0) {
                have = 0;
                return 0;
            }
        }
        char c = buf[at++];
        if (c == '\n')
            break;
        if (n + 1 < cap)
            out[n++] = c;
    }
    out[n] = '\0';
    return 1;
}

/* "start-end perms offset dev inode   name": unnamed and without a file; -1: no such line. */
static int is_anonymous(const char *line)
{
    unsigned long from, to, inode;
    int end = 0;
    if (sscanf(line, "%lx-%lx %*s %*s %*s %lu%n", &from, &to, &inode, &end) != 3)
        return -1;
    return inode == 0 && line[end + (int)strspn(line + end, " ")] == '\0';
}

static uint64_t kernel_kib(void)
{
    char line[512];
    int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC), ours = 0;
    uint64_t sum = 0;
    if (fd < 0)
        return 0;
    while (line_of(fd, line, sizeof(line))) {
        int kind = is_anonymous(line);
        if (kind >= 0)
            ours = kind;
        else if (ours && strncmp(line, "Pss:", 4) == 0)
            sum += strtoull(line + 4, NULL, 10);
    }
    (void)close(fd);
    return sum;
}

/* ---- the comparison -------------------------------------------------------------------------- */

static void sums_add_up(const char *when)
{
    expect(stat_of("footprint.total") == stat_of("footprint.heap") + stat_of("footprint.limbo") +
                                             stat_of("footprint.store") + stat_of("footprint.meta"),
           when, "total = heap + limbo + store + meta");
    expect(stat_of("footprint.records") <= stat_of("footprint.meta"), when, "records <= meta");
    expect(stat_of("footprint.records") >= stat_of("pager.stored") * 8, when,
           "8 bytes of record for each page stored");
    expect(stat_of("pager.packed") >= stat_of("pager.stored"), when, "packed >= stored");
    expect(stat_of("pager.packed") ==
               stat_of("pager.stored") + stat_of("pager.restored") + stat_of("pager.discarded"),
           when, "packed = stored + restored + discarded");
    expect(stat_of("pager.restored") >= stat_of("pager.around"), when, "restored >= around");
    expect(stat_of("pager.probed") >= stat_of("pager.packed"), when, "probed >= packed");
    uint64_t held = stat_of("store.held_bytes");
    expect(stat_of("store.mapped_bytes") >= held, when, "mapped >= held");
    expect(held + stat_of("file.live_bytes") >= stat_of("store.live_bytes"), when, "held >= live");
    expect(stat_of("store.live_bytes") >= stat_of("store.blob_bytes") + 12 * stat_of("store.blobs"),
           when, "live >= blobs with 12 bytes of header each");
    expect(stat_of("store.raw_bytes") >= stat_of("pager.stored") * 4 * KIB, when,
           "raw_bytes >= stored pages");
    expect(stat_of("heap.active") >= stat_of("heap.allocated"), when, "active >= allocated");
    expect(stat_of("heap.committed") >= stat_of("heap.active") + stat_of("heap.dirty"), when,
           "committed >= active + dirty");
    expect(stat_of("heap.committed") >= stat_of("footprint.heap"), when, "committed >= resident");
}

/*
 * The kernel's figure at a moment when the library's stands still:
 * the worker gives emptied store segments back up to a second after the last reader.
 */
static uint64_t quiet_kib(void)
{
    for (;;) {
        order("stats.refresh");
        uint64_t before = stat_of("footprint.total"), kib = kernel_kib();
        order("stats.refresh");
        if (stat_of("footprint.total") == before)
            return kib;
        (void)usleep(100000);
    }
}

static void weigh(const char *when, uint64_t base_kib)
{
    double kernel = (double)(quiet_kib() - base_kib) * KIB;
    double own = (double)stat_of("footprint.total");
    double off = (own - kernel) / kernel;
    printf("%-28s own %7.2f MiB (heap %.2f limbo %.2f store %.2f meta %.2f)  kernel %7.2f MiB  "
           "%+.2f %%\n",
           when, own / MIB, (double)stat_of("footprint.heap") / MIB,
           (double)stat_of("footprint.limbo") / MIB, (double)stat_of("footprint.store") / MIB,
           (double)stat_of("footprint.meta") / MIB, kernel / MIB, 100 * off);
    expect(off < TOLERANCE && off > -TOLERANCE, when, "own and kernel's figures within 2 %");
    sums_add_up(when);
}

/* ---- the load -------------------------------------------------------------------------------- */

/* Words drawn from a small vocabulary: about what text and JSON do under LZ4. */
static void write_text(char *p, size_t len)
{
    static const char *const words[] = {"the ",    "package ", "depends ", "\"version\":", "lib",
                                        "and ",    "of ",      "source\n", "memory ",      "0x",
                                        "which\t", "page ",    "returns ", "when ",        "{ "};
    for (size_t at = 0; at < len;) {
        uint64_t r = next();
        const char *w = words[r % (sizeof(words) / sizeof(words[0]))];
        while (*w && at < len)
            p[at++] = *w++;
        if (r >> 60 == 0 && at < len)
            p[at++] = (char)(r >> 32);
    }
}

static void fill(void)
{
    for (unsigned i = 0; i < TEXT_BLOCKS; i++) {
        text[i] = malloc(TEXT_BYTES);
        if (!text[i])
            abort();
        write_text(text[i], TEXT_BYTES);
    }
    for (unsigned i = 0; i < NOISE_BLOCKS; i++) {
        noise[i] = malloc(NOISE_BYTES);
        if (!noise[i])
            abort();
        for (size_t at = 0; at < NOISE_BYTES; at += sizeof(uint64_t))
            *(uint64_t *)(void *)(noise[i] + at) = next();
    }
}

/* A run of neighbours and a random sprinkling: whole dead pages and dead bytes on live ones. */
static void free_some(void)
{
    for (unsigned i = 0; i < TEXT_BLOCKS; i++) {
        if (i > TEXT_BLOCKS / 4 && next() % 2)
            continue;
        free(text[i]);
        text[i] = NULL;
    }
    for (unsigned i = 0; i < NOISE_BLOCKS; i += 2) {
        free(noise[i]);
        noise[i] = NULL;
    }
    (void)malloc_trim(0);
}

static void read_some(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < TEXT_BLOCKS; i += 2)
        if (text[i])
            sum += (unsigned char)text[i][0] + (unsigned char)text[i][TEXT_BYTES - 1];
    __asm__ volatile("" : : "r"(sum));
}

/* ---- zeros ----------------------------------------------------------------------------------- */

/* Which pages are its zero page the kernel tells from 6.7 on; before, the library counts them. */
static int zeros_are_told(void)
{
    struct utsname u;
    unsigned major = 0, minor = 0;
    return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 7));
}

/* A GiB that nobody has written, read page by page: its faults are ours, and cost no memory. */
static void read_zeros(uint64_t base)
{
    const char *zeros = calloc(1, ZEROS);
    uint64_t before, after, faults;
    int sum = 0;
    if (!zeros)
        abort();
    order("pager.evict"); /* from now on its pages are the library's to fill */
    before = quiet_kib();
    faults = stat_of("pager.faults");
    for (size_t at = 0; at < ZEROS; at += 4 * KIB)
        sum |= zeros[at];
    after = quiet_kib();
    expect(sum == 0, "a GiB of zeros read", "all of it is zero");
    expect(stat_of("pager.faults") - faults >= ZEROS / (64 * KIB), "a GiB of zeros read",
           "the library has filled it");
    expect(after < before + ZEROS / KIB / 100, "a GiB of zeros read", "it takes no memory");
    printf("%-28s kernel %+.2f MiB\n", "a GiB of zeros read",
           ((double)after - (double)before) / KIB);
    if (zeros_are_told())
        weigh("with the GiB of zeros", base);
    free((void *)(uintptr_t)zeros);
}

int main(int argc, char **argv)
{
    static char out[8192];
    (void)setvbuf(stdout, out, _IOLBF, sizeof(out));
    if (argc != 2)
        return 2;
    if (strcmp(argv[1], "plain") == 0) {
        (void)kernel_kib(); /* what reading touches is touched */
        printf("%llu\n", (unsigned long long)kernel_kib());
        return 0;
    }
    uint64_t base = strtoull(argv[1], NULL, 10);
    ctl = (ctl_fn *)dlsym(RTLD_DEFAULT, "zallctl");
    if (!ctl) {
        printf("the library is not loaded\n0 passed, 1 failed\n");
        return 1;
    }
    fill();
    base += (sizeof(text) + sizeof(noise)) / KIB; /* written since the plain run weighed itself */
    weigh("filled", base);
    order("pager.evict");
    weigh("evicted", base);
    expect(stat_of("footprint.total") < 130 * MIB, "evicted", "200 MiB have shrunk below 130");
    free_some();
    weigh("some freed, trimmed", base);
    read_some();
    weigh("some read back", base);
    order("pager.evict");
    weigh("evicted again", base);
    read_zeros(base);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
