/* SPDX-License-Identifier: MIT */
/*
 * conf -- the parser, setter and printer of the configuration, all driven by the one table.
 *
 * A pair is taken whole or refused whole: nothing is clipped, trimmed or guessed.  Each refusal is
 * one line; what came before in the field stays.  Refuses to abort: the caller asks abort_conf.
 *
 * I1  A field holds its default or a value that `judge` accepted.
 * I2  What a message echoes of the text holds no control character and is at most ECHO_MAX long.
 *
 * Locks: none.  May sleep: in `say`.  May fault: no.  Allocates: nothing (1 KiB of stack).
 */
#include "base/conf.h"

#include <errno.h>
#include <string.h>

#include "base/fmt.h"

#define LINE_BYTES 768
#define ECHO_MAX 300
#define WHY_BYTES 160

enum type { BOOL, U64, SIZE, PATH, DEDUP, MMAP, BACKEND };

struct row {
    const char *name, *unit, *help;
    enum type type;
    size_t offset; /* of the field in struct za_conf */
    uint64_t min, max;
};

static const struct row rows[] = {
#define ROW(name, TYPE, def, min, max, unit, help) \
    {#name, unit, help, TYPE, offsetof(struct za_conf, name), min, max},
    ZA_CONF_TABLE(ROW)
#undef ROW
};

#define DEFAULTS(name, TYPE, def, min, max, unit, help) .name = def,
static const struct za_conf defaults = {ZA_CONF_TABLE(DEFAULTS)};
struct za_conf za_conf = {ZA_CONF_TABLE(DEFAULTS)};
#undef DEFAULTS

/* How a type is called, and its words if it has some; a word's place is its value. */
static const struct {
    const char *name;
    const char *words[5];
} types[] = {
    [BOOL] = {"bool", {"false", "true"}},
    [U64] = {"number", {NULL}},
    [SIZE] = {"size", {NULL}},
    [PATH] = {"path", {NULL}},
    [DEDUP] = {"word", {"off", "zero", "content"}},
    [MMAP] = {"word", {"false", "true", "auto"}},
    [BACKEND] = {"word", {"auto", "move", "remap", "none"}},
};

/* Keys that may change while the program runs. */
static const char *const at_run_time[] = {"cold_ms", "cpu_limit", "target"};

/* --- text ------------------------------------------------------------------------------------ */

struct text {
    const char *s;
    size_t len;
};

static struct text text_of(const char *s)
{
    return (struct text){s, strlen(s)};
}

static bool same(struct text t, const char *word)
{
    return strlen(word) == t.len && memcmp(t.s, word, t.len) == 0;
}

/* Cuts off what stands before the first `at`, which is dropped; all of it, if there is none. */
static struct text cut(struct text *t, char at)
{
    const char *found = memchr(t->s, at, t->len);
    struct text head = {t->s, found ? (size_t)(found - t->s) : t->len};
    size_t used = head.len + (found ? 1 : 0);

    t->s += used;
    t->len -= used;
    return head;
}

/* --- fields ---------------------------------------------------------------------------------- */

static uint64_t get_number(const struct za_conf *c, const struct row *r)
{
    const char *field = (const char *)c + r->offset;

    switch (r->type) {
    case BOOL: return *(const bool *)field;
    case U64:
    case SIZE: return __atomic_load_n((const uint64_t *)field, __ATOMIC_RELAXED);
    case DEDUP: return *(const enum za_dedup *)field;
    case MMAP: return *(const enum za_mmap *)field;
    case BACKEND: return *(const enum za_backend *)field;
    case PATH: break;
    }
    return 0;
}

static void set_number(struct za_conf *c, const struct row *r, uint64_t v)
{
    char *field = (char *)c + r->offset;

    switch (r->type) {
    case BOOL: *(bool *)field = v != 0; break;
    case U64:
    case SIZE: __atomic_store_n((uint64_t *)field, v, __ATOMIC_RELAXED); break;
    case DEDUP: *(enum za_dedup *)field = (enum za_dedup)v; break;
    case MMAP: *(enum za_mmap *)field = (enum za_mmap)v; break;
    case BACKEND: *(enum za_backend *)field = (enum za_backend)v; break;
    case PATH: break;
    }
}

static void set_path(struct za_conf *c, const struct row *r, struct text value)
{
    char *field = (char *)c + r->offset;

    memcpy(field, value.s, value.len);
    field[value.len] = '\0';
}

/* A size with the largest suffix that leaves it whole. */
static void print_size(struct za_fmt *f, uint64_t v)
{
    static const char suffixes[] = "\0KMGT";
    unsigned i = 0;

    while (i < 4 && v && v % 1024 == 0) {
        v /= 1024;
        i++;
    }
    za_fmt_u64(f, v);
    if (i)
        za_fmt_chr(f, suffixes[i]);
}

static void print_number(struct za_fmt *f, const struct row *r, uint64_t v)
{
    if (r->type == SIZE)
        print_size(f, v);
    else
        za_fmt_u64(f, v);
}

static void print_value(struct za_fmt *f, const struct za_conf *c, const struct row *r)
{
    if (r->type == PATH)
        za_fmt_str(f, (const char *)c + r->offset);
    else if (types[r->type].words[0])
        za_fmt_str(f, types[r->type].words[get_number(c, r)]);
    else
        print_number(f, r, get_number(c, r));
}

/* --- judging a value ------------------------------------------------------------------------- */

/* Digits only; 0, -EINVAL (something else), -ERANGE (beyond 64 bits). */
static int scan_digits(struct text t, uint64_t *out)
{
    bool over = false;
    uint64_t v = 0;

    if (t.len == 0)
        return -EINVAL;
    for (size_t i = 0; i < t.len; i++) {
        if (t.s[i] < '0' || t.s[i] > '9')
            return -EINVAL;
        over |= __builtin_mul_overflow(v, 10, &v);
        over |= __builtin_add_overflow(v, (uint64_t)(t.s[i] - '0'), &v);
    }
    *out = v;
    return over ? -ERANGE : 0;
}

/* The power of two a last letter stands for; 0: it is no suffix. */
static unsigned suffix_shift(char letter)
{
    switch (letter) {
    case 'k':
    case 'K': return 10;
    case 'm':
    case 'M': return 20;
    case 'g':
    case 'G': return 30;
    case 't':
    case 'T': return 40;
    default: return 0;
    }
}

static int scan_number(const struct row *r, struct text t, uint64_t *out)
{
    unsigned shift = r->type == SIZE && t.len ? suffix_shift(t.s[t.len - 1]) : 0;
    int err;

    if (shift)
        t.len--;
    err = scan_digits(t, out);
    if (err)
        return err;
    return __builtin_mul_overflow(*out, (uint64_t)1 << shift, out) ? -ERANGE : 0;
}

static void say_range(const struct row *r, struct za_fmt *why)
{
    za_fmt_str(why, "not between ");
    print_number(why, r, r->min);
    za_fmt_str(why, " and ");
    print_number(why, r, r->max);
}

/* Zero is always good where it is the default: there it stands for "none" or "choose". */
static bool in_range(const struct row *r, uint64_t v)
{
    return (v >= r->min && v <= r->max) || (v == 0 && get_number(&defaults, r) == 0);
}

static bool judge_number(const struct row *r, struct text t, uint64_t *out, struct za_fmt *why)
{
    int err = scan_number(r, t, out);

    if (err == 0 && in_range(r, *out))
        return true;
    if (err != -EINVAL)
        say_range(r, why);
    else if (r->type == SIZE)
        za_fmt_str(why, "not a size (a whole number, with K, M, G, T or nothing after it)");
    else
        za_fmt_str(why, "not a number");
    return false;
}

static bool judge_word(const struct row *r, struct text t, uint64_t *out, struct za_fmt *why)
{
    const char *const *words = types[r->type].words;

    for (*out = 0; words[*out]; ++*out)
        if (same(t, words[*out]))
            return true;
    za_fmt_str(why, "not ");
    for (unsigned i = 0; words[i]; i++) {
        if (i)
            za_fmt_str(why, words[i + 1] ? ", " : " or ");
        za_fmt_str(why, words[i]);
    }
    return false;
}

static bool judge_path(struct text t, struct za_fmt *why)
{
    if (t.len < ZA_CONF_PATH_MAX)
        return true;
    za_fmt_str(why, "longer than ");
    za_fmt_u64(why, ZA_CONF_PATH_MAX - 1);
    za_fmt_str(why, " bytes");
    return false;
}

/* True: `t` may go into the field, as *out unless it is a path.  False: `why` says why not. */
static bool judge(const struct row *r, struct text t, uint64_t *out, struct za_fmt *why)
{
    if (r->type == PATH)
        return judge_path(t, why);
    if (types[r->type].words[0])
        return judge_word(r, t, out, why);
    return judge_number(r, t, out, why);
}

static void store(struct za_conf *c, const struct row *r, struct text t, uint64_t number)
{
    if (r->type == PATH)
        set_path(c, r, t);
    else
        set_number(c, r, number);
}

/* --- pairs and messages ---------------------------------------------------------------------- */

static const struct row *find(struct text key)
{
    for (size_t i = 0; i < ZA_ARRAY_LEN(rows); i++)
        if (same(key, rows[i].name))
            return &rows[i];
    return NULL;
}

/* What the program's user wrote, made fit for a terminal (I2). */
static void echo(struct za_fmt *f, struct text t)
{
    size_t limit = f->len + ECHO_MAX;

    for (size_t i = 0; i < t.len; i++) {
        unsigned char ch = (unsigned char)t.s[i];
        if (f->len + 4 > limit) {
            za_fmt_str(f, "...");
            return;
        }
        if (ch >= 0x20 && ch != 0x7f) {
            za_fmt_chr(f, (char)ch);
            continue;
        }
        za_fmt_str(f, "\\x");
        za_fmt_chr(f, "0123456789abcdef"[ch >> 4]);
        za_fmt_chr(f, "0123456789abcdef"[ch & 15]);
    }
}

/* "zalloc: ZALLOC_CONF: PAIR: TEXT", "; keeping VALUE" when r is given, and a newline. */
static void say_line(za_conf_say *say, struct text pair, const char *text, const struct za_conf *c,
                     const struct row *r)
{
    char line[LINE_BYTES + 1]; /* one byte more than fmt may use: the newline always fits */
    struct za_fmt f;

    za_fmt_init(&f, line, LINE_BYTES);
    za_fmt_str(&f, "zalloc: ZALLOC_CONF: ");
    echo(&f, pair);
    if (pair.len)
        za_fmt_str(&f, ": ");
    za_fmt_str(&f, text);
    if (r && r->type == PATH) {
        za_fmt_str(&f, "; ignored");
    } else if (r) {
        za_fmt_str(&f, "; keeping ");
        print_value(&f, c, r);
    }
    line[f.len] = '\n';
    say(line, f.len + 1);
}

/* Takes one pair; false: it was bad, and the reason has been said. */
static bool take_pair(struct za_conf *c, struct text pair, za_conf_say *say)
{
    struct text value = pair, key = cut(&value, ':');
    const struct row *r = find(key);
    char buf[WHY_BYTES];
    struct za_fmt why;
    uint64_t number = 0;

    za_fmt_init(&why, buf, sizeof(buf));
    if (pair.len == 0)
        za_fmt_str(&why, "empty pair; ignored");
    else if (!r)
        za_fmt_str(&why, "unknown key; ignored");
    else if (key.len == pair.len)
        za_fmt_str(&why, "no value, expected key:value");
    else if (judge(r, value, &number, &why)) {
        store(c, r, value, number);
        return true;
    }
    say_line(say, pair, buf, c, r);
    return false;
}

/*
 * Says every pair that is good, in order; judged anew, since only the whole text says whether to.
 */
static void confirm(const struct za_conf *c, struct text rest, za_conf_say *say)
{
    char buf[WHY_BYTES];
    struct za_fmt why;
    uint64_t number;

    while (rest.len) {
        struct text pair = cut(&rest, ','), value = pair, key = cut(&value, ':');
        const struct row *r = find(key);
        za_fmt_init(&why, buf, sizeof(buf));
        if (r && key.len < pair.len && judge(r, value, &number, &why))
            say_line(say, pair, "accepted", c, NULL);
    }
}

unsigned za_conf_parse(struct za_conf *c, const char *text, za_conf_say *say)
{
    struct text rest = text_of(text ? text : "");
    unsigned bad = 0;

    /* A comma at the very end leaves nothing: that is allowed, an empty pair before it is not. */
    while (rest.len)
        if (!take_pair(c, cut(&rest, ','), say))
            bad++;
    if (c->confirm_conf)
        confirm(c, text_of(text ? text : ""), say);
    return bad;
}

void za_conf_defaults(struct za_conf *c)
{
    *c = defaults;
}

bool za_conf_entry(const struct za_conf *c, unsigned i, struct za_conf_entry *out)
{
    struct za_fmt f;

    if (i >= ZA_ARRAY_LEN(rows))
        return false;
    out->name = rows[i].name;
    out->type = types[rows[i].type].name;
    out->unit = rows[i].unit;
    out->help = rows[i].help;
    za_fmt_init(&f, out->value, sizeof(out->value));
    print_value(&f, c, &rows[i]);
    za_fmt_init(&f, out->def, sizeof(out->def));
    print_value(&f, &defaults, &rows[i]);
    return true;
}

int za_conf_set(struct za_conf *c, const char *key, const char *value)
{
    const struct row *r = find(text_of(key));
    char buf[WHY_BYTES];
    struct za_fmt why;
    uint64_t number = 0;

    if (!r)
        return -ENOENT;
    za_fmt_init(&why, buf, sizeof(buf));
    for (size_t i = 0; i < ZA_ARRAY_LEN(at_run_time); i++) {
        if (strcmp(r->name, at_run_time[i]) != 0)
            continue;
        if (!judge(r, text_of(value), &number, &why))
            return -EINVAL;
        store(c, r, text_of(value), number);
        return 0;
    }
    return -EPERM;
}
