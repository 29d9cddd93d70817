/* SPDX-License-Identifier: MIT */
/* compress_attempt -- whatever came of a training, there is another one when the heap has changed. */
#include "compress/attempt.h"
#include "tests/unit/unit.h"

#define MIN (60 * ZA_NS_PER_S)
#define RAW ((uint64_t)64 * ZA_MIB)

static uint64_t now = 1000 * MIN;

static struct za_attempt ended(enum za_training_state s)
{
    struct za_attempt a = {0};

    za_attempt_ended(&a, s, RAW, now);
    return a;
}

static bool due(const struct za_attempt *a, uint64_t later)
{
    return za_attempt_due(a, NULL, RAW, now + later);
}

UNIT_TEST(the_first_one_is_due_at_once)
{
    struct za_attempt a = {0};

    CHECK(due(&a, 0));
}

UNIT_TEST(a_heap_that_is_as_it_was_is_not_tried_again)
{
    struct za_attempt a = ended(ZA_TRAINING_NO_GAIN);

    CHECK(!due(&a, 0));
    CHECK(!due(&a, 100000 * MIN));
    CHECK(!za_attempt_due(&a, NULL, 2 * RAW - 1, now + 100000 * MIN));
    CHECK(za_attempt_due(&a, NULL, 2 * RAW, now)); /* it has doubled */
}

/* Both are needed: what is new, and the pause. */
static void changes(enum za_training_state s)
{
    struct za_attempt a = ended(s);

    za_attempt_packed(&a, RAW / 4 - 1);
    CHECK(!due(&a, 4 * MIN));
    za_attempt_packed(&a, 1);
    CHECK(due(&a, 4 * MIN));
    CHECK(!due(&a, 4 * MIN - 1));
}

UNIT_TEST(a_heap_that_is_new_is_tried_again_after_a_pause)
{
    changes(ZA_TRAINING_NO_GAIN);
    changes(ZA_TRAINING_FEW);
}

/* How long until it is due, in a heap that is new all the time, and fails again then. */
static uint64_t pause(struct za_attempt *a, enum za_training_state s)
{
    uint64_t t = 0;

    za_attempt_packed(a, RAW);
    while (!due(a, t))
        t += ZA_NS_PER_S;
    now += t;
    za_attempt_ended(a, s, RAW, now);
    return t;
}

UNIT_TEST(pauses_double_up_to_an_hour)
{
    static const unsigned minutes[] = {4, 8, 16, 32, 64, 64};
    struct za_attempt a = ended(ZA_TRAINING_NO_GAIN);

    for (size_t i = 0; i < ZA_ARRAY_LEN(minutes); i++)
        CHECK_EQ(pause(&a, i % 2 ? ZA_TRAINING_NO_GAIN : ZA_TRAINING_FEW), minutes[i] * MIN);
    za_attempt_ended(&a, ZA_TRAINING_GOOD, RAW, now);
    za_attempt_ended(&a, ZA_TRAINING_NO_GAIN, RAW, now);
    CHECK_EQ(pause(&a, ZA_TRAINING_NO_GAIN), 4 * MIN);
}

UNIT_TEST(refused_memory_is_asked_for_again_soon)
{
    struct za_attempt a = ended(ZA_TRAINING_NOMEM);

    CHECK(!due(&a, 0));
    CHECK(!za_attempt_due(&a, NULL, 2 * RAW, now)); /* not even then: it would be refused */
    CHECK(due(&a, ZA_NS_PER_S));
    for (uint64_t s = 1; s <= 64; s *= 2)
        CHECK_EQ(pause(&a, ZA_TRAINING_NOMEM), s * ZA_NS_PER_S);
    CHECK_EQ(pause(&a, ZA_TRAINING_NO_GAIN), 64 * ZA_NS_PER_S);
    CHECK_EQ(pause(&a, ZA_TRAINING_NOMEM), 4 * MIN);
    CHECK_EQ(pause(&a, ZA_TRAINING_GOOD), ZA_NS_PER_S);
    CHECK(!due(&a, 0));
}

UNIT_TEST(a_dictionary_that_is_stale_needs_no_pause)
{
    struct za_dict d = {.gain = 200};
    struct za_attempt a = ended(ZA_TRAINING_GOOD);

    za_attempt_packed(&a, 10 * RAW);
    CHECK(!za_attempt_due(&a, &d, RAW, now));
    for (unsigned i = 0; i < ZA_DICT_WINDOW; i++)
        za_dict_note(&d, 1000, 1000);
    CHECK(za_attempt_due(&a, &d, RAW, now));
    za_attempt_ended(&a, ZA_TRAINING_NOMEM, RAW, now);
    CHECK(!za_attempt_due(&a, &d, RAW, now));
    CHECK(za_attempt_due(&a, &d, RAW, now + ZA_NS_PER_S));
}

/* So often a second is looked for a pause; whether the heap was found to be too small. */
static bool look(struct za_attempt *a, const struct za_dict *d, uint64_t raw, uint64_t ns)
{
    bool small = false;

    for (uint64_t t = 0; t < ns; t += ZA_NS_PER_S)
        small = za_attempt_shrunk(a, d, raw, now += ZA_NS_PER_S) || small;
    return small;
}

UNIT_TEST(a_heap_that_shrank_is_tried_when_it_grows)
{
    struct za_attempt a = ended(ZA_TRAINING_NO_GAIN);

    CHECK(!look(&a, NULL, 0, MIN)); /* all was wanted back, once */
    CHECK(!due(&a, 0));
    CHECK(!look(&a, NULL, RAW, 10 * MIN));
    CHECK(!look(&a, NULL, RAW / 16, 3 * MIN)); /* for a moment only */
    CHECK(!look(&a, NULL, RAW, MIN));
    CHECK(!look(&a, NULL, RAW / 16, 3 * MIN));
    CHECK(!za_attempt_due(&a, NULL, RAW / 4, now));
    CHECK(!look(&a, NULL, RAW / 16, 2 * MIN));
    CHECK(!za_attempt_due(&a, NULL, RAW / 4 - 1, now)); /* twice less may be chance */
    CHECK(za_attempt_due(&a, NULL, RAW / 4, now));
}

UNIT_TEST(a_dictionary_must_go_on_paying)
{
    struct za_dict d = {.bytes = 60000, .saves = 16 * ZA_KIB}; /* a MiB saved of 64 */
    struct za_attempt a = ended(ZA_TRAINING_GOOD);
    uint64_t enough = 64 * za_dict_bytes(&d);

    CHECK(!look(&a, &d, 0, 3 * MIN));
    CHECK(!look(&a, &d, enough, 100 * MIN));
    CHECK(!look(&a, &d, enough / 2, 3 * MIN)); /* for a moment only */
    CHECK(!look(&a, &d, enough, MIN));
    CHECK(look(&a, &d, enough - ZA_MIB, 5 * MIN));
}
