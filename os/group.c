/* SPDX-License-Identifier: MIT */
/*
 * group -- how much memory the process's control group may still have, and how long others wait for
 * memory (PSI).
 *
 * The group's files are found once, through /proc, and stay open in our threads' own table: neither
 * /proc, nor the path, nor a right is needed afterwards.  Both hierarchies are read: version 1
 * (memory.limit_in_bytes) and version 2 (memory.max, memory.high).  Watched are the group itself,
 * whatever its limit, and the nearest group above it that has one when the files are opened.
 *
 * Charged to a group is also what the kernel reads ahead and gives up again when memory is short: a
 * program that reads files fills its group with that. It counts as room, but for half of what
 * is in use.
 *
 * I1  Nothing is known rather than guessed: a file that is not there, or says something else than a
 *     number, puts no limit.
 *
 * Locks: none.  May sleep: in the kernel's locks on these files.  May fault: no.  Allocates: no.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "os/private.h"
#include "os/sys.h"

#define LEVELS 2u
#define PATH_BYTES 1024u
#define TEXT_BYTES 4096u
#define NO_LIMIT (1ull << 62) /* version 1 says the greatest page number there is */

enum file { LIMIT, HIGH, USED, STAT, FILES };

#define PSI ((size_t)LEVELS * FILES)
_Static_assert(PSI + 1 == ZA_GROUP_FILES, "one number for the files of a group");

static int files[ZA_GROUP_FILES]; /* in the table of our threads; W's while it lives */
static bool kept;

/* ---- text ------------------------------------------------------------------------------------ */

struct text {
    int fd;
    size_t at, have;
    char buf[TEXT_BYTES];
};

static int open_path(const char *path)
{
    return (int)za_sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

/* The next line, without its end; NULL: there is none. Of a line that is too long, the beginning. */
static char *next_line(struct text *t)
{
    bool cut = false;
    for (;;) {
        char *start = t->buf + t->at, *end = memchr(start, '\n', t->have - t->at);
        if (end) {
            *end = '\0';
            t->at = (size_t)(end - t->buf) + 1;
            if (!cut)
                return start;
            cut = false;
            continue;
        }
        if (t->at == 0 && t->have == TEXT_BYTES) {
            t->have = 0; /* longer than the buffer: nothing of it is wanted */
            cut = true;
            continue;
        }
        memmove(t->buf, start, t->have - t->at);
        t->have -= t->at;
        t->at = 0;
        long n = za_sys3(SYS_read, t->fd, t->buf + t->have, TEXT_BYTES - t->have);
        if (n <= 0)
            return NULL;
        t->have += (size_t)n;
    }
}

/* Cuts the line at the first `mark` behind `s`; what follows it, or NULL. */
static char *cut_at(char *s, char mark)
{
    char *end = s ? strchr(s, mark) : NULL;
    if (!end)
        return NULL;
    *end = '\0';
    return end + 1;
}

static bool in_list(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || at[n] == '\0'))
            return true;
    return false;
}

static const char *number(const char *s, uint64_t *out)
{
    uint64_t n = 0;
    const char *at = s;
    for (; *at >= '0' && *at <= '9'; at++)
        n = n * 10 + (uint64_t)(*at - '0');
    if (at == s)
        return NULL;
    *out = n;
    return at;
}

/* A small file from its beginning; how many bytes, and a zero behind them. */
static size_t read_all(int fd, char *to, size_t cap)
{
    long n = fd < 0 ? -1 : za_sys4(SYS_pread64, fd, to, cap - 1, 0);
    to[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

static uint64_t read_number(int fd, uint64_t otherwise)
{
    char text[32];
    uint64_t n;
    if (!read_all(fd, text, sizeof(text)) || !number(text, &n))
        return otherwise; /* "max" */
    return n;
}

static uint64_t read_limit(int fd)
{
    uint64_t n = read_number(fd, UINT64_MAX);
    return n >= NO_LIMIT ? UINT64_MAX : n;
}

/* ---- finding the group ------------------------------------------------------------------------ */

struct place {
    bool old;               /* version 1 */
    char root[PATH_BYTES];  /* of the hierarchy, what is mounted */
    char mount[PATH_BYTES]; /* and where */
    char path[PATH_BYTES];  /* of the group, as the process is told */
};

static bool copy(char to[PATH_BYTES], const char *from)
{
    size_t n = strlen(from);
    if (n >= PATH_BYTES)
        return false;
    memcpy(to, from, n + 1);
    return true;
}

/* "ID:CONTROLLERS:PATH"; version 2 has no controllers, and memory may be in either. */
static bool find_path(struct place *p, const char *file)
{
    struct text t = {.fd = open_path(file)};
    bool found = false;
    char *line;
    while (t.fd >= 0 && (line = next_line(&t))) {
        char *list = cut_at(line, ':'), *path = cut_at(list, ':');
        bool old = path && in_list(list, "memory");
        if (!old && (found || !path || *list))
            continue;
        p->old = old;
        found = copy(p->path, path);
        if (old)
            break;
    }
    if (t.fd >= 0)
        (void)za_sys1(SYS_close, t.fd);
    return found;
}

/* "ID PARENT DEV ROOT MOUNT OPTIONS [FIELDS] - TYPE SOURCE OPTIONS" */
static bool is_mount(struct place *p, char *line)
{
    char *root = cut_at(cut_at(cut_at(line, ' '), ' '), ' ');
    char *mount = cut_at(root, ' '), *rest = cut_at(mount, ' ');
    char *type = rest ? strstr(rest, " - ") : NULL;
    if (!type)
        return false;
    type += 3;
    char *options = cut_at(cut_at(type, ' '), ' ');
    bool right = p->old ? strcmp(type, "cgroup") == 0 && options && in_list(options, "memory")
                        : strcmp(type, "cgroup2") == 0;
    return right && copy(p->root, root) && copy(p->mount, mount);
}

static bool find_mount(struct place *p, const char *file)
{
    struct text t = {.fd = open_path(file)};
    bool found = false;
    char *line;
    while (t.fd >= 0 && !found && (line = next_line(&t)))
        found = is_mount(p, line);
    if (t.fd >= 0)
        (void)za_sys1(SYS_close, t.fd);
    return found;
}

/* The group's folder: of its path, what is below the root of what is mounted. */
static bool folder_of(const struct place *p, char to[PATH_BYTES])
{
    const char *below = p->path;
    size_t root = strcmp(p->root, "/") == 0 ? 0 : strlen(p->root), n = strlen(p->mount);
    if (strncmp(below, p->root, root) == 0 && (below[root] == '/' || below[root] == '\0'))
        below += root;
    else
        below = ""; /* another namespace's name for it */
    if (strcmp(below, "/") == 0 || strstr(below, "/.."))
        below = "";
    if (n + strlen(below) >= PATH_BYTES)
        return false;
    memcpy(to, p->mount, n);
    return copy(to + n, below);
}

/* ---- opening ---------------------------------------------------------------------------------- */

static int open_in(const char *folder, const char *name)
{
    char path[PATH_BYTES + 32];
    size_t n = strlen(folder), more = strlen(name);
    memcpy(path, folder, n + 1);
    path[n] = '/';
    memcpy(path + n + 1, name, more + 1);
    return open_path(path);
}

static void close_files(int fds[FILES])
{
    for (unsigned i = 0; i < FILES; i++)
        if (fds[i] >= 0)
            (void)za_sys1(SYS_close, fds[i]);
    for (unsigned i = 0; i < FILES; i++)
        fds[i] = -1;
}

static bool open_level(const struct place *p, const char *folder, int fds[FILES])
{
    static const char *const names[2][FILES] = {
        {"memory.max", "memory.high", "memory.current", "memory.stat"},
        {"memory.limit_in_bytes", NULL, "memory.usage_in_bytes", "memory.stat"}};
    for (unsigned i = 0; i < FILES; i++)
        fds[i] = names[p->old][i] ? open_in(folder, names[p->old][i]) : -1;
    if (fds[LIMIT] >= 0 && fds[USED] >= 0)
        return true;
    close_files(fds);
    return false;
}

static uint64_t limit_of(const int fds[FILES])
{
    uint64_t max = read_limit(fds[LIMIT]), high = read_limit(fds[HIGH]);
    return max < high ? max : high;
}

/* The group itself, and the nearest above it with a limit. */
static void open_levels(const struct place *p)
{
    char folder[PATH_BYTES];
    size_t least = strlen(p->mount);
    if (!folder_of(p, folder))
        return;
    (void)open_level(p, folder, files);
    if (files[PSI] < 0 && !p->old)
        files[PSI] = open_in(folder, "memory.pressure");
    for (char *end; (end = strrchr(folder + least, '/'));) {
        *end = '\0';
        if (!open_level(p, folder, files + FILES))
            continue;
        if (limit_of(files + FILES) != UINT64_MAX)
            return;
        close_files(files + FILES);
    }
}

void za_group_open(const char *groups, const char *mounts, const char *pressure)
{
    struct place p = {.old = false};
    for (unsigned i = 0; i < ZA_GROUP_FILES; i++)
        files[i] = -1;
    if (find_path(&p, groups) && find_mount(&p, mounts))
        open_levels(&p);
    if (files[PSI] < 0)
        files[PSI] = open_path(pressure);
    kept = true;
}

void za_linux_group_keep(const int *fds)
{
    if (!fds) {
        za_group_open("/proc/thread-self/cgroup", "/proc/thread-self/mountinfo",
                      "/proc/pressure/memory");
        return;
    }
    memcpy(files, fds, sizeof(files));
    kept = true;
}

void za_linux_group_kept(int fds[ZA_GROUP_FILES])
{
    for (unsigned i = 0; i < ZA_GROUP_FILES; i++)
        fds[i] = kept && files[i] >= 0 ? files[i] : -1;
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* The value behind "KEY " at the beginning of a line. */
static uint64_t value_of(const char *text, const char *key)
{
    size_t n = strlen(key);
    uint64_t value;
    for (const char *at = text; (at = strstr(at, key)); at += n)
        if ((at == text || at[-1] == '\n') && at[n] == ' ' && number(at + n + 1, &value))
            return value;
    return 0;
}

/* Bytes that the kernel would rather give up than refuse memory. */
static uint64_t reclaimable(int fd)
{
    char text[TEXT_BYTES];
    if (!read_all(fd, text, sizeof(text)))
        return 0;
    bool whole = strstr(text, "\ntotal_inactive_file ") != NULL; /* version 1: with those below */
    uint64_t idle = value_of(text, whole ? "total_inactive_file" : "inactive_file");
    return idle + value_of(text, whole ? "total_active_file" : "active_file") / 2;
}

/* Statistics cost more than the rest together, and are read where they may matter. */
static bool look(const int fds[FILES], struct za_room *out)
{
    uint64_t limit = fds[LIMIT] < 0 ? UINT64_MAX : limit_of(fds);
    if (limit == UINT64_MAX)
        return false;
    uint64_t used = read_number(fds[USED], 0);
    if (used + limit / 4 > limit) {
        uint64_t cache = reclaimable(fds[STAT]);
        used -= cache < used ? cache : used;
    }
    uint64_t left = limit > used ? limit - used : 0;
    if (out->limit != UINT64_MAX && out->limit - out->used <= left)
        return false;
    out->limit = limit;
    out->used = limit - left;
    return true;
}

/* "some avg10=1.23 ...": hundredths of a percent. */
static uint32_t stalled(int fd)
{
    char text[128];
    uint64_t whole, part = 0;
    const char *at = read_all(fd, text, sizeof(text)) ? strstr(text, "avg10=") : NULL;
    if (!at || !(at = number(at + 6, &whole)))
        return 0;
    if (*at == '.' && at[1] && at[2])
        (void)number(at + 1, &part);
    return (uint32_t)(whole * 100 + part);
}

int za_linux_room(struct za_room *out)
{
    *out = (struct za_room){.limit = UINT64_MAX};
    if (!kept)
        return -ENOENT;
    bool limited = look(files, out);
    limited |= look(files + FILES, out);
    out->stalled = stalled(files[PSI]);
    return limited || files[PSI] >= 0 ? 0 : -ENOENT;
}
