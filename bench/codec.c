/* SPDX-License-Identifier: MIT */
/*
 * codec -- what compressing a page costs and saves, and how fast the blob store is.
 *
 * usage: build/bench/codec [FILE...]       the tables; a FILE is a heap image, or text
 *        build/bench/codec -f FILE...      the fast codecs only, and none of the other tables
 *        build/bench/codec -s FILE...      how often za_page_looks_random is right about the FILEs'
 *                                          pages
 *
 * Every block is timed alone; min and median microseconds.  The ratio counts what the store counts:
 * header and grain of each blob, and a block that saves less than a quarter stays as it is; a
 * dictionary's own bytes are not counted.  A name with +d: with a dictionary of 64 KiB, trained on
 * 1 MiB of random blocks of the data; no row where training says it gains nothing.  lzo1x-1, for
 * comparison, where liblzo2.so.2 is installed.  Text is what the system has of it: licences, the
 * modules of perl, documentation, in files of their own, so what they repeat counts.
 */
#define _GNU_SOURCE
#include "compress/codec.h"
#include "compress/lz4.h"
#include "compress/split.h"
#include "compress/store_private.h"
#include "compress/train.h"

#include <dlfcn.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE ((size_t)4096)
#define DATA_BYTES ((size_t)16 << 20)

static char packed[2 * ZA_BLOB_MAX_RAW], out[ZA_BLOB_MAX_RAW];
static char workspace[1 << 20] __attribute__((aligned(64)));
static char unpack_workspace[1 << 18] __attribute__((aligned(64)));

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * ZA_NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t rnd(void)
{
    static uint64_t x = 88172645463325252ull;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
}

/* ---- data ---- */

enum kind { ZERO, PATTERN, TEXT, POINTERS, RANDOM, KINDS };
static const char *const kind_name[KINDS] = {"zero", "pattern", "text", "pointers", "random"};

/* Read at run time, the first one first, until there is enough. */
static const char *const text_roots[] = {"/usr/share/common-licenses", "/usr/share/perl",
                                         "/usr/share/doc"};
static struct {
    char *data;
    size_t len, cap;
} text;

/* No control characters but white space, so nothing that is packed. */
static bool is_text(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)p[i] < '\t')
            return false;
    return len > 0;
}

static int add_text(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)at;
    FILE *f = type == FTW_F && S_ISREG(st->st_mode) ? fopen(path, "rb") : NULL;

    if (!f)
        return 0;
    size_t n = fread(text.data + text.len, 1, text.cap - text.len, f);
    fclose(f);
    if (is_text(text.data + text.len, n))
        text.len += n;
    return text.len == text.cap;
}

/* Bytes, whole pages of them. */
static size_t read_text(char *data, size_t len)
{
    text.data = data;
    text.len = 0;
    text.cap = len;
    for (size_t i = 0; i < ZA_ARRAY_LEN(text_roots) && text.len < len; i++)
        (void)nftw(text_roots[i], add_text, 16, FTW_PHYS);
    if (text.len < PAGE)
        printf("(no text below %s, ...: no rows of it)\n", text_roots[0]);
    return text.len & ~(PAGE - 1);
}

static void make_words(char *data, size_t len, enum kind kind)
{
    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint64_t w = 0;
        if (kind == PATTERN)
            w = i / 8 % 12 * 0x0101010101010101ull;
        else if (kind == POINTERS) /* nodes of 32 bytes: two links, a length, a tag */
            w = i & 16 ? rnd() % (i & 8 ? 4 : 500) : 0x7f3a00000000ull + (rnd() % (1u << 24)) * 16;
        else if (kind == RANDOM)
            w = rnd();
        memcpy(data + i, &w, 8);
    }
}

/* Bytes; fewer than asked for where a system has little text. */
static size_t make(char *data, size_t len, enum kind kind)
{
    if (kind == TEXT)
        return read_text(data, len);
    make_words(data, len, kind);
    return len;
}

/* Up to `cap` bytes of the file, whole pages only. */
static size_t load(const char *path, char *data, size_t cap)
{
    FILE *f = fopen(path, "rb");
    size_t n;

    if (!f)
        return 0;
    n = fread(data, 1, cap, f);
    fclose(f);
    return n & ~(PAGE - 1);
}

/* ---- blocks of one size ---- */

struct result {
    uint64_t blocks, raw_bytes, kept_bytes;
    uint64_t *in_ns, *out_ns, *first_ns;
};

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

struct summary {
    double min, median;
};

static struct summary summarise_us(uint64_t *ns, uint64_t n)
{
    qsort(ns, n, sizeof(*ns), by_value);
    uint64_t middle = n / 2;
    return (struct summary){(double)ns[0] / 1e3, (double)ns[middle] / 1e3};
}

struct method {
    const struct za_codec *codec;
    const struct za_dict *dict;
};

static void one_block(const struct method *m, const char *raw, size_t len, struct result *r)
{
    const struct za_codec *c = m->codec;
    uint64_t t0 = now_ns();
    size_t size = c->pack(workspace, m->dict, raw, len, packed, sizeof(packed));
    uint64_t t1 = now_ns();
    bool ok = c->unpack(unpack_workspace, m->dict, packed, size, out, len);
    uint64_t t2 = now_ns();

    if (!ok || memcmp(out, raw, len) != 0) {
        fprintf(stderr, "codec: %s gave wrong bytes back\n", c->name);
        exit(1);
    }
    uint64_t t3 = now_ns();
    ok = c->unpack(unpack_workspace, m->dict, packed, size, out, c->prefix ? PAGE : len);
    uint64_t t4 = now_ns();
    size_t kept = za_blob_bytes((uint32_t)size);
    r->kept_bytes += ok && kept <= len * 3 / 4 ? kept : len;
    r->raw_bytes += len;
    r->in_ns[r->blocks] = t1 - t0;
    r->out_ns[r->blocks] = t2 - t1;
    r->first_ns[r->blocks++] = t4 - t3;
}

static struct result new_result(size_t blocks)
{
    struct result r = {.in_ns = calloc(blocks + 1, 8)};

    r.out_ns = calloc(blocks + 1, 8);
    r.first_ns = calloc(blocks + 1, 8);
    if (!r.in_ns || !r.out_ns || !r.first_ns)
        exit(1);
    return r;
}

static void row(struct method m, const char *name, const char *data, size_t len, size_t block)
{
    struct result r = new_result(len / block);
    char method[24];

    snprintf(method, sizeof(method), "%s%s", m.codec->name, m.dict ? "+d" : "");
    if (!m.codec->open_pack(workspace) || !m.codec->open_unpack(unpack_workspace))
        exit(1);
    for (size_t at = 0; at + block <= len; at += block)
        one_block(&m, data + at, block, &r);
    if (r.blocks) {
        struct summary in = summarise_us(r.in_ns, r.blocks);
        struct summary all = summarise_us(r.out_ns, r.blocks);
        struct summary first = summarise_us(r.first_ns, r.blocks);
        printf("%-11s %-20.20s %3zu %7.2f %8.2f %8.2f %8.2f %8.2f %8.2f %8.2f\n", method, name,
               block >> 10, (double)r.raw_bytes / (double)r.kept_bytes, in.min, in.median, all.min,
               all.median, first.min, first.median);
    }
    free(r.in_ns);
    free(r.out_ns);
    free(r.first_ns);
}

/* ---- lzo, if it is there ---- */

typedef int lzo_fn(const void *src, unsigned long len, void *dst, unsigned long *out_len, void *ws);
static lzo_fn *lzo_compress, *lzo_decompress;

static bool open_nothing(void *ws)
{
    (void)ws;
    return true;
}

static size_t lzo_pack(void *ws, const struct za_dict *dict, const void *src, size_t len, void *dst,
                       size_t cap)
{
    unsigned long n = cap; /* lzo takes no limit: packed[] has room for the worst case */

    (void)dict;
    return lzo_compress(src, len, dst, &n, ws) == 0 ? n : 0;
}

static bool lzo_unpack(void *ws, const struct za_dict *dict, const void *src, size_t len, void *dst,
                       size_t want)
{
    unsigned long n = want;

    (void)ws;
    (void)dict;
    return lzo_decompress(src, len, dst, &n, NULL) == 0 && n == want;
}

static const struct za_codec codec_lzo = {
    .name = "lzo",
    .open_pack = open_nothing,
    .open_unpack = open_nothing,
    .pack = lzo_pack,
    .unpack = lzo_unpack,
};

static bool lzo_found(void)
{
    void *lib = dlopen("liblzo2.so.2", RTLD_NOW);

    if (!lib)
        return false;
    lzo_compress = (lzo_fn *)dlsym(lib, "lzo1x_1_compress");
    lzo_decompress = (lzo_fn *)dlsym(lib, "lzo1x_decompress_safe");
    return lzo_compress && lzo_decompress;
}

/* ---- zstd, with and without a dictionary ---- */

static void *map(size_t len);
static void unmap(void *p, size_t len);

static struct za_dict *train(enum za_zstd_effort effort, const char *data, size_t len, size_t block)
{
    static const struct za_store_ops ops = {map, unmap};
    struct za_training_plan plan = {effort, 1 << 20, ZA_DICT_MAX_BYTES, (uint32_t)block, ZA_GIB};
    struct za_training *t = za_training_new(&ops, &plan);
    struct za_dict *d = NULL;

    if (!t)
        exit(1);
    for (size_t blocks = len / block; blocks > 0;)
        if (!za_training_add(t, data + rnd() % blocks * block, block))
            break;
    if (za_training_step(t, SIZE_MAX) == ZA_TRAINING_GOOD)
        d = za_training_take(t);
    za_training_free(t);
    return d;
}

static void dense_rows(enum za_zstd_effort effort, const char *name, const char *data, size_t len,
                       size_t block)
{
    struct method m = {&za_codec_zstd[effort], NULL};

    row(m, name, data, len, block);
    struct za_dict *d = train(effort, data, len, block);
    if (!d)
        return;
    m.dict = d;
    row(m, name, data, len, block);
    za_dict_free(d);
}

static bool fast_only;

static void rows(const char *name, const char *data, size_t len)
{
    static const size_t blocks[] = {4096, 16384, 65536};

    for (size_t b = 0; b < ZA_ARRAY_LEN(blocks); b++) {
        row((struct method){&za_codec_lz4, NULL}, name, data, len, blocks[b]);
        row((struct method){&za_codec_split, NULL}, name, data, len, blocks[b]);
        if (fast_only)
            continue;
        if (lzo_compress)
            row((struct method){&codec_lzo, NULL}, name, data, len, blocks[b]);
        for (enum za_zstd_effort e = 0; e < ZA_ZSTD_EFFORTS; e++)
            dense_rows(e, name, data, len, blocks[b]);
    }
}

static void codec_table(char *data, int nfiles, char **file)
{
    printf("%-11s %-20s %3s %7s %17s %17s %17s\n", "codec", "data", "KiB", "ratio", "compress us",
           "decompress us", "first page us");
    printf("%-40s   %8s %8s %8s %8s %8s %8s\n", "", "min", "median", "min", "median", "min",
           "median");
    if (!lzo_found())
        printf("(no liblzo2.so.2: no rows of lzo)\n");
    for (enum kind k = 0; k < KINDS; k++) {
        size_t len = make(data, DATA_BYTES, k);
        if (len)
            rows(kind_name[k], data, len);
    }
    for (int i = 0; i < nfiles; i++) {
        size_t len = load(file[i], data, 4 * DATA_BYTES);
        const char *slash = strrchr(file[i], '/');
        if (!len)
            printf("(nothing in %s: no rows of it)\n", file[i]);
        rows(slash ? slash + 1 : file[i], data, len);
    }
}

/* ---- looks at pages ---- */

static volatile uint64_t sink;

static void look_row(const char *name, const char *data, size_t len)
{
    uint64_t word, t0 = now_ns(), same = 0, random = 0;

    for (size_t at = 0; at < len; at += PAGE)
        same += za_page_is_same(data + at, PAGE, &word);
    uint64_t t1 = now_ns();
    for (size_t at = 0; at < len; at += PAGE)
        random += za_page_looks_random(data + at, PAGE);
    uint64_t t2 = now_ns();
    for (size_t at = 0; at < len; at += PAGE)
        sink += za_checksum(data + at, PAGE);
    uint64_t t3 = now_ns();
    size_t npages = len / PAGE;
    double pages = (double)npages * 1e3;
    printf("%-10s %9.3f %9.3f %9.3f   same %5.1f %%  random %5.1f %%\n", name,
           (double)(t1 - t0) / pages, (double)(t2 - t1) / pages, (double)(t3 - t2) / pages,
           (double)same * 1e5 / pages, (double)random * 1e5 / pages);
}

static void look_table(char *data)
{
    printf("\n%-10s %9s %9s %9s   (us a page, mean)\n", "look", "same?", "random?", "checksum");
    for (enum kind k = 0; k < KINDS; k++) {
        size_t len = make(data, DATA_BYTES, k);
        if (len)
            look_row(kind_name[k], data, len);
    }
}

/*
 * How often "random" was said, and how often LZ4 would
 * have saved a quarter (a twentieth) all the same.
 */
static int judge(int nfiles, char **file, char *data)
{
    uint64_t pages = 0, random = 0, quarter = 0, twentieth = 0, plain = 0;
    const struct za_codec *c = za_codec(ZA_CODEC_LZ4);

    for (int i = 0; i < nfiles; i++) {
        size_t len = load(file[i], data, 4 * DATA_BYTES);
        for (size_t at = 0; at < len; at += PAGE, pages++) {
            size_t size = c->compress(workspace, data + at, PAGE, packed, sizeof(packed));
            bool said = za_page_looks_random(data + at, PAGE);
            random += said;
            quarter += said && size <= PAGE * 3 / 4;
            twentieth += said && size <= PAGE * 19 / 20;
            plain += !said && size > PAGE * 3 / 4;
        }
    }
    double n = pages ? (double)pages / 100 : 1;
    printf("%llu pages: called random %.3f %%; of all, called random though lz4 saves a quarter "
           "%.4f %%, a twentieth %.4f %%; not called random though lz4 saves no quarter %.3f %%\n",
           (unsigned long long)pages, (double)random / n, (double)quarter / n,
           (double)twentieth / n, (double)plain / n);
    return 0;
}

/* ---- the store ---- */

static void *map(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t len)
{
    munmap(p, len);
}

static void speed(const char *what, uint64_t n, uint64_t bytes, uint64_t ns)
{
    printf("%-10s %9llu blobs %9.3f us each %9.0f MiB/s\n", what, (unsigned long long)n,
           (double)ns / 1e3 / (double)n, (double)bytes / (double)ZA_MIB / ((double)ns / 1e9));
}

#define BLOBS 40000u

static uint64_t get_all(struct za_store *s, const uint32_t *id)
{
    struct za_blob_view v;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < BLOBS; i++) {
        uint32_t k = (uint32_t)(rnd() % BLOBS);
        za_store_read_begin(s);
        if (za_store_get(s, id[k], &v)) {
            sink += *(const unsigned char *)v.bytes;
            bytes += v.size;
        }
        za_store_read_end(s);
    }
    return bytes;
}

static uint64_t put_all(struct za_store *s, uint32_t *id, const char *data)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < BLOBS; i++) {
        uint32_t size = 500 + (uint32_t)(rnd() % 9000);
        id[i] = za_store_put(s, data + rnd() % 65536, size, 16384, 0, ZA_CODEC_LZ4, 4);
        bytes += size;
    }
    return bytes;
}

static void compact_all(struct za_store *s)
{
    struct za_store_stats st;
    uint64_t t0 = now_ns();

    do
        za_store_reclaim(s);
    while (za_store_compact(s, ZA_MIB));
    uint64_t t1 = now_ns();
    za_store_reclaim(s); /* two idle turns: the spare segment goes */
    za_store_reclaim(s);
    za_store_stats(s, &st);
    speed("compact", BLOBS, st.compacted_bytes, t1 - t0);
    printf(
        "waste      %.2f %% of stored bytes after a random half died; metadata %.2f bytes a page\n",
        100.0 * (double)(st.held_bytes - st.live_bytes) / (double)st.live_bytes,
        (double)(st.table_bytes + st.blobs * sizeof(struct za_blob)) / ((double)st.blobs * 4));
}

static void store_table(char *data)
{
    static const struct za_store_ops ops = {map, unmap};
    static uint32_t id[BLOBS];
    struct za_store *s = za_store_new(&ops);

    if (!s)
        return;
    printf("\nstore\n");
    make(data, 1 << 20, RANDOM);
    uint64_t t0 = now_ns();
    uint64_t bytes = put_all(s, id, data);
    uint64_t t1 = now_ns();
    speed("put", BLOBS, bytes, t1 - t0);
    bytes = get_all(s, id);
    uint64_t t2 = now_ns();
    speed("get", BLOBS, bytes, t2 - t1);
    for (uint32_t i = 0; i < BLOBS; i++)
        if (rnd() % 2)
            za_store_release(s, id[i], 4);
    speed("release", BLOBS / 2, bytes / 2, now_ns() - t2);
    compact_all(s);
    za_store_free(s);
}

int main(int argc, char **argv)
{
    char *data = map(4 * DATA_BYTES);

    if (!data)
        return 1;
    if (argc > 1 && strcmp(argv[1], "-s") == 0)
        return judge(argc - 2, argv + 2, data);
    if (argc > 1 && strcmp(argv[1], "-f") == 0) {
        fast_only = true;
        codec_table(data, argc - 2, argv + 2);
        return 0;
    }
    codec_table(data, argc - 1, argv + 1);
    look_table(data);
    store_table(data);
    return 0;
}
