/* SPDX-License-Identifier: MIT */
/*
 * readcore -- are the blocks of a list in a core file, every byte? Or in a running process?
 *
 * usage: readcore FILE LIST       a core file
 *        readcore PID LIST        /proc/PID/mem, as a debugger reads it
 *        readcore flip FILE SEED        damages the file
 *        readcore hollow FILE ADDRESS   no header promises more than a page of that memory any more
 * Prints `N bytes right, M wrong`; exit status 0 if none is wrong.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pattern.h"

static unsigned char *file;
static size_t size;
static int mem = -1;

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static void map_file(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) < 0)
        die(path);
    size = (size_t)st.st_size;
    file = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (file == MAP_FAILED)
        die("mmap");
    close(fd);
}

static const Elf64_Phdr *segment_of(uint64_t addr)
{
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)file;
    const Elf64_Phdr *p = (const Elf64_Phdr *)(file + h->e_phoff);
    for (unsigned i = 0; i < h->e_phnum; i++)
        if (p[i].p_type == PT_LOAD && addr - p[i].p_vaddr < p[i].p_memsz)
            return &p[i];
    return NULL;
}

/* Bytes that are not there read as 0xee. */
static void take(uint64_t addr, unsigned char *to, size_t len)
{
    memset(to, 0xee, len);
    if (mem >= 0) {
        for (size_t at = 0; at < len; at += 4096) {
            size_t n = len - at < 4096 ? len - at : 4096;
            if (pread(mem, to + at, n, (off_t)(addr + at)) != (ssize_t)n)
                memset(to + at, 0xee, n);
        }
        return;
    }
    while (len > 0) {
        const Elf64_Phdr *p = segment_of(addr);
        if (!p || addr - p->p_vaddr >= p->p_filesz)
            return;
        size_t skip = addr - p->p_vaddr, n = p->p_filesz - skip < len ? p->p_filesz - skip : len;
        if (p->p_offset + skip + n > size)
            return;
        memcpy(to, file + p->p_offset + skip, n);
        to += n;
        addr += n;
        len -= n;
    }
}

static int compare(const char *list)
{
    unsigned long long addr, len, id, right = 0, wrong = 0;
    FILE *f = fopen(list, "r");
    if (!f)
        die(list);
    while (fscanf(f, "%llx %llu %llu", &addr, &len, &id) == 3) {
        unsigned char *b = malloc(len);
        if (!b)
            die("malloc");
        take(addr, b, len);
        for (size_t i = 0; i < len; i++) {
            bool same = b[i] == pattern_byte(id, i);
            if (!same && wrong == 0)
                printf("first at %llx + %zx of block %llx\n", addr, i, id);
            right += same;
            wrong += !same;
        }
        free(b);
    }
    printf("%llu bytes right, %llu wrong\n", right, wrong);
    return right == 0 || wrong > 0;
}

static void flip(int fd, size_t around, size_t reach)
{
    size_t from = around > reach ? around - reach : 0;
    size_t to = around + reach < size ? around + reach : size;
    size_t at = from + (size_t)random() % (to - from);
    unsigned char byte = file[at] ^ (unsigned char)(1u << random() % 8);
    if (pwrite(fd, &byte, 1, (off_t)at) != 1)
        die("pwrite");
}

static size_t find(const char *what, size_t len)
{
    for (size_t i = 0; i + len <= size; i += 64)
        if (memcmp(file + i, what, len) == 0)
            return i;
    return 0;
}

/* What is zero seldom matters. */
static size_t not_zero(void)
{
    for (unsigned tries = 0; tries < 1000; tries++) {
        size_t at = (size_t)random() * 8 % size;
        if (file[at])
            return at;
    }
    return 0;
}

/* Some bits, half of them where a reader looks first; sometimes the end is cut off. */
static int damage(const char *path, unsigned seed)
{
    size_t anchor = find("zalloc anchor 1", 16);
    int fd = open(path, O_WRONLY);
    srandom(seed);
    for (unsigned i = 0; fd >= 0 && i <= seed % 7; i++) {
        switch ((seed + i) % 4) {
        case 0: flip(fd, 2048, 2048); break;
        case 1: flip(fd, anchor, 2048); break;
        default: flip(fd, not_zero(), 1); break;
        }
    }
    if (seed % 5 == 4 && ftruncate(fd, (off_t)((size_t)random() * 4 % size)) < 0)
        die("ftruncate");
    return fd < 0 || close(fd) < 0;
}

static int hollow(const char *path, uint64_t addr)
{
    const Elf64_Phdr *p = segment_of(addr);
    int fd = open(path, O_WRONLY);
    if (!p || fd < 0)
        return 1;
    Elf64_Phdr changed = *p;
    changed.p_filesz = 4096;
    return pwrite(fd, &changed, sizeof(changed), (const char *)p - (const char *)file) !=
               (ssize_t)sizeof(changed) ||
           close(fd) < 0;
}

int main(int argc, char **argv)
{
    char path[64];
    if (argc == 4 && strcmp(argv[1], "flip") == 0) {
        map_file(argv[2]);
        return damage(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    }
    if (argc == 4 && strcmp(argv[1], "hollow") == 0) {
        map_file(argv[2]);
        return hollow(argv[2], strtoull(argv[3], NULL, 16));
    }
    if (argc != 3)
        return 2;
    if (strspn(argv[1], "0123456789") == strlen(argv[1])) {
        (void)snprintf(path, sizeof(path), "/proc/%s/mem", argv[1]);
        mem = open(path, O_RDONLY);
        if (mem < 0)
            die(path);
    } else {
        map_file(argv[1]);
    }
    return compare(argv[2]);
}
