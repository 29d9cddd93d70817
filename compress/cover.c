/* SPDX-License-Identifier: MIT */
/*
 * cover -- counts words, slides a segment over a stretch, keeps the best.
 *
 * Locks: none.  May sleep: no.  May fault: only on the memory given.  Allocates: nothing.
 */
#include "compress/cover.h"

#include <string.h>

#define WORD ((size_t)8)
#define SEGMENT_WORDS (ZA_COVER_SEGMENT - WORD + 1)
/* Each stretch is visited so many times before the content is full. */
#define ROUNDS 4u

static uint32_t hash(const char *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof(w));
    return (uint32_t)(w * 0xcf1bbcdcb7a56463ull >> (64 - ZA_COVER_HASH_BITS));
}

/* A word that is there once helps nobody. */
static uint32_t worth(const struct za_cover *c, uint32_t h)
{
    uint32_t n = c->tables->seen[h];

    return n ? n - 1 : 0;
}

void za_cover_begin(struct za_cover *c, struct za_cover_tables *tables, const char *text,
                    size_t text_bytes, char *content, size_t capacity)
{
    size_t stretches = za_max(capacity / ZA_COVER_SEGMENT / ROUNDS, 1);

    *c = (struct za_cover){
        .tables = tables,
        .text = text,
        .content = content,
        .words = text_bytes < WORD ? 0 : text_bytes - WORD + 1,
        .capacity = capacity,
        .tail = capacity,
    };
    c->stretch = za_max(c->words / stretches, ZA_COVER_SEGMENT);
}

size_t za_cover_count(struct za_cover *c, size_t bytes)
{
    size_t from = c->counted, to = za_min(from + bytes, c->words);

    for (size_t i = from; i < to; i++)
        c->tables->seen[hash(c->text + i)]++;
    c->counted = to;
    return to - from;
}

struct segment {
    size_t from, to; /* words */
    uint64_t worth;
};

/* Words in [from, to) are under the lens; each counts once, however often it is there. */
static struct segment best_in(struct za_cover *c, size_t begin, size_t end)
{
    struct za_cover_tables *t = c->tables;
    struct segment lens = {begin, begin, 0}, best = lens;

    for (; lens.to < end; lens.to++) {
        uint32_t h = hash(c->text + lens.to);
        if (t->inside[h]++ == 0)
            lens.worth += worth(c, h);
        if (lens.to - lens.from == SEGMENT_WORDS) {
            h = hash(c->text + lens.from++);
            if (--t->inside[h] == 0)
                lens.worth -= worth(c, h);
        }
        if (lens.worth > best.worth)
            best = (struct segment){lens.from, lens.to + 1, lens.worth};
    }
    for (; lens.from < lens.to; lens.from++)
        t->inside[hash(c->text + lens.from)] = 0;
    return best;
}

/* Without the worthless words at its ends. */
static struct segment trim(const struct za_cover *c, struct segment s)
{
    while (s.from < s.to && worth(c, hash(c->text + s.from)) == 0)
        s.from++;
    while (s.from < s.to && worth(c, hash(c->text + s.to - 1)) == 0)
        s.to--;
    return s;
}

static void take(struct za_cover *c, struct segment s)
{
    size_t bytes = za_min(s.to - s.from + WORD - 1, c->tail);

    c->tail -= bytes;
    memcpy(c->content + c->tail, c->text + s.from, bytes);
    for (size_t i = s.from; i < s.to; i++)
        c->tables->seen[hash(c->text + i)] = 0;
}

size_t za_cover_pick(struct za_cover *c)
{
    if (c->tail < WORD || c->idle * c->stretch >= c->words)
        return 0;
    size_t begin = c->at, end = za_min(begin + c->stretch, c->words);
    struct segment s = trim(c, best_in(c, begin, end));

    c->at = end == c->words ? 0 : end;
    c->idle = s.from == s.to ? c->idle + 1 : 0;
    if (s.from < s.to)
        take(c, s);
    return end - begin;
}
