/* SPDX-License-Identifier: MIT */
/*
 * forks -- a program with threads forks while they allocate, free and use stdio; every child finds
 * all bytes right, can allocate, make threads, fork again, and nobody waits for ever (the runner
 * has a time limit).
 */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 3000, FORKS = 15, WORKERS = 3, FILES = 20 };

static unsigned char *block[BLOCKS];
static FILE *file[FILES];
static volatile int stop;

static size_t size_of(size_t i)
{
    return i * 37 % 9000 + 1;
}

static void make(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        block[i] = malloc(size_of(i));
        memset(block[i], (int)(i * 7), size_of(i));
    }
    for (int i = 0; i < FILES; i++) {
        file[i] = tmpfile();
        (void)fprintf(file[i], "file %d", i); /* stays in its buffer */
    }
}

static int wrong(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t n = size_of(i);
        for (size_t k = 0; k < n; k += 13) {
            if (block[i][k] != (unsigned char)(i * 7))
                return 1;
        }
        if (block[i][n - 1] != (unsigned char)(i * 7))
            return 1;
    }
    return 0;
}

static void *churn(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    void *mine[64] = {0};
    while (!stop) {
        seed = seed * 1664525 + 1013904223;
        size_t slot = seed >> 26;
        free(mine[slot]);
        mine[slot] = malloc(seed % 5000 + 1);
        if (seed % 61 == 0) {
            FILE *f = fopen("/dev/null", "w");
            if (f) {
                (void)fprintf(f, "%u", seed);
                (void)fflush(NULL);
                (void)fclose(f);
            }
        }
    }
    for (int i = 0; i < 64; i++)
        free(mine[i]);
    return NULL;
}

static void *in_child_thread(void *arg)
{
    return memset(malloc(10000), 1, 10000) ? arg : NULL;
}

static int child(int depth)
{
    pthread_t t;
    FILE *f = fopen("/dev/null", "w"); /* needs libc's list of files */
    if (!f || fclose(f) != 0)
        return 2;
    if (fflush(file[depth]) != 0)
        return 3;
    if (wrong())
        return 4;
    if (pthread_create(&t, NULL, in_child_thread, NULL) != 0 || pthread_join(t, NULL) != 0)
        return 5;
    for (size_t i = 0; i < BLOCKS; i += 2) {
        free(block[i]);
        block[i] = malloc(size_of(i));
        memset(block[i], (int)(i * 7), size_of(i));
    }
    if (wrong())
        return 6;
    if (depth > 0)
        return 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(depth + 1));
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        return 10 + WEXITSTATUS(status);
    return 0;
}

int main(void)
{
    pthread_t t[WORKERS];
    make();
    CHECK(!wrong());
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&t[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
    for (int i = 0; i < FORKS; i++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0)
            _exit(child(0));
        CHECK(pid > 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        if (status != 0)
            fprintf(stderr, "fork %d: status %x\n", i, (unsigned)status);
        CHECK(status == 0);
    }
    stop = 1;
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_join(t[i], NULL) == 0);
    CHECK(!wrong());
    return check_end();
}
