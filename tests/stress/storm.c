/* SPDX-License-Identifier: MIT */
/*
 * storm -- children of every make, by the hundred, from a program whose threads are busy.
 *
 * usage: storm [-n children] [-k KIND] [-m MiB] [-S seed]      KIND: all, fork, bare, spawn
 *
 * Threads allocate, free, and open, flush and close streams all the while; one makes the children:
 * by fork, _Fork, clone(2) through syscall and through libc, vfork, posix_spawn, system, popen,
 * daemon; children of children whose parent exits first; a thread-like clone with CLONE_VM. Every
 * child checks a sample of the parent's cold blocks byte by byte, and its streams: their buffers,
 * which lie in cold memory too. Those made with handlers also allocate and use stdio. The last line
 * says how many processes have looked at how many bytes and found them right.
 *
 * A wrong byte, a child that fails and one that hangs (alarm) end it with status 1.
 */
#define _GNU_SOURCE
#include "object.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CHURNERS 3
#define STREAMS 16
#define ALIVE_MAX 6
#define SAMPLE 12
#define CHILD_SECONDS 60
#define STACK_BYTES (256 << 10)

static struct {
    unsigned children;
    size_t mib;
    uint64_t seed;
    const char *kind;
} options = {150, 24, 1, "all"};

/* Of all processes together. */
static struct tally {
    uint64_t forked;   /* children of children */
    uint64_t verified; /* processes that found all right */
    uint64_t bytes;    /* that were looked at */
} * tally;

static struct rng rng;
static struct object *objects;
static size_t nobjects;
static FILE *streams[STREAMS];
static volatile bool stop;
static unsigned alive, made;
static int orphans[2]; /* orphans say here that all is right */
static unsigned norphans;

static void make_objects(void)
{
    nobjects = (options.mib << 20) / 16384;
    objects = malloc(nobjects * sizeof(objects[0]));
    if (!objects)
        die("storm: no memory");
    for (size_t i = 0; i < nobjects; i++)
        objects[i] = object_new(rng_below(&rng, 32768) + 16, i + 1);
    for (unsigned i = 0; i < STREAMS; i++) {
        streams[i] = fmemopen(NULL, 256, "w+"); /* no offset shared between processes */
        if (!streams[i] || fprintf(streams[i], "stream %u", i) < 0)
            die("storm: fmemopen: %s", strerror(errno));
    }
}

static void *churn(void *arg)
{
    struct rng mine = {(uint64_t)(uintptr_t)arg * 977 + options.seed};
    void *block[32] = {0};
    while (!stop) {
        size_t i = rng_below(&mine, 32);
        free(block[i]);
        block[i] = malloc(rng_below(&mine, 9000) + 1);
        if (rng_below(&mine, 64) == 0) {
            FILE *f = fopen("/dev/null", "w");
            if (f) {
                (void)fprintf(f, "%zu", i);
                (void)fflush(NULL);
                (void)fclose(f);
            }
        }
        if (rng_below(&mine, 512) == 0)
            object_check(&objects[rng_below(&mine, nobjects)], "a thread beside the forks");
    }
    for (unsigned i = 0; i < 32; i++)
        free(block[i]);
    return NULL;
}

static void count(uint64_t *what, uint64_t n)
{
    __atomic_fetch_add(what, n, __ATOMIC_RELAXED);
}

/* No call that allocates or locks: what a child of _Fork may do. */
static bool sample_right(void)
{
    for (unsigned i = 0; i < SAMPLE; i++) {
        const struct object *object = &objects[rng_below(&rng, nobjects)];
        object_check(object, "child");
        count(&tally->bytes, object->size);
    }
    return true;
}

static void use_streams(void)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        char want[32];
        int n = snprintf(want, sizeof(want), "stream %u", i);
        if (ftell(streams[i]) != n)
            die("storm: stream %u has lost its text", i);
    }
    FILE *f = fopen("/dev/null", "w");
    if (!f || fprintf(f, "x") != 1 || fclose(f) != 0)
        die("storm: stdio in a child: %s", strerror(errno));
}

static void live(unsigned number)
{
    alarm(CHILD_SECONDS);
    rng.state = mix(options.seed ^ number);
    (void)sample_right();
    use_streams();
    char *p = malloc(100000);
    memset(p, 1, 100000);
    free(p);
    if (number % 16 == 0)
        make_cold(1);
    (void)sample_right();
    count(&tally->verified, 1);
}

static pid_t by_fork(unsigned number)
{
    pid_t pid = fork();
    if (pid == 0) {
        live(number);
        _exit(0);
    }
    return pid;
}

static void live_bare(unsigned number)
{
    alarm(CHILD_SECONDS);
    rng.state = mix(options.seed ^ number);
    bool good = sample_right();
    count(&tally->verified, good);
    _exit(good ? 0 : 1);
}

extern pid_t _Fork(void) __attribute__((weak));

static pid_t by_bare_fork(unsigned number)
{
    pid_t pid = _Fork ? _Fork() : fork();
    if (pid == 0)
        live_bare(number);
    return pid;
}

static pid_t by_syscall(unsigned number)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        live_bare(number);
    return pid;
}

static int clone_main(void *number)
{
    live_bare((unsigned)(uintptr_t)number);
    return 1;
}

static pid_t by_clone(unsigned number)
{
    static char *stack;
    if (!stack)
        stack = malloc(STACK_BYTES);
    return clone(clone_main, stack + STACK_BYTES, SIGCHLD, (void *)(uintptr_t)number);
}

static int borrow_main(void *arg)
{
    const struct object *object = arg;
    object_check(object, "a clone with CLONE_VM");
    count(&tally->bytes, object->size);
    count(&tally->verified, 1);
    return 0;
}

static pid_t by_clone_vm(unsigned number)
{
    static char *stack;
    if (!stack)
        stack = malloc(STACK_BYTES);
    return clone(borrow_main, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD,
                 &objects[number % nobjects]);
}

static pid_t by_vfork(unsigned number)
{
    pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
    if (pid == 0)
        _exit(objects[number % nobjects].bytes ? 0 : 1);
    return pid;
}

static pid_t by_spawn(unsigned number)
{
    static char *words[] = {"true", NULL};
    pid_t pid;
    (void)number;
    return posix_spawnp(&pid, "true", NULL, NULL, words, environ) == 0 ? pid : -1;
}

static pid_t by_system(unsigned number)
{
    int status = system("exit 7");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
        die("storm: system: status %#x", (unsigned)status);
    return by_fork(number);
}

static pid_t by_popen(unsigned number)
{
    char line[32] = "";
    FILE *f = popen("echo child", "r");
    if (!f || !fgets(line, sizeof(line), f) || strcmp(line, "child\n") != 0 || pclose(f) != 0)
        die("storm: popen: '%s'", line);
    return by_fork(number);
}

static void say_right(void)
{
    if (write(orphans[1], "r", 1) != 1)
        _exit(1);
}

/* Its parent exits at once; it checks afterwards, and makes a child of its own. */
static pid_t by_orphan(unsigned number)
{
    norphans++;
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    pid_t parent = getpid();
    count(&tally->forked, 2);
    pid = fork();
    if (pid != 0)
        _exit(pid > 0 ? 0 : 1);
    while (getppid() == parent)
        sleep_ms(1);
    live(number);
    pid = fork();
    if (pid == 0) {
        live(number + 1);
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) == pid && status == 0)
        say_right();
    _exit(0);
}

static pid_t by_daemon(unsigned number)
{
    norphans++;
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    count(&tally->forked, 1);
    if (daemon(0, 0) != 0)
        _exit(1);
    live(number);
    say_right();
    _exit(0);
}

typedef pid_t maker_fn(unsigned);

static maker_fn *const all_makers[] = {
    by_fork,  by_bare_fork, by_fork,   by_syscall,  by_fork,  by_clone,
    by_fork,  by_orphan,    by_fork,   by_clone_vm, by_vfork, by_fork,
    by_spawn, by_fork,      by_system, by_daemon,   by_popen, by_fork,
};
static maker_fn *const fork_makers[] = {by_fork, by_orphan, by_fork, by_daemon};
static maker_fn *const bare_makers[] = {by_bare_fork, by_syscall, by_bare_fork, by_clone};
static maker_fn *const spawn_makers[] = {by_vfork, by_spawn, by_clone_vm, by_spawn};

#define KIND(name) \
    { \
#name, name##_makers, sizeof(name##_makers) / sizeof(name##_makers[0]) \
    }
static const struct kind {
    const char *name;
    maker_fn *const *makers;
    unsigned n;
} kinds[] = {KIND(all), KIND(fork), KIND(bare), KIND(spawn)};

static const struct kind *chosen_kind(void)
{
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].name, options.kind) == 0)
            return &kinds[i];
    die("storm: -k all, fork, bare or spawn");
}

static void reap(bool all)
{
    while (alive > (all ? 0 : ALIVE_MAX)) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            die("storm: child %d of about %u ended with status %#x", (int)pid, made,
                (unsigned)status);
        alive--;
    }
}

static void hear_orphans(void)
{
    close(orphans[1]);
    char byte;
    for (unsigned i = 0; i < norphans; i++)
        if (read(orphans[0], &byte, 1) != 1)
            die("storm: %u of %u orphans are missing", norphans - i, norphans);
}

static void read_options(int argc, char **argv)
{
    int letter;
    while ((letter = getopt(argc, argv, "n:k:m:S:")) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (letter) {
        case 'n': options.children = (unsigned)value; break;
        case 'k': options.kind = optarg; break;
        case 'm': options.mib = value; break;
        case 'S': options.seed = value; break;
        default: die("usage: storm [-n children] [-k KIND] [-m MiB] [-S seed]");
        }
    }
}

static void begin(void)
{
    rng.state = options.seed;
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED || pipe(orphans) != 0)
        die("storm: %s", strerror(errno));
    make_objects();
    make_cold(10);
}

static void make_children(const struct kind *kind)
{
    for (unsigned i = 0; i < options.children; i++) {
        maker_fn *make = kind->makers[i % kind->n];
        if (make(i) < 0)
            die("storm: child %u: %s", i, strerror(errno));
        alive++, made++;
        reap(make == by_clone); /* its stack is used again */
        if (i % 64 == 63)
            make_cold(0);
    }
    reap(true);
    hear_orphans();
}

int main(int argc, char **argv)
{
    pthread_t t[CHURNERS];
    read_options(argc, argv);
    const struct kind *kind = chosen_kind();
    begin();
    for (uintptr_t i = 0; i < CHURNERS; i++)
        if (pthread_create(&t[i], NULL, churn, (void *)(i + 1)) != 0)
            die("storm: pthread_create");
    make_children(kind);
    stop = true;
    for (unsigned i = 0; i < CHURNERS; i++)
        pthread_join(t[i], NULL);
    for (size_t i = 0; i < nobjects; i++)
        object_check(&objects[i], "parent at the end");
    printf("storm: %u children (%s) and %llu of theirs, %llu processes found %llu bytes right, "
           "%zu objects: all right\n",
           options.children, kind->name, (unsigned long long)tally->forked,
           (unsigned long long)tally->verified, (unsigned long long)tally->bytes, nobjects);
    return 0;
}
