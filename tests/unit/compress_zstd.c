/* SPDX-License-Identifier: MIT */
/*
 * compress_zstd -- the dense codec gives back what it was given, refuses the rest, and stays within
 * its workspace, a small stack and no malloc.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compress/dict.h"
#include "tests/unit/compress_data.h"
#include "tests/unit/compress_kit.h"

#define MAX_RAW ((size_t)64 * 1024)
#define GUARD ((size_t)256)

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* ---- who calls malloc while nobody may ---- */

/* The counting functions need a second name for the real ones: glibc has one. */
#if !SANITIZED && defined(__GLIBC__)
#define COUNTED 1
#else
#define COUNTED 0
#endif

#if COUNTED
static unsigned mallocs; /* atomic */

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
    __atomic_fetch_add(&mallocs, 1, __ATOMIC_RELAXED);
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    __atomic_fetch_add(&mallocs, 1, __ATOMIC_RELAXED);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    __atomic_fetch_add(&mallocs, 1, __ATOMIC_RELAXED);
    return __libc_realloc(p, n);
}
#endif

/* ---- workspaces between guard bytes ---- */

struct bench {
    const struct za_codec *codec;
    char *pack_area, *unpack_area;
    void *pack, *unpack;
};

static char *guarded(size_t bytes)
{
    char *p = aligned_alloc(ZA_CODEC_ALIGN, bytes + 2 * GUARD);

    memset(p, 0xa5, bytes + 2 * GUARD);
    return p;
}

static bool intact(const char *area, size_t bytes)
{
    for (size_t i = 0; i < GUARD; i++)
        if (area[i] != (char)0xa5 || area[GUARD + bytes + i] != (char)0xa5)
            return false;
    return true;
}

static struct bench bench_new(const struct za_codec *c)
{
    struct bench b = {.codec = c};

    b.pack_area = guarded(c->pack_bytes);
    b.unpack_area = guarded(c->unpack_bytes);
    b.pack = b.pack_area + GUARD;
    b.unpack = b.unpack_area + GUARD;
    CHECK(c->open_pack(b.pack));
    CHECK(c->open_unpack(b.unpack));
    return b;
}

static void bench_free(struct bench *b)
{
    CHECK(intact(b->pack_area, b->codec->pack_bytes));
    CHECK(intact(b->unpack_area, b->codec->unpack_bytes));
    free(b->pack_area);
    free(b->unpack_area);
}

static struct za_dict *make_dict(enum za_zstd_effort effort, size_t bytes)
{
    static char text[ZA_DICT_MAX_BYTES];

    data_fill(text, bytes, DATA_MIXED);
    struct za_dict *d = za_dict_new(&ops, effort, text, bytes);
    CHECK(d != NULL);
    return d;
}

/* ---- round trips ---- */

static void round_trip(struct bench *b, const struct za_dict *d, size_t len, enum data_kind kind)
{
    char *raw = malloc(len), *packed = malloc(2 * len + 64), *out = malloc(len + GUARD);
    data_fill(raw, len, kind);
    size_t size = b->codec->pack(b->pack, d, raw, len, packed, 2 * len + 64);
    CHECK(size > 0);
    char *exact = malloc(size);
    memcpy(exact, packed, size);
    memset(out, 0x5a, len + GUARD);
    CHECK(b->codec->unpack(b->unpack, d, exact, size, out, len));
    CHECK(memcmp(out, raw, len) == 0);
    for (size_t i = 0; i < GUARD; i++)
        CHECK_EQ(out[len + i], 0x5a);
    free(raw);
    free(packed);
    free(out);
    free(exact);
}

static void round_trips(enum za_zstd_effort effort, size_t dict_bytes)
{
    static const size_t sizes[] = {1, 5, 12, 64, 4095, 4096, 8192, 12288, 16384, MAX_RAW};
    struct bench b = bench_new(&za_codec_zstd[effort]);
    struct za_dict *d = dict_bytes ? make_dict(effort, dict_bytes) : NULL;

    for (enum data_kind k = 0; k < DATA_KINDS; k++)
        for (size_t i = 0; i < ZA_ARRAY_LEN(sizes); i++)
            for (int n = 0; n < 2; n++)
                round_trip(&b, d, sizes[i], k);
    for (int i = 0; i < 200; i++)
        round_trip(&b, i % 3 ? d : NULL, 1 + data_rnd() % 20000, data_rnd() % DATA_KINDS);
    if (d)
        za_dict_free(d);
    bench_free(&b);
    CHECK_EQ(mapped_bytes, 0);
}

UNIT_TEST(every_kind_and_size)
{
    for (enum za_zstd_effort e = 0; e < ZA_ZSTD_EFFORTS; e++)
        round_trips(e, 0);
}

UNIT_TEST(every_kind_and_size_with_a_dictionary)
{
    static const size_t sizes[] = {9, 300, 5000, 16384, ZA_DICT_MAX_BYTES};

    for (enum za_zstd_effort e = 0; e < ZA_ZSTD_EFFORTS; e++)
        for (size_t i = 0; i < ZA_ARRAY_LEN(sizes); i++)
            round_trips(e, sizes[i]);
}

/* A dictionary made for one effort packs in a workspace opened for another. */
UNIT_TEST(dictionaries_change_from_call_to_call)
{
    struct za_dict *d[ZA_ZSTD_EFFORTS + 1] = {NULL};
    struct bench b = bench_new(&za_codec_zstd[ZA_ZSTD_1]);

    for (enum za_zstd_effort e = 0; e < ZA_ZSTD_EFFORTS; e++)
        d[e] = make_dict(e, ZA_DICT_MAX_BYTES >> e);
    for (int i = 0; i < 2000; i++)
        round_trip(&b, d[data_rnd() % ZA_ARRAY_LEN(d)], (size_t)4096 << data_rnd() % 5,
                   data_rnd() % DATA_KINDS);
    for (enum za_zstd_effort e = 0; e < ZA_ZSTD_EFFORTS; e++)
        za_dict_free(d[e]);
    bench_free(&b);
}

UNIT_TEST(the_table_has_the_dense_codec)
{
    const struct za_codec *c = za_codec(ZA_CODEC_ZSTD);

    CHECK_STR(c->name, "zstd-lazy");
    CHECK(!c->prefix);
    CHECK(c->compress == NULL && c->decompress == NULL);
}

/* Header 2, block header 3, no magic, no sizes, no sum: a page of one letter is a dozen bytes. */
UNIT_TEST(frames_are_bare)
{
    static char raw[4096], packed[5000];
    struct bench b = bench_new(&za_codec_zstd[ZA_ZSTD_LAZY]);

    memset(raw, 'a', sizeof(raw));
    CHECK(b.codec->pack(b.pack, NULL, raw, sizeof(raw), packed, sizeof(packed)) <= 16);
    data_fill(raw, sizeof(raw), DATA_RANDOM);
    CHECK_EQ(b.codec->pack(b.pack, NULL, raw, sizeof(raw), packed, sizeof(packed)),
             sizeof(raw) + 5);
    bench_free(&b);
}

/* ---- refusals ---- */

UNIT_TEST(refuses_what_does_not_fit_and_goes_on)
{
    static char raw[4096], packed[5000], out[4096];
    struct bench b = bench_new(&za_codec_zstd[ZA_ZSTD_LAZY]);
    struct za_dict *d = make_dict(ZA_ZSTD_LAZY, ZA_DICT_MAX_BYTES);

    for (int i = 0; i < 200; i++) {
        const struct za_dict *use = i % 2 ? d : NULL;
        data_fill(raw, sizeof(raw), DATA_RANDOM);
        CHECK_EQ(b.codec->pack(b.pack, use, raw, sizeof(raw), packed, 3072), 0);
        CHECK_EQ(b.codec->pack(b.pack, use, raw, sizeof(raw), packed, 0), 0);
        data_fill(raw, sizeof(raw), DATA_TEXT);
        size_t size = b.codec->pack(b.pack, use, raw, sizeof(raw), packed, sizeof(packed));
        CHECK(size > 0 && size < 3072);
        CHECK_EQ(b.codec->pack(b.pack, use, raw, sizeof(raw), packed, size / 2), 0);
        CHECK(b.codec->pack(b.pack, use, raw, sizeof(raw), packed, 3072) > 0);
        CHECK(b.codec->unpack(b.unpack, use, packed, size, out, sizeof(out)));
        CHECK(memcmp(raw, out, sizeof(raw)) == 0);
    }
    CHECK_EQ(b.codec->pack(b.pack, NULL, raw, 0, packed, sizeof(packed)), 0);
    CHECK_EQ(b.codec->pack(b.pack, NULL, raw, MAX_RAW + 1, packed, sizeof(packed)), 0);
    za_dict_free(d);
    bench_free(&b);
}

UNIT_TEST(only_the_original_length_comes_back)
{
    static char raw[4096], packed[5000], out[MAX_RAW + 1];
    struct bench b = bench_new(&za_codec_zstd[ZA_ZSTD_LAZY]);

    data_fill(raw, sizeof(raw), DATA_TEXT);
    size_t size = b.codec->pack(b.pack, NULL, raw, sizeof(raw), packed, sizeof(packed));
    for (size_t want = 0; want <= MAX_RAW + 1; want++)
        CHECK_EQ(b.codec->unpack(b.unpack, NULL, packed, size, out, want), want == sizeof(raw));
    bench_free(&b);
}

UNIT_TEST(truncation_is_refused)
{
    static char raw[16384], packed[20000], out[16384];
    struct bench b = bench_new(&za_codec_zstd[ZA_ZSTD_LAZY]);

    data_fill(raw, sizeof(raw), DATA_MIXED);
    size_t size = b.codec->pack(b.pack, NULL, raw, sizeof(raw), packed, sizeof(packed));
    for (size_t len = 0; len < size; len++)
        CHECK(!b.codec->unpack(b.unpack, NULL, packed, len, out, sizeof(out)));
    bench_free(&b);
}

/* ---- damage ---- */

static void mutate(char *p, size_t *size)
{
    for (uint64_t n = 1 + data_rnd() % 4; n; n--) {
        size_t at = data_rnd() % 4 ? data_rnd() % *size : data_rnd() % za_min(*size, 64);
        switch (data_rnd() % 4) {
        case 0: p[at] = (char)data_rnd(); break;
        case 1: p[at] ^= (char)(1 << data_rnd() % 8); break;
        case 2: memset(p + at, (char)data_rnd(), za_min(*size - at, 8)); break;
        default: *size = 1 + data_rnd() % *size; break;
        }
    }
}

/* The end of a mapping of MAX_RAW and a page nobody may touch. */
static char *edge_new(void)
{
    char *p =
        mmap(NULL, MAX_RAW + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    CHECK_EQ(mprotect(p + MAX_RAW, 4096, PROT_NONE), 0);
    return p + MAX_RAW;
}

/* Whatever comes in: false, or bytes the checksum tells from the original.  No byte behind the
 * input is read, none around the output written. */
static unsigned one_damage(struct bench *b, const struct za_dict *d, const char *raw, size_t len,
                           const char *packed, size_t size)
{
    static char bad[MAX_RAW], *in_end, *out_end;

    if (!in_end) {
        in_end = edge_new();
        out_end = edge_new();
    }
    memcpy(bad, packed, size);
    mutate(bad, &size);
    memcpy(in_end - size, bad, size);
    char *out = out_end - len;
    memset(out - GUARD, 0xa5, GUARD);
    bool ok = b->codec->unpack(b->unpack, d, in_end - size, size, out, len);
    for (size_t i = 1; i <= GUARD; i++)
        CHECK(out[-(ptrdiff_t)i] == (char)0xa5);
    if (ok && memcmp(out, raw, len) != 0)
        CHECK(za_checksum(out, len) != za_checksum(raw, len));
    return !ok;
}

static void damages(size_t dict_bytes, int rounds)
{
    static char raw[16384], packed[MAX_RAW];
    struct bench b = bench_new(&za_codec_zstd[ZA_ZSTD_LAZY]);
    struct za_dict *d = dict_bytes ? make_dict(ZA_ZSTD_LAZY, dict_bytes) : NULL;
    unsigned refused = 0;

    for (int i = 0; i < rounds; i++) {
        size_t len = (size_t)4096 << data_rnd() % 3;
        data_fill(raw, len, 1 + data_rnd() % (DATA_KINDS - 1));
        size_t size = b.codec->pack(b.pack, d, raw, len, packed, sizeof(packed));
        CHECK(size > 0);
        for (int n = 0; n < 50; n++)
            refused += one_damage(&b, d, raw, len, packed, size);
        CHECK(b.codec->unpack(b.unpack, d, packed, size, packed + size, len)); /* still works */
    }
    CHECK(refused > (unsigned)rounds);
    if (d)
        za_dict_free(d);
    bench_free(&b);
}

UNIT_TEST(damage_is_noticed_60000_times)
{
    damages(0, STEPS(1200));
}

UNIT_TEST(damage_with_a_dictionary_is_noticed_60000_times)
{
    damages(ZA_DICT_MAX_BYTES, STEPS(1200));
}

UNIT_TEST(noise_is_refused)
{
    static char noise[4096], out[4096];
    struct bench b = bench_new(&za_codec_zstd[ZA_ZSTD_LAZY]);

    for (int i = 0; i < 20000; i++) {
        data_fill(noise, 256, DATA_RANDOM);
        noise[0] = (char)(i % 2 ? 0 : noise[0]); /* the header of our own frames */
        b.codec->unpack(b.unpack, NULL, noise, 1 + data_rnd() % 256, out, sizeof(out));
    }
    bench_free(&b);
}

UNIT_TEST(the_wrong_dictionary_never_passes)
{
    static char raw[16384], packed[20000], out[16384];
    struct bench b = bench_new(&za_codec_zstd[ZA_ZSTD_LAZY]);
    struct za_dict *one = make_dict(ZA_ZSTD_LAZY, ZA_DICT_MAX_BYTES);
    struct za_dict *two = make_dict(ZA_ZSTD_LAZY, 5000);
    const struct za_dict *wrong[] = {NULL, two};

    for (int i = 0; i < 1000; i++) {
        memcpy(raw, (const char *)one->content + data_rnd() % 1000 * 32, sizeof(raw));
        size_t size = b.codec->pack(b.pack, one, raw, sizeof(raw), packed, sizeof(packed));
        CHECK(size > 0 && size < sizeof(raw) / 4);
        if (b.codec->unpack(b.unpack, wrong[i % 2], packed, size, out, sizeof(out)))
            CHECK(za_checksum(out, sizeof(out)) != za_checksum(raw, sizeof(raw)));
    }
    za_dict_free(one);
    za_dict_free(two);
    bench_free(&b);
}

/* ---- a bare thread: no malloc, a small stack ---- */

#define STACK ((size_t)512 * 1024)
#define STACK_MAX ((size_t)16 * 1024)

static struct bench worked;
static struct za_dict *worked_dict;

static void *work(void *arg)
{
    static char raw[MAX_RAW], packed[MAX_RAW + 1024], out[MAX_RAW];

    (void)arg;
    for (int i = 0; i < 100; i++) {
        const struct za_dict *d = i % 2 ? worked_dict : NULL;
        size_t len = (size_t)4096 << data_rnd() % 5;
        data_fill(raw, len, i % DATA_KINDS);
        size_t size = worked.codec->pack(worked.pack, d, raw, len, packed, sizeof(packed));
        CHECK(size && worked.codec->unpack(worked.unpack, d, packed, size, out, len));
    }
    return NULL;
}

UNIT_TEST(nothing_calls_malloc)
{
#if !COUNTED
    UNIT_SKIP("malloc has no second name here: a sanitizer's, or not glibc's");
#else
    for (enum za_zstd_effort e = 0; e < ZA_ZSTD_EFFORTS; e++) {
        worked = bench_new(&za_codec_zstd[e]);
        void *volatile one = malloc(1);
        free(one);
        unsigned before = __atomic_load_n(&mallocs, __ATOMIC_RELAXED);
        CHECK(before > 0); /* the count works */
        CHECK(worked.codec->open_pack(worked.pack) && worked.codec->open_unpack(worked.unpack));
        worked_dict = make_dict(e, ZA_DICT_MAX_BYTES);
        work(NULL);
        za_dict_free(worked_dict);
        CHECK_EQ(__atomic_load_n(&mallocs, __ATOMIC_RELAXED), before);
        bench_free(&worked);
    }
#endif
}

static size_t untouched(const char *stack)
{
    size_t n = 0;

    while (n < STACK && stack[n] == (char)0xa5)
        n++;
    return n;
}

/* What a thread that runs `fn` leaves touched of its stack, its own start and end included. */
static size_t stack_of(void *(*fn)(void *))
{
    char *stack = aligned_alloc(65536, STACK);
    pthread_attr_t attr;
    pthread_t t;

    memset(stack, 0xa5, STACK);
    pthread_attr_init(&attr);
    CHECK_EQ(pthread_attr_setstack(&attr, stack, STACK), 0);
    CHECK_EQ(pthread_create(&t, &attr, fn, NULL), 0);
    pthread_join(t, NULL);
    size_t used = STACK - untouched(stack);
    free(stack);
    return used;
}

UNIT_TEST(the_stack_stays_small)
{
    if (SANITIZED)
        UNIT_SKIP("the sanitizer has larger frames");
    for (enum za_zstd_effort e = 0; e < ZA_ZSTD_EFFORTS; e++) {
        worked = bench_new(&za_codec_zstd[e]);
        worked_dict = make_dict(e, ZA_DICT_MAX_BYTES);
        size_t used = stack_of(work);
        if (used > STACK_MAX)
            CHECK_EQ(used, STACK_MAX);
        za_dict_free(worked_dict);
        bench_free(&worked);
    }
}

/* ---- a workspace from the middle of a frame: a bare child's ---- */

static char torn_src[16384], torn_out[32768];

static void *packs_for_ever(void *room)
{
    for (;;)
        (void)za_codec_zstd[ZA_ZSTD_LAZY].pack(room, NULL, torn_src, sizeof(torn_src), torn_out,
                                               sizeof(torn_out));
    return NULL;
}

/* 0: it does as it is; 1: it does when it is opened anew; else it does not. */
static int packs_in_a_child(const struct za_codec *c, void *room)
{
    static char out[32768];
    int status = -1;
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

    if (pid == 0) {
        if (c->pack(room, NULL, torn_src, sizeof(torn_src), out, sizeof(out)))
            _exit(0);
        _exit(c->open_pack(room) &&
                      c->pack(room, NULL, torn_src, sizeof(torn_src), out, sizeof(out))
                  ? 1
                  : 2);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

UNIT_TEST(a_torn_workspace_is_opened_anew)
{
    const struct za_codec *c = &za_codec_zstd[ZA_ZSTD_LAZY];
    void *room = NULL;
    pthread_t t;
    int torn = 0;

    if (SANITIZED)
        UNIT_SKIP("sanitizers do not live on in a child made amid a thread's work");
    for (size_t i = 0; i < sizeof(torn_src); i++)
        torn_src[i] = (char)(i % 4096 * i / 7 % 13 * 31);
    CHECK_EQ(posix_memalign(&room, 64, c->pack_bytes), 0);
    CHECK(c->open_pack(room));
    CHECK_EQ(pthread_create(&t, NULL, packs_for_ever, room), 0);
    for (int i = 0; i < 1000 && torn == 0; i++) {
        int how = packs_in_a_child(c, room);
        CHECK(how != 2);
        torn += how == 1;
    }
    CHECK(torn > 0);
}
