/* SPDX-License-Identifier: MIT */
/*
 * corefile -- an ELF core file read by address, and its copy with pages put in.
 *
 * I1  `there` <= filesz, and [at, at + there) lies within the file: damaged() throws out what
 *     cannot be so, and a file cut short has less there than promised.
 * I2  A stretch whose bytes do not all have a place in the file gets a new place behind everything
 *     else when the first page is put into it; its old bytes are copied there.
 */
#define _GNU_SOURCE
#include "tool/corefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20)
#define BLOCK ((size_t)4096)
#define MAX_OFFSET ((uint64_t)1 << 60) /* sums of two stay far from overflow */
#define MAX_GROWN ((uint64_t)1 << 46)

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#else
#define MACHINE EM_AARCH64
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ORDER ELFDATA2LSB
#else
#define ORDER ELFDATA2MSB
#endif

static bool read_at(int fd, uint64_t at, void *to, size_t len)
{
    char *p = to;
    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

static bool write_at(int fd, uint64_t at, const void *from, size_t len)
{
    const char *p = from;
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const char *check_head(const Elf64_Ehdr *h)
{
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
        return "not an ELF core file";
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ORDER ||
        h->e_machine != MACHINE)
        return "not a core file of this kind of machine";
    if (h->e_type != ET_CORE)
        return "an ELF file, but not a core file";
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phoff > MAX_OFFSET)
        return "its ELF header is damaged";
    return NULL;
}

/* More than 65534 headers: the count is in the first section header. */
static bool count_headers(const struct za_core *c, const Elf64_Ehdr *h, uint32_t *n)
{
    Elf64_Shdr first;
    *n = h->e_phnum;
    if (h->e_phnum != PN_XNUM)
        return true;
    if (h->e_shoff > MAX_OFFSET || !read_at(c->fd, h->e_shoff, &first, sizeof(first)))
        return false;
    *n = first.sh_info;
    return true;
}

static const char *read_headers(struct za_core *c)
{
    Elf64_Ehdr h;
    if (!read_at(c->fd, 0, &h, sizeof(h)))
        return "not an ELF core file";
    const char *bad = check_head(&h);
    if (bad)
        return bad;
    if (!count_headers(c, &h, &c->nheaders) || c->nheaders == 0 ||
        (uint64_t)c->nheaders * sizeof(Elf64_Phdr) > c->size)
        return "its ELF header is damaged, or it is cut off before its memory begins";
    c->phoff = h.e_phoff;
    c->headers = calloc(c->nheaders, sizeof(Elf64_Phdr));
    c->stretches = calloc(c->nheaders, sizeof(struct za_stretch));
    if (!c->headers || !c->stretches)
        return strerror(ENOMEM);
    if (!read_at(c->fd, c->phoff, c->headers, c->nheaders * sizeof(Elf64_Phdr)))
        return "it is cut off before its memory begins";
    return NULL;
}

static bool damaged(const Elf64_Phdr *p)
{
    return p->p_offset > MAX_OFFSET || p->p_filesz > MAX_OFFSET || p->p_memsz > MAX_OFFSET ||
           p->p_vaddr > UINT64_MAX - p->p_memsz || p->p_filesz > p->p_memsz;
}

static void add(struct za_core *c, uint32_t index)
{
    const Elf64_Phdr *p = &c->headers[index];
    if (p->p_type != PT_LOAD || p->p_memsz == 0 || damaged(p))
        return;
    uint64_t have = p->p_offset < c->size ? c->size - p->p_offset : 0;
    uint64_t there = za_min(p->p_filesz, have);
    c->cut += p->p_filesz - there;
    c->end = za_max(c->end, p->p_offset + p->p_filesz);
    c->stretches[c->n++] = (struct za_stretch){
        .addr = p->p_vaddr,
        .memsz = p->p_memsz,
        .filesz = p->p_filesz,
        .there = there,
        .at = p->p_offset,
        .out = p->p_offset,
        .out_filesz = p->p_filesz,
        .index = index,
        .writable = (p->p_flags & PF_W) != 0,
    };
}

static int by_address(const void *a, const void *b)
{
    const struct za_stretch *x = a, *y = b;
    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

const char *za_core_open(struct za_core *c, const char *path)
{
    struct stat st;
    memset(c, 0, sizeof(*c));
    c->out_fd = -1;
    c->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (c->fd < 0 || fstat(c->fd, &st) < 0)
        return strerror(errno);
    if (!S_ISREG(st.st_mode))
        return "not a regular file";
    c->size = (uint64_t)st.st_size;
    c->end = c->size;
    const char *bad = read_headers(c);
    if (bad)
        return bad;
    for (uint32_t i = 0; i < c->nheaders; i++)
        add(c, i);
    if (c->n > 0)
        qsort(c->stretches, c->n, sizeof(c->stretches[0]), by_address);
    return NULL;
}

void za_core_close(struct za_core *c)
{
    if (c->fd >= 0)
        (void)close(c->fd);
    if (c->out_fd >= 0)
        (void)close(c->out_fd);
    free(c->headers);
    free(c->stretches);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The last one that begins at or before addr, if it reaches that far. */
static struct za_stretch *find(const struct za_core *c, uint64_t addr)
{
    size_t from = 0, to = c->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (c->stretches[mid].addr <= addr)
            from = mid + 1;
        else
            to = mid;
    }
    if (from == 0)
        return NULL;
    struct za_stretch *s = &c->stretches[from - 1];
    return addr - s->addr < s->memsz ? s : NULL;
}

enum za_core_read za_core_read(const struct za_core *c, uint64_t addr, void *to, size_t len)
{
    char *p = to;
    while (len > 0) {
        const struct za_stretch *s = find(c, addr);
        if (!s)
            return ZA_CORE_ABSENT;
        uint64_t skip = addr - s->addr;
        if (skip >= s->there)
            return skip < s->filesz ? ZA_CORE_CUT : ZA_CORE_ABSENT;
        size_t n = za_min(len, s->there - skip);
        if (!read_at(c->fd, s->at + skip, p, n))
            return ZA_CORE_CUT;
        p += n;
        addr += n;
        len -= n;
    }
    return ZA_CORE_READ;
}

/* ---- the copy -------------------------------------------------------------------------------- */

static bool all_zero(const char *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* What is not zero, in runs of blocks. */
static bool write_sparse(int fd, uint64_t at, const char *p, size_t len)
{
    size_t from = 0;
    while (from < len) {
        size_t to = from;
        while (to < len && !all_zero(p + to, za_min(BLOCK, len - to)))
            to += za_min(BLOCK, len - to);
        if (to > from && !write_at(fd, at + from, p + from, to - from))
            return false;
        from = to + za_min(BLOCK, len - to);
    }
    return true;
}

/* Copies [at, at + len) of the core to `to` of the copy; holes are not even read. */
static bool copy_range(const struct za_core *c, uint64_t at, uint64_t len, uint64_t to)
{
    char *buf = malloc(PIECE);
    uint64_t end = at + len, start = at;
    bool good = buf != NULL;
    while (good && at < end) {
        off_t data = lseek(c->fd, (off_t)at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        if (data > 0 && (uint64_t)data > at)
            at = za_min((uint64_t)data, end);
        size_t n = za_min(PIECE, end - at);
        good = read_at(c->fd, at, buf, n) && write_sparse(c->out_fd, to + (at - start), buf, n);
        at += n;
    }
    free(buf);
    return good;
}

static bool same_file(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

const char *za_core_copy(struct za_core *c, const char *path)
{
    c->out_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (c->out_fd < 0)
        return strerror(errno);
    if (same_file(c->fd, c->out_fd))
        return "that is the core file itself";
    if (ftruncate(c->out_fd, 0) < 0 || ftruncate(c->out_fd, (off_t)c->size) < 0 ||
        !copy_range(c, 0, c->size, 0))
        return strerror(errno);
    return NULL;
}

/* I2 */
static bool give_place(struct za_core *c, struct za_stretch *s)
{
    uint64_t at = za_align_up(c->end, BLOCK);
    if (s->memsz > MAX_GROWN || at > MAX_OFFSET) {
        errno = EFBIG;
        return false;
    }
    if (!copy_range(c, s->at, s->there, at))
        return false;
    s->out = at;
    s->out_filesz = s->memsz;
    c->end = at + s->memsz;
    c->headers[s->index].p_offset = at;
    c->headers[s->index].p_filesz = s->memsz;
    return true;
}

bool za_core_put(struct za_core *c, uint64_t addr, const void *from, size_t len)
{
    struct za_stretch *s = find(c, addr);
    errno = EFAULT;
    if (!s || s->memsz - (addr - s->addr) < len)
        return false;
    uint64_t skip = addr - s->addr;
    if (skip + len > s->out_filesz && !give_place(c, s))
        return false;
    return write_at(c->out_fd, s->out + skip, from, len);
}

/* Every stretch that was given a place reaches to its end, if only as a hole. */
const char *za_core_finish(struct za_core *c)
{
    struct stat st;
    bool good = write_at(c->out_fd, c->phoff, c->headers, c->nheaders * sizeof(Elf64_Phdr)) &&
                fstat(c->out_fd, &st) == 0;
    for (size_t i = 0; good && i < c->n; i++) {
        const struct za_stretch *s = &c->stretches[i];
        if (s->out != s->at && (uint64_t)st.st_size < s->out + s->out_filesz)
            good = ftruncate(c->out_fd, (off_t)(s->out + s->out_filesz)) == 0 &&
                   fstat(c->out_fd, &st) == 0;
    }
    if (close(c->out_fd) < 0)
        good = false;
    c->out_fd = -1;
    return good ? NULL : strerror(errno);
}
