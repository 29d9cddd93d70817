/* SPDX-License-Identifier: MIT */
/*
 * pager_budget -- the quota: spends what is earned, saves a little, and says how long to wait.
 */
#include "pager/budget.h"

#include "tests/unit/unit.h"

#define MS 1000000ull
#define S (1000 * MS)

UNIT_TEST(begins_with_savings)
{
    struct za_budget b;

    za_budget_start(&b, 5 * S, 1 * S);
    CHECK_EQ(b.credit, ZA_BUDGET_SAVED_NS);
    CHECK(za_budget_look(&b, 5 * S, 1 * S, 15));
    CHECK_EQ(za_budget_wait(&b, 5 * MS, 15), 0);
}

UNIT_TEST(savings_are_bounded)
{
    struct za_budget b;

    za_budget_start(&b, 0, 0);
    CHECK(za_budget_look(&b, 86400 * S, 0, 100));
    CHECK_EQ(b.credit, ZA_BUDGET_SAVED_NS);
}

UNIT_TEST(spending_ends_the_credit)
{
    struct za_budget b;

    const uint64_t saved = ZA_BUDGET_SAVED_NS;

    za_budget_start(&b, 0, 0);
    CHECK(za_budget_look(&b, saved - MS, saved - MS, 0));
    CHECK(!za_budget_look(&b, saved, saved, 0));
    CHECK_EQ(b.credit, 0);
    CHECK(!za_budget_look(&b, saved + 100 * MS, saved + 100 * MS, 0));
    CHECK_EQ(b.credit, -100 * (int64_t)MS);
}

/* Overdrawn by 100 ms, at a fifth of a core: half a second until it is paid back. */
UNIT_TEST(debts_are_paid_by_waiting)
{
    struct za_budget b;

    za_budget_start(&b, 0, 0);
    CHECK(!za_budget_look(&b, 0, ZA_BUDGET_SAVED_NS + 100 * MS, 20));
    CHECK_EQ(za_budget_wait(&b, 0, 20), 500 * MS);
    CHECK_EQ(za_budget_wait(&b, 10 * (int64_t)MS, 20), 550 * MS);
    CHECK(!za_budget_look(&b, 500 * MS, ZA_BUDGET_SAVED_NS + 100 * MS, 20));
    CHECK(za_budget_look(&b, 505 * MS, ZA_BUDGET_SAVED_NS + 100 * MS, 20));
    CHECK_EQ(b.credit, 1 * MS);
    CHECK_EQ(za_budget_wait(&b, 0, 20), 0);
}

UNIT_TEST(waiting_as_long_as_told_is_enough)
{
    for (uint64_t percent = 1; percent <= 100; percent++) {
        struct za_budget b;
        int64_t want = 5 * (int64_t)MS;

        za_budget_start(&b, 0, 0);
        (void)za_budget_look(&b, 0, 777777777, percent);
        uint64_t wait = za_budget_wait(&b, want, percent);
        (void)za_budget_look(&b, wait + 100, 777777777, percent);
        CHECK(b.credit >= want - 100);
        CHECK(b.credit <= want + 100);
    }
}

/* Over a long time no more is spent than the quota, plus the savings. */
UNIT_TEST(the_long_run)
{
    struct za_budget b;
    uint64_t now = 0, cpu = 0;

    za_budget_start(&b, now, cpu);
    while (now < 100 * S) {
        if (za_budget_look(&b, now, cpu, 15)) {
            cpu += 1 * MS; /* a step of work */
            now += 1 * MS;
        } else {
            now += za_budget_wait(&b, 5 * (int64_t)MS, 15);
        }
    }
    CHECK(cpu <= 15 * S + 2 * (uint64_t)ZA_BUDGET_SAVED_NS);
    CHECK(cpu >= 14 * S);
}

/*
 * Work in steps of 3 ms, after a minute without any: in no second, wherever it begins, is there more
 * than the quota, what was saved, and a step.
 */
UNIT_TEST(any_second)
{
    static uint64_t spent[20 * 1000]; /* until this millisecond */
    const uint64_t step = 3;
    struct za_budget b;
    uint64_t cpu = 0, most = 0;

    za_budget_start(&b, 0, 0);
    for (uint64_t ms = 0; ms < ZA_ARRAY_LEN(spent); ms++) {
        uint64_t now = 60 * S + ms * MS;
        spent[ms] = cpu;
        if (ms % step == 0 && za_budget_look(&b, now, cpu, 15))
            cpu += step * MS;
    }
    for (size_t ms = 1000; ms < ZA_ARRAY_LEN(spent); ms++)
        most = za_max(most, spent[ms] - spent[ms - 1000]);
    CHECK(most <= 150 * MS + ZA_BUDGET_SAVED_NS + 2 * step * MS);
    CHECK(most <= 180 * MS);
    CHECK(cpu >= 2800 * MS);
}

UNIT_TEST(what_is_forgiven)
{
    struct za_budget b;

    za_budget_start(&b, 0, 0);
    CHECK(za_budget_look(&b, 0, 5 * MS, 15));
    za_budget_forgive(&b, 900 * MS);
    CHECK(za_budget_look(&b, 0, 901 * MS, 15));
    CHECK_EQ(b.credit, ZA_BUDGET_SAVED_NS - 6 * (int64_t)MS);
}

UNIT_TEST(clocks_that_stand_or_step_back)
{
    struct za_budget b;

    za_budget_start(&b, 10 * S, 10 * S);
    CHECK(za_budget_look(&b, 9 * S, 9 * S, 15));
    CHECK_EQ(b.credit, ZA_BUDGET_SAVED_NS);
    CHECK(za_budget_look(&b, 9 * S, 9 * S, 15));
    CHECK_EQ(b.credit, ZA_BUDGET_SAVED_NS);
}

/* Not a valid setting, but no division by it either. */
UNIT_TEST(no_quota_at_all)
{
    struct za_budget b;

    za_budget_start(&b, 0, 0);
    CHECK(!za_budget_look(&b, 10 * S, ZA_BUDGET_SAVED_NS + 100 * MS, 0));
    CHECK_EQ(za_budget_wait(&b, 0, 0), 10 * S);
}
