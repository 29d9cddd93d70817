/* SPDX-License-Identifier: MIT */
/* protect -- protection of cold heap memory: guard pages, thread stacks, code, keys, read-only. */
#include "hostile.h"

#include <pthread.h>
#include <semaphore.h>

#define LEN (4 * UNIT)
#define NTHREADS 8

static bool poke(void *p)
{
    *(volatile char *)p = 1;
    return true;
}

static void guard_page(void)
{
    char *p = block(LEN, 1);
    point("goes cold", go_cold(p, LEN));
    int r = mprotect(p + 5 * PAGE, PAGE, PROT_NONE);
    point("PROT_NONE on cold pages: refused to touch", r == 0 && !in_child(poke, p + 5 * PAGE));
    (void)go_cold(p, 0);
    (void)ctl("pager.thaw", NULL, NULL, NULL, 0);
    point("thaw beside a guard page", right(p, 0, 5 * PAGE, 1) && right(p, 6 * PAGE, LEN, 1));
    r = mprotect(p, LEN, PROT_READ | PROT_WRITE);
    point("the guard opened: its bytes are there", r == 0 && right(p, 0, LEN, 1));
    point("goes cold again", go_cold(p, LEN) && right(p, 0, LEN, 1));
    free(p);
}

static bool reads_hidden(void *p)
{
    return mprotect((char *)p + PAGE, 9 * PAGE, PROT_READ) == 0 && right(p, 0, LEN, 2);
}

static void hidden_in_child(void)
{
    char *p = block(LEN, 2);
    point("goes cold", go_cold(p, LEN));
    int r = mprotect(p + PAGE, 9 * PAGE, PROT_NONE);
    point("a child opens what was hidden", r == 0 && in_child(reads_hidden, p));
    point("and so does the parent", reads_hidden(p));
    (void)mprotect(p, LEN, PROT_READ | PROT_WRITE);
    free(p);
}

static void read_only(void)
{
    char *p = block(LEN, 3);
    point("goes cold", go_cold(p, LEN));
    int r = mprotect(p, LEN, PROT_READ);
    (void)go_cold(p, 0);
    point("read-only: bytes", r == 0 && right(p, 0, LEN, 3));
    point("read-only: no writing", !in_child(poke, p));
    (void)mprotect(p, LEN, PROT_READ | PROT_WRITE);
    free(p);
}

#if defined(__x86_64__)
static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov eax, 42; ret */
#elif defined(__aarch64__)
static const unsigned char code[] = {0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6};
#endif

static void executable(void)
{
    char *p = block(LEN, 4);
    int sum = 0;
    for (size_t i = 0; i < LEN; i += PAGE)
        memcpy(p + i, code, sizeof(code));
    __builtin___clear_cache(p, p + LEN);
    point("goes cold", go_cold(p, LEN));
    int r = mprotect(p, LEN, PROT_READ | PROT_EXEC);
    (void)go_cold(p, 0);
    for (size_t i = 0; i < LEN; i += PAGE)
        sum += ((int (*)(void))(uintptr_t)(p + i))();
    point("code in heap memory runs", r == 0 && sum == (int)(42 * (LEN / PAGE)));
    r = mprotect(p, LEN, PROT_READ | PROT_WRITE);
    (void)go_cold(p, 0);
    point("and is data again", r == 0 && memcmp(p + 9 * PAGE, code, sizeof(code)) == 0);
    free(p);
}

static void keyed(void)
{
    int key = pkey_alloc(0, 0);
    if (key < 0) {
        skip("protection keys", "the processor has none");
        return;
    }
    char *p = block(LEN, 5);
    point("goes cold", go_cold(p, LEN));
    int r = pkey_mprotect(p + PAGE, 3 * PAGE, PROT_READ | PROT_WRITE, key);
    (void)ctl("pager.thaw", NULL, NULL, NULL, 0);
    point("keyed pages: bytes", r == 0 && right(p, 0, LEN, 5));
    (void)pkey_set(key, PKEY_DISABLE_ACCESS);
    point("keyed pages: closed", !in_child(poke, p + PAGE));
    (void)pkey_set(key, 0);
    (void)pkey_mprotect(p, LEN, PROT_READ | PROT_WRITE, 0);
    (void)go_cold(p, 0);
    point("keyed pages: open again", right(p, 0, LEN, 5));
    free(p);
}

/* ---- threads whose stacks lie in heap memory with a guard page at their foot --------------------
 */

struct worker {
    pthread_t thread;
    char *stack;
    uint64_t id;
    bool good;
};

static sem_t asleep, wake;

static void *sleeper(void *arg)
{
    struct worker *w = arg;
    volatile uint64_t local[3 * UNIT / 8];
    uint64_t copy[64];
    for (size_t i = 0; i < 3 * UNIT / 8; i++)
        local[i] = word_at(w->id, i * 8);
    sem_post(&asleep);
    while (sem_wait(&wake) < 0 && errno == EINTR)
        ;
    w->good = true;
    for (size_t i = 0; i < 3 * UNIT / 8; i++)
        w->good &= local[i] == word_at(w->id, i * 8);
    fill(copy, sizeof(copy), w->id);
    w->good &= right(copy, 0, sizeof(copy), w->id);
    return NULL;
}

static bool start(struct worker *w, uint64_t id)
{
    pthread_attr_t attr;
    void *stack = NULL;
    if (posix_memalign(&stack, PAGE, LEN) != 0 || mprotect(stack, PAGE, PROT_NONE) < 0)
        return false;
    w->stack = stack;
    w->id = id;
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, w->stack + PAGE, LEN - PAGE);
    bool good = pthread_create(&w->thread, &attr, sleeper, w) == 0;
    pthread_attr_destroy(&attr);
    return good;
}

static void stacks(void)
{
    static struct worker w[NTHREADS];
    bool good = true;
    sem_init(&asleep, 0, 0);
    sem_init(&wake, 0, 0);
    for (unsigned i = 0; i < NTHREADS; i++)
        good &= start(&w[i], 100 + i);
    for (unsigned i = 0; i < NTHREADS; i++)
        while (sem_wait(&asleep) < 0)
            ;
    point("stacks of sleeping threads go cold", good && go_cold(w[0].stack + UNIT, UNIT));
    for (unsigned i = 0; i < NTHREADS; i++)
        sem_post(&wake);
    for (unsigned i = 0; i < NTHREADS; i++) {
        pthread_join(w[i].thread, NULL);
        good &= w[i].good;
        good &= mprotect(w[i].stack, PAGE, PROT_READ | PROT_WRITE) == 0;
        free(w[i].stack);
    }
    point("the threads wake on them", good);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    guard_page();
    hidden_in_child();
    read_only();
    executable();
    keyed();
    stacks();
    return end();
}
