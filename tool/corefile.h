/* SPDX-License-Identifier: MIT */
/*
 * corefile -- an ELF core file read by address, and its copy with pages put in.
 *
 * Nothing in the file is trusted: every offset and length is checked against the file's real size
 * before use. Files are read and written in pieces, whatever their size.
 */
#ifndef ZA_TOOL_COREFILE_H
#define ZA_TOOL_COREFILE_H

#include <elf.h>

#include "base/base.h"

/* A range of memory, and where the file has it. */
struct za_stretch {
    uint64_t addr, memsz; /* as in the program header */
    uint64_t filesz;      /* bytes the header promises */
    uint64_t there;       /* of them, bytes the file really has */
    uint64_t at;          /* offset in the file that is read */
    uint64_t out;         /* offset in the copy */
    uint64_t out_filesz;  /* bytes of it that the copy has room for */
    uint32_t index;       /* of its program header */
    bool writable;
};

struct za_core {
    int fd, out_fd; /* -1: none */
    uint64_t size;  /* of the file that is read */
    uint64_t end;   /* of the copy: behind everything any header promises */
    uint64_t cut;   /* bytes promised that are not there */
    uint64_t phoff;
    Elf64_Phdr *headers; /* nheaders */
    uint32_t nheaders;
    struct za_stretch *stretches; /* by address */
    size_t n;
};

/*
 * What became of a read by address: all of it; the file does not hold it; the file is cut there; it
 * was not in memory, but in another file.
 */
enum za_core_read { ZA_CORE_READ, ZA_CORE_ABSENT, ZA_CORE_CUT, ZA_CORE_ELSEWHERE };

/* NULL, or what is wrong: a literal, or the text of errno. */
const char *za_core_open(struct za_core *c, const char *path);
enum za_core_read za_core_read(const struct za_core *c, uint64_t addr, void *to, size_t len);

/* Makes the copy, holes staying holes; NULL or what is wrong. The file may not be the core itself. */
const char *za_core_copy(struct za_core *c, const char *path);
/* Into the copy. False: no header speaks of this address, or writing failed (errno). */
bool za_core_put(struct za_core *c, uint64_t addr, const void *from, size_t len);
/* Writes what has changed in the headers and closes the copy. */
const char *za_core_finish(struct za_core *c);
void za_core_close(struct za_core *c);

#endif
