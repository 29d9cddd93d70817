/* SPDX-License-Identifier: MIT */
/*
 * single -- fork without threads: libc does not reset its stdio locks then,
 * and the child still must be able to use them.
 */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void *use_stdio(void *arg)
{
    FILE *f = fopen("/dev/null", "w");
    (void)fflush(NULL);
    if (f)
        (void)fclose(f);
    return arg;
}

/* The lock of the list of files must be free, for this thread and for another. */
static int child(int depth)
{
    pthread_t t;
    (void)use_stdio(NULL);
    if (pthread_create(&t, NULL, use_stdio, NULL) != 0 || pthread_join(t, NULL) != 0)
        return 1;
    if (depth == 3)
        return 0;
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(depth + 1));
    return waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 2;
}

/* A library's handlers may allocate: theirs run before ours in prepare and after ours later. */
static void *held;

static void hold(void)
{
    held = malloc(3000);
    free(malloc(1 << 20));
}

static void let_go(void)
{
    free(held);
    free(malloc(200));
}

__attribute__((constructor)) static void register_handlers(void)
{
    (void)pthread_atfork(hold, let_go, let_go);
}

int main(void)
{
    pthread_t t;
    for (int i = 0; i < 3; i++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0)
            _exit(child(0));
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    }
    CHECK(pthread_create(&t, NULL, use_stdio, NULL) == 0 && pthread_join(t, NULL) == 0);
    return check_end();
}
