/* SPDX-License-Identifier: MIT */
/*
 * structs -- cold memory as the structures, strings and arrays of system calls that move no data:
 * files and directories, terminals, times and timers, events, process state, new programs.
 */
#include "arena.h"

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>

static struct arena arena;

/* ---- files and directories ----------------------------------------------------------------------
 */

static size_t entries(int fd, char *buffer, size_t size)
{
    size_t n = 0;
    long got;
    while ((got = syscall(SYS_getdents64, fd, buffer, size)) > 0) {
        for (long at = 0; at < got; n++)
            at += ((struct dirent64 *)(void *)(buffer + at))->d_reclen;
        (void)go_cold(buffer, 0);
    }
    return got < 0 ? 0 : n;
}

static void names(void)
{
    char *exe = take_string(&arena, "/proc/self/exe"), *sys = take_string(&arena, "/proc/sys/vm");
    char *link = take(&arena, PAGE), *directory = take(&arena, PAGE), *list = take(&arena, PAGE);
    struct stat *st = take(&arena, sizeof(*st)), warm;
    struct statx *stx = take(&arena, sizeof(*stx));
    struct statfs *fs = take(&arena, sizeof(*fs));
    struct flock *lock = take(&arena, sizeof(*lock));
    char expected[PAGE], few[PAGE];
    cool(&arena);
    bool good = stat("/proc/self/exe", &warm) == 0;
    point("stat", good && stat(exe, st) == 0 && st->st_ino == warm.st_ino);
    (void)go_cold(exe, 0);
    point("statx", statx(AT_FDCWD, exe, 0, STATX_BASIC_STATS, stx) == 0 &&
                       stx->stx_ino == warm.st_ino && stx->stx_size == (uint64_t)warm.st_size);
    (void)go_cold(exe, 0);
    ssize_t n = readlink("/proc/self/exe", expected, sizeof(expected));
    point("readlink", n > 0 && readlink(exe, link, PAGE) == n && memcmp(link, expected, n) == 0);
    point("getcwd",
          getcwd(expected, PAGE) && getcwd(directory, PAGE) && strcmp(expected, directory) == 0);
    int a = open(sys, O_RDONLY | O_DIRECTORY), b = open("/proc/sys/vm", O_RDONLY | O_DIRECTORY);
    point("getdents64", a >= 0 && entries(a, list, 512) == entries(b, few, sizeof(few)));
    point("fstatfs", fstatfs(a, fs) == 0 && fs->f_bsize == (long)PAGE);
    lock->l_type = F_RDLCK;
    (void)go_cold(lock, 0);
    point("fcntl with a lock", fcntl(a, F_GETLK, lock) == 0 && lock->l_type == F_UNLCK);
    close(a);
    close(b);
    arena_again(&arena);
}

static void controls(void)
{
    struct termios *t = take(&arena, sizeof(*t));
    struct winsize *w = take(&arena, sizeof(*w));
    struct ifconf *conf = take(&arena, sizeof(*conf));
    struct ifreq *list = take(&arena, 16 * sizeof(*list));
    int *waiting = take(&arena, sizeof(*waiting)), master, slave, ends[2];
    *conf = (struct ifconf){.ifc_len = 16 * sizeof(*list), .ifc_req = list};
    w->ws_row = 77;
    cool(&arena);
    master = posix_openpt(O_RDWR | O_NOCTTY);
    slave = master >= 0 ? ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY) : -1;
    if (slave < 0)
        slave = master;
    point("ioctl TCGETS", ioctl(slave, TCGETS, t) == 0 && t->c_cflag != 0);
    point("ioctl TIOCSWINSZ", ioctl(slave, TIOCSWINSZ, w) == 0);
    w->ws_row = 0;
    (void)go_cold(w, 0);
    point("ioctl TIOCGWINSZ", ioctl(slave, TIOCGWINSZ, w) == 0 && w->ws_row == 77);
    bool good = pipe(ends) == 0 && write(ends[1], "12345", 5) == 5;
    point("ioctl FIONREAD", good && ioctl(ends[0], FIONREAD, waiting) == 0 && *waiting == 5);
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s < 0)
        skip("ioctl SIOCGIFCONF", "no network");
    else
        point("ioctl SIOCGIFCONF", ioctl(s, SIOCGIFCONF, conf) == 0 && conf->ifc_len >= 0);
    close(s);
    close(ends[0]);
    close(ends[1]);
    close(master);
    arena_again(&arena);
}

/* ---- times and timers ---------------------------------------------------------------------------
 */

static volatile sig_atomic_t rung;

static void ring(int sig)
{
    (void)sig;
    rung++;
}

static void times_of(void)
{
    struct timespec *t = take(&arena, sizeof(*t)), *nap = take(&arena, sizeof(*nap));
    struct timeval *tv = take(&arena, sizeof(*tv));
    struct tms *cpu = take(&arena, sizeof(*cpu));
    struct itimerval *it = take(&arena, sizeof(*it)), *left = take(&arena, sizeof(*left));
    struct sigevent *event = take(&arena, sizeof(*event));
    struct itimerspec *when = take(&arena, sizeof(*when)), *then = take(&arena, sizeof(*then));
    timer_t *timer = take(&arena, sizeof(*timer));
    uint64_t *expired = take(&arena, sizeof(*expired));
    nap->tv_nsec = 1000000;
    it->it_value.tv_sec = 1000;
    event->sigev_notify = SIGEV_SIGNAL;
    event->sigev_signo = SIGUSR1;
    when->it_value.tv_nsec = 1000000;
    signal(SIGUSR1, ring);
    cool(&arena);
    point("clock_gettime", syscall(SYS_clock_gettime, CLOCK_REALTIME, t) == 0 && t->tv_sec > 1000);
    point("gettimeofday", syscall(SYS_gettimeofday, tv, NULL) == 0 && tv->tv_sec >= t->tv_sec);
    point("times", times(cpu) != (clock_t)-1);
    point("nanosleep", nanosleep(nap, nap) == 0);
    point("setitimer", setitimer(ITIMER_VIRTUAL, it, NULL) == 0 &&
                           getitimer(ITIMER_VIRTUAL, left) == 0 && left->it_value.tv_sec > 900);
    setitimer(ITIMER_VIRTUAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    bool good = timer_create(CLOCK_MONOTONIC, event, timer) == 0;
    good = good && timer_settime(*timer, 0, when, then) == 0;
    for (unsigned ms = 0; ms < 5000 && !rung; ms++)
        sleep_ms(1);
    point("timer_create, timer_settime", good && rung == 1 && timer_delete(*timer) == 0);
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    (void)go_cold(when, 0);
    point("timerfd", timerfd_settime(fd, 0, when, then) == 0 &&
                         read(fd, expired, sizeof(*expired)) == 8 && *expired == 1);
    close(fd);
    arena_again(&arena);
}

/* ---- events -------------------------------------------------------------------------------------
 */

static void events(void)
{
    struct epoll_event *add = take(&arena, sizeof(*add)), *got = take(&arena, 8 * sizeof(*got));
    struct pollfd *polls = take(&arena, 2 * sizeof(*polls));
    fd_set *in = take(&arena, sizeof(*in)), *out = take(&arena, sizeof(*out));
    struct timeval *tv = take(&arena, sizeof(*tv));
    struct timespec *ts = take(&arena, sizeof(*ts));
    sigset_t *mask = take(&arena, sizeof(*mask));
    uint64_t *count = take(&arena, sizeof(*count));
    int ends[2], queue = epoll_create1(0), event = eventfd(0, 0);
    bool good = pipe(ends) == 0 && write(ends[1], "x", 1) == 1;
    *add = (struct epoll_event){.events = EPOLLIN, .data.u64 = 0x123456789abcdef};
    polls[0] = (struct pollfd){event, POLLIN, 0};
    polls[1] = (struct pollfd){ends[0], POLLIN, 0};
    FD_SET(ends[0], in);
    FD_SET(ends[1], out);
    tv->tv_sec = ts->tv_sec = 5;
    sigaddset(mask, SIGUSR2);
    *count = 5;
    cool(&arena);
    point("epoll_ctl", good && epoll_ctl(queue, EPOLL_CTL_ADD, ends[0], add) == 0);
    point("epoll_wait", epoll_wait(queue, got, 8, 5000) == 1 && got[0].data.u64 == add->data.u64);
    point("poll", poll(polls, 2, 5000) == 1 && polls[1].revents == POLLIN && !polls[0].revents);
    (void)go_cold(polls, 0);
    point("ppoll", ppoll(polls, 2, ts, mask) == 1 && polls[1].revents == POLLIN);
    point("select", select(ends[1] + 1, in, out, NULL, tv) == 2 && FD_ISSET(ends[0], in));
    (void)go_cold(in, 0);
    point("pselect", pselect(ends[1] + 1, in, out, NULL, ts, mask) == 2 && FD_ISSET(ends[1], out));
    point("eventfd", write(event, count, 8) == 8 && (*count = 0) == 0 && go_cold(count, 0) + 1 &&
                         read(event, count, 8) == 8 && *count == 5);
    close(queue);
    close(event);
    close(ends[0]);
    close(ends[1]);
    arena_again(&arena);
}

static void signals(void)
{
    sigset_t *mask = take(&arena, sizeof(*mask)), *old = take(&arena, sizeof(*old));
    siginfo_t *info = take(&arena, sizeof(*info)), *child = take(&arena, sizeof(*child));
    struct signalfd_siginfo *read_info = take(&arena, sizeof(*read_info));
    struct timespec *ts = take(&arena, sizeof(*ts));
    int *status = take(&arena, sizeof(*status));
    struct rusage *use = take(&arena, sizeof(*use));
    const size_t len = 8; /* the kernel's own set */
    sigaddset(mask, SIGUSR2);
    ts->tv_sec = 5;
    *info = (siginfo_t){.si_signo = SIGUSR2, .si_code = SI_QUEUE};
    info->si_value.sival_int = 4711;
    cool(&arena);
    point("rt_sigprocmask", syscall(SYS_rt_sigprocmask, SIG_BLOCK, mask, old, len) == 0 &&
                                !sigismember(old, SIGUSR2));
    point("rt_sigqueueinfo", syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR2, info) == 0);
    memset(info, 0, sizeof(*info));
    (void)go_cold(info, 0);
    point("rt_sigtimedwait", syscall(SYS_rt_sigtimedwait, mask, info, ts, len) == SIGUSR2 &&
                                 info->si_value.sival_int == 4711);
    int fd = signalfd(-1, mask, 0);
    raise(SIGUSR2);
    point("signalfd", read(fd, read_info, sizeof(*read_info)) == (ssize_t)sizeof(*read_info) &&
                          read_info->ssi_signo == SIGUSR2);
    pid_t pid = fork();
    if (pid == 0)
        _exit(7);
    bool good = waitid(P_PID, (id_t)pid, child, WEXITED | WNOWAIT) == 0;
    point("waitid", good && child->si_pid == pid && child->si_status == 7);
    point("wait4", wait4(pid, status, 0, use) == pid && WEXITSTATUS(*status) == 7);
    sigprocmask(SIG_UNBLOCK, mask, NULL);
    close(fd);
    arena_again(&arena);
}

/* ---- the process, and new ones ------------------------------------------------------------------
 */

static void process(void)
{
    struct utsname *uts = take(&arena, sizeof(*uts));
    struct sysinfo *info = take(&arena, sizeof(*info));
    struct rusage *use = take(&arena, sizeof(*use));
    struct rlimit *limit = take(&arena, sizeof(*limit)), *old = take(&arena, sizeof(*old));
    cpu_set_t *cpus = take(&arena, sizeof(*cpus));
    char *random = take(&arena, PAGE), *title = take_string(&arena, "hostile-name");
    char *label = take_string(&arena, "hostile label"), *back = take(&arena, 16);
    unsigned char *there = take(&arena, 64), zeros[256] = {0};
    gid_t *groups = take(&arena, 64 * sizeof(*groups));
    cool(&arena);
    point("uname", uname(uts) == 0 && strcmp(uts->sysname, "Linux") == 0);
    point("sysinfo", sysinfo(info) == 0 && info->totalram > 0);
    point("getrusage", getrusage(RUSAGE_SELF, use) == 0 && use->ru_maxrss > 0);
    point("prlimit", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, old) == 0 && old->rlim_cur > 0);
    *limit = *old;
    (void)go_cold(limit, 0);
    point("setrlimit", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, limit, NULL) == 0);
    point("sched_getaffinity", sched_getaffinity(0, sizeof(*cpus), cpus) == 0 && CPU_COUNT(cpus));
    point("getrandom",
          syscall(SYS_getrandom, random, PAGE, 0) == (long)PAGE && memcmp(random, zeros, 256) != 0);
    point("prctl names", prctl(PR_SET_NAME, title) == 0 && prctl(PR_GET_NAME, back) == 0 &&
                             strcmp(back, title) == 0);
    memset(random, 0, PAGE); /* it would stay where it is: it does not compress */
    (void)prctl(0x53564d41 /* SET_VMA */, 0, arena.start + 2 * UNIT, 3 * PAGE, label);
    point("mincore",
          mincore((void *)((uintptr_t)zeros / PAGE * PAGE), PAGE, there) == 0 && (there[0] & 1));
    point("getgroups", getgroups(64, groups) >= 0);
    (void)go_cold(arena.start, 0);
    point("with a part of the heap named", strcmp(back, "hostile-name") == 0 && !there[63]);
    arena_again(&arena);
}

/* In a program that is started so: 0 if the words are right. */
static int started(char **argv, char **envp)
{
    const char *big = getenv("BIG");
    return envp[0] && envp[1] && big && strlen(big) == 50000 && argv[2] && argv[3] && !argv[4] &&
                   strcmp(argv[3], "argument") == 0
               ? 0
               : 1;
}

static bool ends_with(pid_t pid, int code)
{
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
           WEXITSTATUS(status) == code;
}

/* The child begins anew without the library: what it sees of us is what exec copied. */
static void programs(void)
{
    char *path = take_string(&arena, "/proc/self/exe"), *first = take_string(&arena, "structs");
    char *how = take_string(&arena, "started"), *last = take_string(&arena, "argument");
    char *small = take_string(&arena, "SMALL=1"), *big = take(&arena, 50005);
    char **args = take(&arena, 5 * sizeof(*args)), **env = take(&arena, 3 * sizeof(*env));
    memset(big, 'b', 50004);
    big[0] = 'B', big[1] = 'I', big[2] = 'G', big[3] = '=';
    args[0] = first;
    args[1] = args[2] = how;
    args[3] = last;
    env[0] = big;
    env[1] = small;
    cool(&arena);
    pid_t pid = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork): it is what is tested
    if (pid == 0) {
        execve(path, args, env);
        _exit(9);
    }
    point("vfork and execve", ends_with(pid, 0));
    (void)go_cold(arena.start, 0);
    pid = fork();
    if (pid == 0) {
        execve(path, args, env);
        _exit(9);
    }
    point("fork and execve", ends_with(pid, 0));
    arena_again(&arena);
}

int main(int argc, char **argv, char **envp)
{
    if (argc > 1 && strcmp(argv[1], "started") == 0)
        return started(argv, envp);
    if (!begin(argc, argv))
        return 77;
    arena = arena_new(24, 1);
    names();
    controls();
    times_of();
    events();
    signals();
    process();
    programs();
    return end();
}
