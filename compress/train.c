/* SPDX-License-Identifier: MIT */
/*
 * train -- gather, count, pick, make, judge:
 * each phase maps what it needs and unmaps it at its end.
 *
 * Samples lie in one mapping: text grows from its front,
 * units held back from its end, each behind its length.
 *
 * Locks: none.  May sleep: in map, unmap.  May fault: on the samples added.  Allocates: via ops.
 */
#include "compress/train.h"

#include <string.h>

#include "compress/cover.h"
#include "compress/store_private.h"
#include "os/os.h"

#define HELD_MAX (256 * ZA_KIB)
#define HELD_SHARE 4u
#define COUNT_PIECE ((size_t)16 * 1024)
#define SMALL_WORK ((size_t)4096)
/* Work of a byte: made ready for packing; packed twice. */
#define WORK_READY 2u
#define WORK_JUDGE 8u
/* A dictionary stays when it leaves at most this much of what the store holds without it. */
#define STAYS_NUM 98u
#define STAYS_DEN 100u
/* And saves so many times its own memory: the sample may flatter it, and half a heap may go. */
unsigned za_training_pays = 2;

/* Mapped while samples become content. */
struct cover_room {
    struct za_cover_tables tables;
    char content[ZA_DICT_MAX_BYTES];
};

/* Mapped while a dictionary is judged; the workspace is behind it. */
struct judge_room {
    char packed[ZA_BLOB_MAX_RAW];
    char workspace[] __attribute__((aligned(64)));
};

enum phase { GATHER, COUNT, PICK, MAKE, JUDGE, END };

/* Born: za_training_new.  Owned: by one thread (every field).  Dies: za_training_free. */
struct za_training {
    struct za_store_ops ops;
    struct za_training_plan plan;
    enum phase phase;
    enum za_training_state state;
    uint32_t added;
    char *samples;     /* plan.sample_bytes */
    size_t text;       /* bytes from the front */
    size_t held;       /* where the units held back begin, */
    size_t held_bytes; /* and their sum, without the lengths */
    size_t judged;     /* the next one of them to judge */
    uint64_t without;  /* bytes the store would hold without the dictionary, */
    uint64_t with;     /* and with it */
    struct za_cover cover;
    struct cover_room *cover_room;
    struct judge_room *judge_room;
    struct za_dict *dict;
};

static const struct za_codec *codec(const struct za_training *t)
{
    return &za_codec_zstd[t->plan.effort];
}

static size_t self_bytes(void)
{
    return za_align_up(sizeof(struct za_training), za_os->page_size);
}

static size_t samples_bytes(const struct za_training *t)
{
    return za_align_up(t->plan.sample_bytes, za_os->page_size);
}

static size_t cover_bytes(void)
{
    return za_align_up(sizeof(struct cover_room), za_os->page_size);
}

static size_t judge_bytes(const struct za_training *t)
{
    return za_align_up(sizeof(struct judge_room) + codec(t)->pack_bytes, za_os->page_size);
}

struct za_training *za_training_new(const struct za_store_ops *ops,
                                    const struct za_training_plan *plan)
{
    ZA_ASSERT(plan->content_bytes > 0 && plan->content_bytes <= ZA_DICT_MAX_BYTES);
    ZA_ASSERT(plan->unit_bytes > 0 && plan->unit_bytes <= ZA_BLOB_MAX_RAW);
    struct za_training *t = ops->map(self_bytes());
    if (!t)
        return NULL;
    t->ops = *ops;
    t->plan = *plan;
    t->held = plan->sample_bytes;
    t->samples = ops->map(samples_bytes(t));
    if (t->samples)
        return t;
    ops->unmap(t, self_bytes());
    return NULL;
}

static bool hold_back(struct za_training *t, const void *unit, uint32_t len)
{
    size_t bytes = sizeof(len) + len;

    if (t->held_bytes + len > HELD_MAX)
        return false;
    t->held_bytes += len;
    t->held -= bytes;
    memcpy(t->samples + t->held, &len, sizeof(len));
    memcpy(t->samples + t->held + sizeof(len), unit, len);
    return true;
}

bool za_training_add(struct za_training *t, const void *unit, size_t len)
{
    ZA_ASSERT(t->phase == GATHER && len > 0 && len <= t->plan.unit_bytes);
    if (t->held - t->text < len + sizeof(uint32_t))
        return false;
    if (t->added++ % HELD_SHARE == 0 && hold_back(t, unit, (uint32_t)len))
        return true;
    memcpy(t->samples + t->text, unit, len);
    t->text += len;
    return true;
}

/* ---- phases: each does a piece and returns the work it was ---- */

static size_t end(struct za_training *t, enum za_training_state state)
{
    t->state = state;
    t->phase = END;
    return 0;
}

static size_t gather_end(struct za_training *t)
{
    if (!t->held_bytes ||
        t->text + t->held_bytes < (size_t)ZA_TRAINING_SAMPLES * t->plan.content_bytes)
        return end(t, ZA_TRAINING_FEW);
    t->cover_room = t->ops.map(cover_bytes());
    if (!t->cover_room)
        return end(t, ZA_TRAINING_NOMEM);
    za_cover_begin(&t->cover, &t->cover_room->tables, t->samples, t->text, t->cover_room->content,
                   t->plan.content_bytes);
    t->phase = COUNT;
    return SMALL_WORK;
}

static size_t count(struct za_training *t)
{
    size_t work = za_cover_count(&t->cover, COUNT_PIECE);

    if (!work)
        t->phase = PICK;
    return work;
}

static size_t pick(struct za_training *t)
{
    size_t work = za_cover_pick(&t->cover);

    if (!work)
        t->phase = MAKE;
    return work;
}

static void leave_cover(struct za_training *t)
{
    void *room = t->cover_room;

    t->cover_room = NULL;
    if (room)
        t->ops.unmap(room, cover_bytes()); /* forgotten first: segment.h I8 */
}

static void leave_judge(struct za_training *t)
{
    void *room = t->judge_room;

    t->judge_room = NULL;
    if (room)
        t->ops.unmap(room, judge_bytes(t));
}

/* A text without repetition has no content worth the name: half a segment. */
static size_t make(struct za_training *t)
{
    const struct za_cover *c = &t->cover;
    size_t bytes = c->capacity - c->tail;

    if (bytes < ZA_COVER_SEGMENT / 2)
        return end(t, ZA_TRAINING_NO_GAIN);
    t->dict = za_dict_new(&t->ops, t->plan.effort, c->content + c->tail, bytes);
    leave_cover(t);
    if (t->dict)
        t->judge_room = t->ops.map(judge_bytes(t));
    if (!t->judge_room || !codec(t)->open_pack(t->judge_room->workspace))
        return end(t, ZA_TRAINING_NOMEM);
    t->judged = t->held;
    t->phase = JUDGE;
    return bytes * WORK_READY;
}

/* As the store would hold it; a unit that saves less than a quarter stays as it is. */
static uint64_t stored(struct za_training *t, const struct za_dict *dict, const char *unit,
                       uint32_t len)
{
    struct judge_room *room = t->judge_room;
    size_t size =
        codec(t)->pack(room->workspace, dict, unit, len, room->packed, (size_t)len / 4 * 3);

    return size ? za_blob_bytes((uint32_t)size) : len;
}

static size_t verdict(struct za_training *t)
{
    struct za_dict *d = t->dict;

    leave_judge(t);
    if (t->with * STAYS_DEN > t->without * STAYS_NUM)
        return end(t, ZA_TRAINING_NO_GAIN);
    d->gain = (uint32_t)((t->without - t->with) * 1000 / t->without);
    d->saves = (uint32_t)((t->without - t->with) * ZA_MIB / t->held_bytes);
    bool pays = za_dict_saves(d, t->plan.heap_bytes) >= za_training_pays * za_dict_bytes(d);
    return end(t, pays ? ZA_TRAINING_GOOD : ZA_TRAINING_NO_GAIN);
}

static size_t judge(struct za_training *t)
{
    const char *at = t->samples + t->judged;
    uint32_t len;

    if (t->judged == t->plan.sample_bytes)
        return verdict(t);
    memcpy(&len, at, sizeof(len));
    t->without += stored(t, NULL, at + sizeof(len), len);
    t->with += stored(t, t->dict, at + sizeof(len), len);
    t->judged += sizeof(len) + len;
    return (size_t)len * WORK_JUDGE;
}

enum za_training_state za_training_step(struct za_training *t, size_t work)
{
    static size_t (*const phases[])(struct za_training *) = {
        [GATHER] = gather_end, [COUNT] = count, [PICK] = pick, [MAKE] = make, [JUDGE] = judge,
    };
    size_t done = 0;

    while (t->phase != END && done < work)
        done += phases[t->phase](t);
    return t->state;
}

struct za_dict *za_training_take(struct za_training *t)
{
    ZA_ASSERT(t->state == ZA_TRAINING_GOOD && t->dict);
    struct za_dict *d = t->dict;
    t->dict = NULL;
    return d;
}

size_t za_training_bytes(const struct za_training *t)
{
    return self_bytes() + samples_bytes(t) + (t->cover_room ? cover_bytes() : 0) +
           (t->judge_room ? judge_bytes(t) : 0) + (t->dict ? za_dict_bytes(t->dict) : 0);
}

void za_training_free(struct za_training *t)
{
    struct za_store_ops ops = t->ops;

    leave_cover(t);
    leave_judge(t);
    if (t->dict)
        za_dict_free(t->dict);
    ops.unmap(t->samples, samples_bytes(t));
    ops.unmap(t, self_bytes());
}
