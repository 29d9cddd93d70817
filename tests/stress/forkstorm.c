/* SPDX-License-Identifier: MIT */
/*
 * forkstorm -- forked children read everything their parent had, whatever the parent does.
 *
 * usage: forkstorm [-m MiB] [-k children] [-i idle_ms] [-S seed]
 *
 * Acts, each on a parent's cold data of known content:
 *   1. children one after the other, reading in user mode, by system calls, or both ways;
 *   2. children at the same time, changing their copies, beside a parent that changes its own;
 *   3. children of children;
 *   4. orphans: the parent exits at once, its children read and change everything afterwards;
 *   5. posix_spawn, system and popen, whose children borrow the parent's memory before exec;
 *   6. a child, then the parent, that closes every descriptor; the child gives up root as well.
 *
 * A wrong byte, a child that fails and a child that hangs (alarm) end it with status 1.
 */
#include "object.h"

#include <errno.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CHILD_SECONDS 120
#define CHUNK 16384

enum { BY_USER = 1, BY_SYSCALL = 2 };

static struct {
    size_t memory_mib;
    unsigned children, idle_ms;
    uint64_t seed;
} options = {48, 6, 500, 1};

static struct rng rng;
static struct object *objects;
static size_t nobjects;

static void fill_objects(void)
{
    size_t left = options.memory_mib << 20, room = 1024;
    objects = malloc(room * sizeof(objects[0]));
    for (nobjects = 0; objects && left > 0; nobjects++) {
        size_t size = object_random_size(&rng);
        size = size < left ? size : left;
        if (nobjects == room)
            objects = realloc(objects, (room *= 2) * sizeof(objects[0]));
        if (objects)
            objects[nobjects] = object_new(size, nobjects + 1);
        left -= size;
    }
    if (!objects)
        die("forkstorm: no memory");
}

static void cool(void)
{
    make_cold(options.idle_ms);
}

static void check_by_user(const char *where)
{
    for (size_t i = 0; i < nobjects; i++)
        object_check(&objects[i], where);
}

static void pass_through_pipe(const int ends[2], const unsigned char *from, unsigned char *to,
                              size_t size)
{
    ssize_t sent = write(ends[1], from, size);
    if (sent != (ssize_t)size)
        die("write of %zu bytes at %p: %zd, %s", size, (const void *)from, sent, strerror(errno));
    for (size_t got = 0; got < size;) {
        ssize_t step = read(ends[0], to + got, size - got);
        if (step <= 0)
            die("read from a pipe: %zd, %s", step, strerror(errno));
        got += (size_t)step;
    }
}

/* The kernel reads the objects; what it read comes back through a pipe into static memory. */
static void check_by_syscall(const char *where)
{
    static unsigned char copy[4 << 20];
    int ends[2];
    if (pipe(ends) != 0)
        die("pipe: %s", strerror(errno));
    for (size_t i = 0; i < nobjects; i++) {
        const struct object *object = &objects[i];
        for (size_t at = 0; at < object->size; at += CHUNK) {
            size_t step = object->size - at < CHUNK ? object->size - at : CHUNK;
            pass_through_pipe(ends, object->bytes + at, copy + at, step);
        }
        object_check_copy(object, copy, object->size, where);
    }
    close(ends[0]);
    close(ends[1]);
}

static void check_all(unsigned how, const char *where)
{
    if (how & BY_SYSCALL)
        check_by_syscall(where);
    if (how & BY_USER)
        check_by_user(where);
}

/* Gives every nth object new content; ids carry the process, so that no two copies are alike. */
static void change_some(size_t nth)
{
    for (size_t i = 0; i < nobjects; i += nth) {
        if (rng_below(&rng, 4) == 0) {
            free(objects[i].bytes);
            objects[i] = object_new(object_random_size(&rng), 0);
        }
        object_fill(&objects[i], (uint64_t)getpid() << 24 | i);
    }
}

static pid_t start_child(void)
{
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        rng.state ^= mix((uint64_t)getpid());
    }
    return pid;
}

/* Waits for `count` children, whichever they are. */
static void expect_good_children(unsigned count, const char *act)
{
    while (count-- > 0) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            die("%s: child %d ended with status %#x", act, (int)pid, (unsigned)status);
    }
}

static void act_in_sequence(void)
{
    for (unsigned i = 0; i < options.children; i++) {
        if (i % 2 == 0)
            cool();
        if (start_child() == 0) {
            check_all(i % 3 + 1, "child in sequence");
            _exit(0);
        }
        expect_good_children(1, "in sequence");
    }
    check_all(BY_USER, "parent after a sequence");
}

__attribute__((noreturn)) static void read_and_change(unsigned number)
{
    if (number % 2)
        cool();
    check_all(number % 3 + 1, "child among others");
    change_some(number % 5 + 1);
    cool();
    check_all(BY_USER | BY_SYSCALL, "child after its changes");
    _exit(0);
}

static void act_in_parallel(void)
{
    cool();
    for (unsigned i = 0; i < options.children; i++) {
        if (start_child() == 0)
            read_and_change(i);
        change_some(3);
    }
    check_all(BY_USER, "parent beside its children");
    cool();
    check_all(BY_SYSCALL, "cold parent beside its children");
    expect_good_children(options.children, "in parallel");
    check_all(BY_USER, "parent after its children");
}

__attribute__((noreturn)) static void descend(unsigned generations)
{
    if (generations > 0) {
        if (start_child() == 0)
            descend(generations - 1);
        change_some(4);
    }
    cool();
    check_all(BY_USER | BY_SYSCALL, "descendant");
    if (generations > 0)
        expect_good_children(1, "descendants");
    _exit(0);
}

static void act_descendants(void)
{
    cool();
    if (start_child() == 0)
        descend(4);
    expect_good_children(1, "descendants");
}

__attribute__((noreturn)) static void live_as_orphan(pid_t parent, unsigned number)
{
    while (getppid() == parent)
        sleep_ms(10);
    if (number % 2)
        cool();
    check_all(number % 3 + 1, "orphan");
    change_some(2);
    cool();
    if (start_child() == 0) {
        check_all(BY_USER, "child of an orphan");
        _exit(0);
    }
    check_all(BY_USER | BY_SYSCALL, "orphan after its changes");
    expect_good_children(1, "child of an orphan");
    _exit(0);
}

/* The orphans become ours, because this process is a subreaper. */
static void act_orphans(void)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        die("prctl: %s", strerror(errno));
    if (start_child() == 0) {
        cool();
        for (unsigned i = 0; i < options.children; i++) {
            pid_t parent = getpid();
            if (start_child() == 0)
                live_as_orphan(parent, i);
        }
        _exit(0);
    }
    expect_good_children(options.children + 1, "orphans");
}

/* The command and its arguments lie in cold heap memory. */
static void act_spawn(void)
{
    char *path = strdup("/bin/sh"), *option = strdup("-c"), *script = strdup("exit 0");
    char **words = malloc(4 * sizeof(char *));
    if (!path || !option || !script || !words)
        die("forkstorm: no memory");
    words[0] = path, words[1] = option, words[2] = script, words[3] = NULL;
    cool();
    pid_t pid;
    if (posix_spawn(&pid, path, NULL, NULL, words, environ) != 0)
        die("posix_spawn: %s", strerror(errno));
    expect_good_children(1, "posix_spawn");
    cool();
    int status = system("exit 7");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
        die("system: status %#x", (unsigned)status);
    free(path), free(option), free(script), free(words);
}

static void act_popen(void)
{
    char line[64] = "";
    cool();
    FILE *stream = popen("echo from the child", "r");
    if (!stream || !fgets(line, sizeof(line), stream) || strcmp(line, "from the child\n") != 0)
        die("popen: got '%s'", line);
    cool();
    if (pclose(stream) != 0)
        die("pclose failed");
    check_all(BY_USER | BY_SYSCALL, "parent at the end");
}

static void close_everything(void)
{
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) != 0)
        die("close_range: %s", strerror(errno));
}

/* What a daemon does: no descriptors, another root directory, no privileges. */
__attribute__((noreturn)) static void live_as_daemon(void)
{
    setsid();
    close_everything();
    if (getuid() == 0 && (chroot("/proc/self/fdinfo") != 0 || setgid(65534) || setuid(65534)))
        die("giving up root: %s", strerror(errno));
    check_all(BY_SYSCALL | BY_USER, "daemon");
    change_some(2);
    cool();
    check_all(BY_SYSCALL | BY_USER, "daemon after its changes");
    if (start_child() == 0) {
        check_all(BY_USER, "child of a daemon");
        _exit(0);
    }
    expect_good_children(1, "child of a daemon");
    _exit(0);
}

static void act_daemon(void)
{
    cool();
    if (start_child() == 0)
        live_as_daemon();
    expect_good_children(1, "daemon");
    cool();
    close_everything();
    check_all(BY_USER | BY_SYSCALL, "parent without descriptors");
    cool();
    check_all(BY_USER | BY_SYSCALL, "parent without descriptors, cold again");
}

int main(int argc, char **argv)
{
    int letter;
    while ((letter = getopt(argc, argv, "m:k:i:S:")) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (letter) {
        case 'm': options.memory_mib = value; break;
        case 'k': options.children = (unsigned)value; break;
        case 'i': options.idle_ms = (unsigned)value; break;
        case 'S': options.seed = value; break;
        default: die("usage: forkstorm [-m MiB] [-k children] [-i idle_ms] [-S seed]");
        }
    }
    rng.state = options.seed;
    fill_objects();
    act_in_sequence();
    act_in_parallel();
    act_descendants();
    act_orphans();
    act_spawn();
    act_popen();
    act_daemon();
    printf("forkstorm: %zu MiB in %zu objects, %u children an act: all right\n", options.memory_mib,
           nobjects, options.children);
    return 0;
}
