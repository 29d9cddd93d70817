/* SPDX-License-Identifier: MIT */
/*
 * pager_renew -- whose rights count as given away, and a record of births that is read whole while
 * it is written (D14).
 */
#include <pthread.h>

#include "os/os.h"
#include "pager/private.h"
#include "tests/unit/unit.h"

#define CHANGES 2000
#define READS_MAX 100000000u

static const struct za_identity root = {{0, 0, 0}, {0, 0, 0}, 1};
static const struct za_identity user = {{5, 5, 5}, {7, 7, 7}, 2};

static struct za_os table;
static bool stop;

UNIT_TEST(what_cannot_be_taken_back_counts)
{
    const struct za_identity back = {{5, 5, 0}, {7, 7, 7}, 2}, other = {{5, 5, 5}, {7, 7, 7}, 3};

    CHECK(za_renew_wanted(&root, &user));
    CHECK(!za_renew_wanted(&root, &back)); /* it may become root again */
    CHECK(!za_renew_wanted(&user, &user));
    CHECK(za_renew_wanted(&user, &other)); /* groups */
}

static void either(struct za_identity *out)
{
    static bool turn; /* of the one thread that is born all the time */
    turn = !turn;
    *out = turn ? root : user;
}

static void *be_born(void *arg)
{
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
        za_renew_born();
    return arg;
}

static bool same(const struct za_identity *a, const struct za_identity *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

UNIT_TEST(a_birth_is_read_whole)
{
    pthread_t t;
    struct za_identity seen, last = root;
    unsigned torn = 0, changes = 0;

    za_os_init();
    table = *za_os_linux;
    table.identity = either;
    za_os = &table;
    za_renew_born();
    CHECK_EQ(pthread_create(&t, NULL, be_born, NULL), 0);
    /* As long as both run at the same time: what is read changes. */
    for (unsigned i = 0; changes < CHANGES && i < READS_MAX; i++) {
        za_renew_read(&seen);
        torn += !same(&seen, &root) && !same(&seen, &user);
        changes += !same(&seen, &last);
        last = seen;
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(torn, 0);
}
