/* SPDX-License-Identifier: MIT */
/*
 * remedy -- the one table of remedies against the dangers of doc/RELIABILITY.md, and the switch
 * that takes one of them away.
 *
 * X(ID, "name", "danger", "what it does")
 *
 * A remedy asks za_without(ID) where it stands. In the product that is the constant false, and
 * nothing of it is left in the code (tests/dangers/run compares). In the build with ZA_TEST_WITHOUT
 * (build/without) the names in the environment variable ZALLOC_WITHOUT, separated by commas, are
 * taken away: so a test shows that it would catch the breach. Remedies that are an order of steps
 * or a compare-and-swap have no place to be switched: tests/model takes those away.
 *
 * Locks: none.  May sleep: no.  May fault: no.  Allocates: nothing.
 */
#ifndef ZA_BASE_REMEDY_H
#define ZA_BASE_REMEDY_H

#include "base/base.h"

#define ZA_REMEDY_TABLE(X) \
    X(P1_CHECKSUM, "p1-checksum", "P1", "a restored page is compared with its checksum") \
    X(P1_LIMBO_GONE, "p1-limbo-gone", "P1", \
      "a page that has left limbo by itself ends the process") \
    X(P1_BARRIER, "p1-barrier", "P1", "all threads pass a barrier before liveness is read") \
    X(P1_LIVENESS, "p1-liveness", "P1", "liveness is read after the page is out of reach") \
    X(P1_CLAIM, "p1-claim", "P1", "the fault thread owns a record before it maps anything") \
    X(P1_COMMIT, "p1-commit", "P1", "a packing is committed by compare-and-swap") \
    X(P1_UNSAID, "p1-unsaid", "P1", "a page that the kernel has moved unsaid is moved back") \
    X(P1_MOVING, "p1-moving", "P1", "a page that is being taken out is the worker's alone") \
    X(P1_GRACE, "p1-grace", "P1", "freed blobs and ids wait until the reader has left") \
    X(P1_COMPARE, "p1-compare", "P1", "pages are compared byte by byte before they share a blob") \
    X(P5_BUDGET, "p5-budget", "P5", "background work ends with its share of processor time") \
    X(D1_HAND_OVER, "d1-hand-over", "D1", "a child takes over the userfaultfd made for it") \
    X(D1_OWN, "d1-own", "D1", "a child proves which userfaultfd is its own") \
    X(D1_FILL, "d1-fill", "D1", "a child without handlers is filled with all that is out") \
    X(D1_REOPEN, "d1-reopen", "D1", "an unannounced child registers the heap anew") \
    X(D1_UNDO, "d1-undo", "D1", "what libc touched in a child that nobody served is undone") \
    X(D1_THAW, "d1-thaw", "D1", "where neither is possible, all comes back before the fork") \
    X(D1_STOP, "d1-stop", "D1", "a child that cannot be served is stopped") \
    X(D1_FILLED, "d1-filled", "D1", "a child begins when it has been given everything") \
    X(D1_FILES, "d1-files", "D1", "open FILEs are made resident before the fork") \
    X(D1_AWAIT, "d1-await", "D1", "a parent without rights waits until its child is on its own") \
    X(D1_LEND, "d1-lend", "D1", "a child is lent the file that pages are in") \
    X(D1_WINDOW, "d1-window", "D1", "no record changes while a fork is under way") \
    X(D1_QUIESCE, "d1-quiesce", "D1", "a fork waits for the fault being served") \
    X(D1_PARK, "d1-park", "D1", "the worker stands still during a fork") \
    X(D1_RECONCILE, "d1-reconcile", "D1", \
      "records are compared with what is present after a fork") \
    X(D1_BARE, "d1-bare", "D1", "a child without handlers finds out, and begins anew") \
    X(D1_EVENTS, "d1-events", "D1", "a fork is heard of in the middle of a restore") \
    X(D1_BACK, "d1-back", "D1", \
      "what is copied back stays where a child is given it until there is none") \
    X(D1_SLEEP, "d1-sleep", "D1", "the fault thread sleeps while it waits for the worker") \
    X(D1_PATIENCE, "d1-patience", "D1", "a child that is held up is filled after a second") \
    X(D2_STDIO_LOCK, "d2-stdio-lock", "D2", "libc's list of FILEs is locked before our locks") \
    X(D3_UNSHARE, "d3-unshare", "D3", "pages left shared by a dead child are made exclusive") \
    X(D3_COPY, "d3-copy", "D3", "limbo that MOVE refuses after a fork is copied back") \
    X(D4_OWN_TABLE, "d4-own-table", "D4", "our descriptors live in a table of our own") \
    X(D4_CALLERS_TABLE, "d4-callers-table", "D4", \
      "a descriptor is fetched from the table of the thread that has it") \
    X(D4_STANDARD, "d4-standard", "D4", "numbers 0 to 2 of that table are occupied") \
    X(D5_KERNEL_FAULTS, "d5-kernel-faults", "D5", "userfaultfd without kernel faults is not used") \
    X(D6_ON_FAULT, "d6-on-fault", "D6", "what is to be locked on fault comes back first") \
    X(D6_MLOCKALL, "d6-mlockall", "D6", "while all is locked, nothing leaves") \
    X(D6_FUTURE, "d6-future", "D6", "MCL_FUTURE covers the heap's unused part") \
    X(D7_EMPTY, "d7-empty", "D7", "DONTNEED, FREE: what is stored is dropped too") \
    X(D7_ALONE, "d7-alone", "D7", "what comes back when the pager retires is dropped then") \
    X(D7_GUARD, "d7-guard", "D7", "pages around a guard are not filled in runs") \
    X(D7_WIPE, "d7-wipe", "D7", "WIPEONFORK: pages come back and stay") \
    X(D7_HOLE, "d7-hole", "D7", "DONTFORK: what a child lacks of the heap is closed first") \
    X(D7_DUMP, "d7-dump", "D7", "DONTDUMP: pages come back and stay") \
    X(D7_PROTECT, "d7-protect", "D7", "pages come back before mprotect") \
    X(D7_KEY, "d7-key", "D7", "pages come back before pkey_mprotect") \
    X(D7_UNMAP, "d7-unmap", "D7", "munmap of heap memory empties it and keeps the addresses") \
    X(D7_REMAP, "d7-remap", "D7", "mremap of heap memory brings the pages along") \
    X(D7_FILE, "d7-file", "D7", "a child registers what is left of a chunk") \
    X(D7_MAP_OVER, "d7-map-over", "D7", "what is mapped over heap memory is left alone") \
    X(D8_MOVED, "d8-moved", "D8", "a page that MOVE refuses is copied when its block moves") \
    X(D9_OWN_STACKS, "d9-own-stacks", "D9", "stacks of our threads lie outside the heap") \
    X(D11_SIGNALS, "d11-signals", "D11", "our threads block all signals") \
    X(D12_ADDRESS_LIMIT, "d12-address-limit", "D12", \
      "a reservation that is refused is tried smaller") \
    X(D12_FRESH, "d12-fresh", "D12", "first touches of registered memory are filled") \
    X(D12_ROOM, "d12-room", "D12", "faults wait for room below the control group's limit") \
    X(D13_OUTLIVES, "d13-outlives", "D13", "the fault thread serves until the process is gone") \
    X(D14_POWERLESS, "d14-powerless", "D14", "our threads give up all capabilities once started") \
    X(D14_NO_FILES, "d14-no-files", "D14", "with no descriptor to be had, all comes back first") \
    X(D14_RENEW, "d14-renew", "D14", "after setuid our threads are replaced") \
    X(D14_CHANGE, "d14-change", "D14", "no right is given away while a child counts on it") \
    X(D14_BELL, "d14-bell", "D14", "the doorbell is registered before it is rung") \
    X(D14_REHEARSE, "d14-rehearse", "D14", "a child finds out what a seccomp filter kills for") \
    X(D14_PAGEMAP, "d14-pagemap", "D14", "the pagemap file is opened beforehand and kept") \
    X(D15_CHUNKS, "d15-chunks", "D15", "memory is registered by whole chunks") \
    X(D16_REMEMBER, "d16-remember", "D16", "what does not compress is left alone for long") \
    X(D16_BACK_OFF, "d16-back-off", "D16", "what is found warm is looked at less and less often") \
    X(D16_SLEEP, "d16-sleep", "D16", "the worker sleeps until something is due") \
    X(D17_THREAD_END, "d17-thread-end", "D17", "a thread's cache is given back at its end") \
    X(D17_START, "d17-start", "D17", "small processes get no thread") \
    X(D18_DESCRIPTOR, "d18-descriptor", "D18", "a thread's descriptor in heap memory stays there") \
    X(D18_ROBUST, "d18-robust", "D18", "robust mutexes held at a thread's end stay there")

#define ZA_REMEDY_X(ID, name, danger, what) ZA_##ID,
enum za_remedy { ZA_REMEDY_TABLE(ZA_REMEDY_X) ZA_REMEDY_MAX };
#undef ZA_REMEDY_X

#ifdef ZA_TEST_WITHOUT
bool za_remedy_off(enum za_remedy r);
#define za_without(ID) za_remedy_off(ZA_##ID)
#else
#define za_without(ID) ((void)ZA_##ID, false)
#endif

#endif
