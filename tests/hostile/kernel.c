/* SPDX-License-Identifier: MIT */
/* kernel -- cold heap memory that the kernel writes to by itself: I/O, signal frames, futexes. */
#include "hostile.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

#define LEN (4 * UNIT)

/* Once what the worker knows of open files is no older than the file. */
static bool stays(void *p)
{
    uint64_t before = stat_of("stats.pager.held");
    for (unsigned ms = 0; ms < PATIENCE_MS && stat_of("stats.pager.held") == before; ms++) {
        (void)ctl("pager.evict", NULL, NULL, NULL, 0);
        sleep_ms(1);
    }
    fill(p, LEN, 1);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0);
    return present(p, LEN) == LEN / PAGE;
}

static void direct_io(void)
{
    const char *directory = getenv("TMPDIR");
    char path[256];
    snprintf(path, sizeof(path), "%s/zalloc-hostile.XXXXXX", directory ? directory : "/tmp");
    int fd = mkostemp(path, O_DIRECT);
    if (fd < 0)
        return; /* not in this file system */
    unlink(path);
    char *p = block(LEN, 1), *q = block(LEN, 2);
    (void)ctl("pager.evict", NULL, NULL, NULL, 0); /* there is a back-end from here on */
    /* Where the back-end cannot see which pages a device holds, all stay. */
    if (backend_is("remap"))
        point("stays while there may be direct I/O", stays(p));
    else
        point("goes cold", go_cold(p, LEN) && go_cold(q, LEN));
    point("O_DIRECT: write", pwrite(fd, p, LEN, 0) == (ssize_t)LEN);
    (void)go_cold(q, LEN);
    point("O_DIRECT: read", pread(fd, q, LEN, 0) == (ssize_t)LEN);
    (void)go_cold(p, 0);
    point("O_DIRECT: bytes", right(p, 0, LEN, 1) && right(q, 0, LEN, 1));
    close(fd);
    free(p);
    free(q);
}

/* ---- a signal frame on cold memory --------------------------------------------------------------
 */

static volatile sig_atomic_t handled;
static char *alternative;

static void handler(int sig)
{
    char local[2 * PAGE];
    (void)sig;
    memset(local, 7, sizeof(local));
    handled += local[100] == 7 && local > alternative && local < alternative + LEN;
}

static void signal_frames(void)
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    alternative = block(LEN, 3);
    stack_t stack = {.ss_sp = alternative, .ss_size = LEN};
    bool good = sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &sa, NULL) == 0;
    for (unsigned i = 0; i < 3; i++) {
        good &= go_cold(alternative, LEN);
        raise(SIGUSR1);
    }
    point("signal frames on a cold stack", good && handled == 3);
    stack.ss_flags = SS_DISABLE;
    (void)sigaltstack(&stack, NULL);
    point("the rest of that stack", right(alternative, 0, LEN / 2, 3));
    free(alternative);
}

/* ---- mutexes in cold memory ---------------------------------------------------------------------
 */

struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    unsigned turns;
};

static void *waiter(void *arg)
{
    struct shared *s = arg;
    pthread_mutex_lock(&s->mutex);
    while (s->turns < 10) {
        s->turns++;
        pthread_cond_wait(&s->cond, &s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void waiting(void)
{
    struct shared *s = block(UNIT, 4);
    pthread_t t;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->cond, NULL);
    s->turns = 0;
    pthread_create(&t, NULL, waiter, s);
    for (unsigned seen = 0; seen < 10; sleep_ms(1)) {
        (void)go_cold(s, UNIT);
        pthread_mutex_lock(&s->mutex);
        seen = s->turns;
        pthread_cond_signal(&s->cond);
        pthread_mutex_unlock(&s->mutex);
    }
    pthread_mutex_lock(&s->mutex);
    pthread_cond_signal(&s->cond);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(t, NULL);
    point("threads wait and wake on cold futexes", s->turns == 10);
    free(s);
}

int main(int argc, char **argv)
{
    if (!begin(argc, argv))
        return 77;
    direct_io();
    signal_frames();
    waiting();
    return end();
}
