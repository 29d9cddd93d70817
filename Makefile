# SPDX-License-Identifier: MIT
#
# zalloc -- builds build/libzalloc.so, build/libzalloc.a and build/zalloc; nothing outside build/.
#
# Sources are found by wildcard, so a new file in a layer's folder needs no line here.
# Targets: all test test-fast test-world test-machine asan ubsan tsan tidy format format-check layers
#          symbols bench-codec bench-alloc bench-density bench-dedup musl aarch64 demo deps install
#          uninstall clean.
# Variables: CC (gcc or clang), BUILD, PREFIX, DESTDIR, EXTRA, BENCH_FILES;
#          SYSROOT for foreign systems.

ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man

# The other programs of a cross compiler's toolchain have its prefix.
CROSS := $(patsubst %gcc,%,$(filter %-linux-gnu-gcc,$(CC)))
ifeq ($(origin AR),default)
AR := $(CROSS)ar
endif
NM := $(CROSS)nm
OBJCOPY := $(CROSS)objcopy

# Two jobs unless the caller said otherwise.
ifeq ($(MAKELEVEL),0)
ifeq ($(filter -j% --jobs%,$(MAKEFLAGS)),)
MAKEFLAGS += -j2
endif
endif
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

LAYERS := base os compress dedup pager alloc
LIB_SRC := $(sort $(wildcard $(addsuffix /*.c,$(LAYERS))))
PRELOAD_SRC := $(wildcard preload.c) $(sort $(wildcard preload/*.c))
TOOL_SRC := $(sort $(wildcard tool/*.c))
FAKE_SRC := $(sort $(wildcard tests/fake/*.c))
UNIT_SRC := $(sort $(filter-out tests/unit/unit.c,$(wildcard tests/unit/*.c)))
# Programs of these groups are linked like unit tests; each prints `N passed, N failed` last.
LINKED_SRC := $(sort $(wildcard tests/model/*.c tests/fault/*.c))

WARN := -Wall -Wextra -Wundef -Wmissing-prototypes -Wshadow -Werror
# _GNU_SOURCE is empty, as in a source's own #define, which may stand beside it.
CFLAGS := -std=gnu11 -D_GNU_SOURCE= -O2 -g -fPIC -fvisibility=hidden -I. $(WARN) $(EXTRA)
# -fno-plt and -z now: resolving a symbol on first use would run the dynamic linker, with its locks
# and its calls of malloc, in the middle of ours.  initial-exec: so would a lazy TLS block.
PRODUCT := -fno-plt -ftls-model=initial-exec
# Without this a compiler may turn our malloc and memset into a call of the calloc being defined.
NO_BUILTIN := -fno-builtin-malloc
# nodelete: our threads run the code; it must never be unmapped.  defs: no undefined leftovers.
# initfirst: our fork handlers must be the first ones registered.
LDFLAGS := -Wl,-z,now,-z,relro,-z,defs,-z,nodelete,-z,initfirst,--exclude-libs,ALL,--as-needed
# Archives, their symbols hidden (--exclude-libs): we never stand in for the program's own copies.
CODEC_LIBS := -l:liblz4.a -l:libzstd.a
# A foreign system's are named by their paths (scripts/sysroot).
ifdef SYSROOT
CFLAGS += -isystem $(SYSROOT)/include
CODEC_LIBS := $(SYSROOT)/lib/liblz4.a $(SYSROOT)/lib/libzstd.a
endif
LIBS := $(CODEC_LIBS) -pthread

# The test variants are built with assertions and walkers; our threads are pthreads there, because
# the sanitizers' runtimes must know every thread.
UNIT := -DZA_DEBUG -DZA_PARANOID -DZA_THREADS_PTHREAD -fno-omit-frame-pointer
FLAGS_obj := $(PRODUCT)
FLAGS_plain := $(UNIT)
FLAGS_asan := $(UNIT) -fsanitize=address
FLAGS_ubsan := $(UNIT) -fsanitize=undefined -fno-sanitize-recover=all
FLAGS_tsan := $(UNIT) -fsanitize=thread
# What we ship, but for the switch that takes remedies away (base/remedy.h).
FLAGS_without := $(PRODUCT) -DZA_TEST_WITHOUT
VARIANTS := obj plain asan ubsan tsan without

LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
PRELOAD_OBJ := $(PRELOAD_SRC:%.c=$(BUILD)/obj/%.o)
TOOL_OBJ := $(TOOL_SRC:%.c=$(BUILD)/obj/%.o)

PRODUCTS := $(if $(LIB_OBJ)$(PRELOAD_OBJ),$(BUILD)/libzalloc.so $(BUILD)/libzalloc.a) \
            $(if $(TOOL_SRC),$(BUILD)/zalloc)

.PHONY: all
all: $(PRODUCTS)

# --- objects -------------------------------------------------------------------------------------

# Holds the compiler and its options; newer than the objects when either has changed.
STAMP := $(BUILD)/flags
STAMP_TEXT := $(CC) $(CFLAGS) $(PRODUCT) $(UNIT) $(NO_BUILTIN)
$(shell mkdir -p $(BUILD); printf '%s\n' '$(STAMP_TEXT)' | cmp -s - $(STAMP) || \
        printf '%s\n' '$(STAMP_TEXT)' >$(STAMP))

# An exception of a new-handler passes through the operators.
own_flags = $(if $(filter alloc/% preload.c preload/%,$(1)),$(NO_BUILTIN))
own_flags += $(if $(filter preload/operators.c,$(1)),-fexceptions)

define variant_rules
$$(BUILD)/$(1)/%.o: %.c $$(STAMP)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(FLAGS_$(1)) $$(call own_flags,$$<) -MMD -MP -c $$< -o $$@
endef
$(foreach v,$(VARIANTS),$(eval $(call variant_rules,$(v))))

# --- products ------------------------------------------------------------------------------------

$(BUILD)/libzalloc.so: $(LIB_OBJ) $(PRELOAD_OBJ) $(STAMP)
	$(CC) -shared -Wl,-soname,libzalloc.so $(LDFLAGS) -o $@ $(LIB_OBJ) $(PRELOAD_OBJ) $(LIBS)

WITHOUT_OBJ := $(patsubst %.c,$(BUILD)/without/%.o,$(LIB_SRC) $(PRELOAD_SRC))

$(BUILD)/without/libzalloc.so: $(WITHOUT_OBJ) $(STAMP)
	$(CC) -shared -Wl,-soname,libzalloc.so $(LDFLAGS) -o $@ $(WITHOUT_OBJ) $(LIBS)

# The sources with a switch, once more without it: tests/dangers/run compares the code.
SWITCHED := $(filter-out base/remedy.c,$(shell grep -l base/remedy.h $(LIB_SRC) $(PRELOAD_SRC)))
.PHONY: switchless
switchless: $(SWITCHED:%.c=$(BUILD)/switchless/%.o) $(SWITCHED:%.c=$(BUILD)/obj/%.o)
$(BUILD)/switchless/%.o: %.c $(STAMP)
	@mkdir -p $(@D)
	@sed -e '1i #line 1 "$<"' -e 's/za_without([A-Z0-9_]*)/false/g' \
	     -e 's,^#include "base/remedy.h",,' $< | \
	        $(CC) $(CFLAGS) $(FLAGS_obj) $(call own_flags,$<) -x c -c - -o $@

# One object with what we use of liblz4 and libzstd in it; global are the names the shared library
# exports, and no others: but those whose namesake in a static libc could not be found behind ours.
ONLY_SHARED := ^(pthread_create|pthread_mutex_init|_Fork|clone|syscall|set(|e|re|res)[ug]id|setgroups|initgroups)$$
$(BUILD)/libzalloc.a: $(BUILD)/libzalloc.so
	@rm -f $@
	$(NM) -D --defined-only $< | awk '{ sub("@.*", "", $$3); print $$3 }' | grep -vE '$(ONLY_SHARED)' >$(BUILD)/exports
	$(CC) -nostdlib -r -o $(BUILD)/zalloc-all.o $(LIB_OBJ) $(PRELOAD_OBJ) $(CODEC_LIBS)
	$(OBJCOPY) --keep-global-symbols=$(BUILD)/exports $(BUILD)/zalloc-all.o
	$(AR) rcs $@ $(BUILD)/zalloc-all.o
	@rm -f $(BUILD)/zalloc-all.o

# The command reads core files with the library's own codecs and records.
TOOL_LAYERS := base os compress
TOOL_LIB_SRC := $(filter $(TOOL_LAYERS:%=%/%),$(LIB_SRC))

$(BUILD)/zalloc: $(TOOL_OBJ) $(LIB_OBJ) $(STAMP)
	$(CC) -o $@ $(TOOL_OBJ) $(TOOL_LIB_SRC:%.c=$(BUILD)/obj/%.o) $(LIBS)

# The command under AddressSanitizer, for damaged input (tests/cores/run).
ASAN_TOOL_OBJ := $(TOOL_SRC:%.c=$(BUILD)/asan/%.o) $(TOOL_LIB_SRC:%.c=$(BUILD)/asan/%.o)
$(BUILD)/zalloc-asan: $(ASAN_TOOL_OBJ) $(STAMP)
	$(CC) $(FLAGS_asan) -o $@ $(ASAN_TOOL_OBJ) $(LIBS)

# --- unit tests, in four variants ----------------------------------------------------------------

# A test of a layer links with that layer and those below it, nothing above; other tests with all.
# Archives, so that each links only what it uses.  preload stays out: its names are libc's.
upto_base := base
upto_os := base os
upto_compress := base os compress
upto_dedup := base os dedup
upto_pager := base os compress dedup pager
# $(1): variant, $(2): a test's path below tests/ without suffix
layers_of = $(or $(upto_$(firstword $(subst _, ,$(notdir $(2))))),$(LAYERS))
archives_of = $(foreach l,$(call layers_of,$(1),$(2)),$(BUILD)/$(1)/lib$(l).a)

# $(1): variant, $(2): layer
define layer_rules
$$(BUILD)/$(1)/lib$(2).a: $$(patsubst %.c,$$(BUILD)/$(1)/%.o,$$(filter $(2)/%,$$(LIB_SRC)))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(AR) rcs $$@ $$^
endef

# The objects we ship, with bare threads and without assertions: what threads have to do with.
UNIT_SRC_obj := $(wildcard tests/unit/os_*.c tests/unit/pager_*.c)

.SECONDEXPANSION:
define unit_rules
$$(BUILD)/$(1)/libunit.a: $$(patsubst %.c,$$(BUILD)/$(1)/%.o,tests/unit/unit.c $$(FAKE_SRC))
	@rm -f $$@
	$$(AR) rcs $$@ $$^
$$(BUILD)/$(1)/bin/%: $$(BUILD)/$(1)/tests/%.o $$(BUILD)/$(1)/libunit.a \
                      $$$$(call archives_of,$(1),%)
	@mkdir -p $$(@D)
	$$(CC) $$(FLAGS_$(1)) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(LIBS)
unit_src_$(1) := $$(or $$(UNIT_SRC_$(1)),$$(UNIT_SRC))
unit_$(1) := $$(unit_src_$(1):tests/%.c=$$(BUILD)/$(1)/bin/%)
linked_$(1) := $$(LINKED_SRC:tests/%.c=$$(BUILD)/$(1)/bin/%)
.PHONY: unit-$(1) linked-$(1) programs-$(1)
programs-$(1): $$(unit_$(1))
unit-$(1): $$(unit_$(1))
	@tests/unit/run $$(sort $$(unit_$(1)))
linked-$(1): $$(linked_$(1))
$$(foreach l,$$(LAYERS),$$(eval $$(call layer_rules,$(1),$$(l))))
endef
$(foreach v,$(VARIANTS),$(eval $(call unit_rules,$(v))))

# --- other systems -------------------------------------------------------------------------------

# This Makefile with another compiler, in a build directory of its own: library, command and unit
# tests are built, and the unit tests run (those of aarch64 under qemu, as far as it can).
CC_musl := musl-gcc
CC_aarch64 := aarch64-linux-gnu-gcc
GOALS_musl := all unit-plain unit-obj
GOALS_aarch64 := all programs-plain emulated

.PHONY: musl aarch64 emulated
musl:
aarch64:
musl aarch64:
	scripts/sysroot $@ $(BUILD)/$@/sysroot
	+$(MAKE) CC=$(CC_$@) BUILD=$(BUILD)/$@ SYSROOT=$(BUILD)/$@/sysroot $(GOALS_$@)

# qemu-user has no userfaultfd and knows no threads but libc's: what needs either is left out, and
# os_*, which would test qemu.
EMULATOR = $(firstword $(foreach p,qemu-aarch64-static qemu-aarch64,$(shell command -v $(p))))
EMULATED := alloc_% base_% compress_% pager_budget.c pager_none.c
NOT_EMULATED := # tests/worlds/run leaves out what takes long
EMULATED_SRC := $(filter-out $(addprefix tests/unit/,$(NOT_EMULATED)), \
        $(filter $(addprefix tests/unit/,$(EMULATED)),$(UNIT_SRC)))
emulated: $(EMULATED_SRC:tests/%.c=$(BUILD)/plain/bin/%)
	@$(if $(EMULATOR),,echo 'no qemu-aarch64 (package qemu-user-static or qemu-user)'; exit 1;) \
	        ulimit -c 0; LAUNCHER='$(EMULATOR) -L /usr/aarch64-linux-gnu' tests/unit/run $^

# --- other page sizes ----------------------------------------------------------------------------

# Tests of alloc and pager on pages of 16 and 64 KiB, which tests/fake/wide.c makes of small ones.
PAGES := 16 64
PAGE_SRC := $(filter tests/unit/alloc_% tests/unit/pager_%,$(UNIT_SRC))

# $(1): KiB
define page_rules
$$(BUILD)/page$(1)/%.o: %.c $$(STAMP)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) $$(FLAGS_plain) -DZA_TEST_PAGE=$(1)*1024 -MMD -MP -c $$< -o $$@
$$(BUILD)/page$(1)/libunit.a: $$(patsubst %.c,$$(BUILD)/page$(1)/%.o,tests/unit/unit.c $$(FAKE_SRC))
	@rm -f $$@
	$$(AR) rcs $$@ $$^
$$(BUILD)/page$(1)/bin/%: $$(BUILD)/page$(1)/tests/%.o $$(BUILD)/page$(1)/libunit.a \
                          $$$$(call archives_of,plain,%)
	@mkdir -p $$(@D)
	$$(CC) $$(FLAGS_plain) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(LIBS)
unit_page$(1) := $$(PAGE_SRC:tests/%.c=$$(BUILD)/page$(1)/bin/%)
.PHONY: unit-page$(1)
unit-page$(1): $$(unit_page$(1))
	@tests/unit/run $$(sort $$(unit_page$(1)))
endef
$(foreach k,$(PAGES),$(eval $(call page_rules,$(k))))

.PHONY: test test-fast asan ubsan tsan
test-fast: unit-plain
asan: unit-asan
ubsan: unit-ubsan
tsan: unit-tsan

test:
	@if [ -x scripts/install-deps ]; then scripts/install-deps build test; fi
	@MAKE='$(MAKE)' CC='$(CC)' BUILD='$(BUILD)' tests/run

# Real programs' own tests under every back-end: hours.  WORLD: only these programs.
.PHONY: test-world
test-world:
	scripts/install-deps build test world
	$(MAKE) all
	@BUILD='$(BUILD)' tests/world/run $(WORLD)

# Strict overcommit and KSM: changes settings of this machine for seconds; root.
.PHONY: test-machine
test-machine: all
	@BUILD='$(BUILD)' tests/machine/run

# --- style ---------------------------------------------------------------------------------------

CODE_DIRS := $(wildcard $(LAYERS) preload tool bench include tests)
C_FILES := $(sort $(wildcard preload.c) $(shell find $(CODE_DIRS) -name '*.c'))
H_FILES := $(sort $(shell find $(CODE_DIRS) -name '*.h'))
TIDY_OK := $(C_FILES:%=$(BUILD)/tidy/%.ok)

.PHONY: tidy format format-check layers symbols
tidy: $(TIDY_OK)

$(BUILD)/tidy/%.ok: % $(H_FILES) .clang-tidy tests/.clang-tidy
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- -std=gnu11 -D_GNU_SOURCE= -I. -DZA_DEBUG -DZA_PARANOID >$@.log 2>&1 || \
	        { grep -v 'warnings generated' $@.log; exit 1; }
	@mv $@.log $@

format:
	clang-format -i $(C_FILES) $(H_FILES)

format-check:
	@bad=$$(for f in $(C_FILES) $(H_FILES); do \
	        clang-format $$f | cmp -s - $$f || echo "$$f"; done); \
	if [ -n "$$bad" ]; then printf 'not as clang-format would have it:\n%s\n' "$$bad"; exit 1; fi

layers: $(LIB_OBJ) $(PRELOAD_OBJ)
	@BUILD='$(BUILD)' tests/layers

symbols: all
	@BUILD='$(BUILD)' tests/symbols

# --- benches -------------------------------------------------------------------------------------

BENCH := $(BUILD)/bench
# Heap images for bench-codec; say BENCH_FILES=... for others. Redis's two where it is installed.
BENCH_FILES ?= $(BENCH)/records $(BENCH)/python \
        $(if $(shell command -v redis-server 2>/dev/null),$(BENCH)/redis-strings $(BENCH)/redis-hashes)

.PHONY: bench-codec
bench-codec: $(BENCH)/codec $(BENCH_FILES)
	$(BENCH)/codec $(BENCH_FILES)

BENCH_OBJ := $(filter $(addprefix $(BUILD)/obj/,base/% os/% compress/%),$(LIB_OBJ))

$(BENCH)/codec: $(BUILD)/obj/bench/codec.o $(BENCH_OBJ)
	@mkdir -p $(@D)
	$(CC) -o $@ $^ $(LIBS) -ldl

$(BENCH)/records $(BENCH)/python: $(BENCH)/%: bench/heap.py
	@mkdir -p $(@D)
	apt-cache dumpavail | PYTHONMALLOC=malloc MALLOC_MMAP_THRESHOLD_=33554432 python3 $< $* >$@

$(BENCH)/redis-%: bench/density/images
	@mkdir -p $(@D)
	$< $(@D) 'redis?$*'

# --- benchmarks ----------------------------------------------------------------------------------

# QUICK=1: about two minutes.  ONLY: programs, WITH: allocators, both lists with commas; the first
# takes patterns.  bench/alloc/run --help for more, in BENCH_OPTIONS.
.PHONY: bench-alloc
bench-alloc: $(BUILD)/libzalloc.so
	@scripts/install-deps build bench
	@BUILD='$(BUILD)' bench/alloc/run $(if $(QUICK),--quick) $(if $(ONLY),--only '$(ONLY)') \
	        $(if $(WITH),--with '$(WITH)') $(BENCH_OPTIONS)

# Real programs: throughput against jemalloc's.  QUICK=1: a few minutes.
.PHONY: bench-programs
bench-programs: $(BUILD)/libzalloc.so
	@scripts/install-deps build bench
	@BUILD='$(BUILD)' bench/programs/run $(if $(QUICK),--quick) $(if $(ONLY),--only '$(ONLY)') \
	        $(if $(WITH),--with '$(WITH)') $(BENCH_OPTIONS)

# QUICK=1: about a minute.  As root KSM is measured too: it is switched on for that time.
.PHONY: bench-dedup
bench-dedup: $(BUILD)/libzalloc.so $(BENCH)/dedup/index $(BENCH)/dedup/load
	@BUILD='$(BUILD)' bench/dedup/run $(if $(QUICK),--quick) $(BENCH_OPTIONS)

$(BENCH)/dedup/index: $(BUILD)/obj/bench/dedup/index.o \
                      $(filter $(addprefix $(BUILD)/obj/,base/% os/% compress/% dedup/%),$(LIB_OBJ))
	@mkdir -p $(@D)
	$(CC) -o $@ $^ $(LIBS)

$(BENCH)/dedup/load: $(BUILD)/obj/bench/dedup/load.o
	@mkdir -p $(@D)
	$(CC) -o $@ $^ -ldl

# What real programs weigh; fails where a goal is missed.  QUICK=1: about five minutes, and never
# fails so.  ONLY: programs, a list with commas of patterns.  DOC=1: doc/density.md is written anew.
# Comparing with zram and KSM takes root, and both are switched on while it runs.
.PHONY: bench-density
bench-density: all
	scripts/install-deps demo bench
	@BUILD='$(BUILD)' bench/density/run $(if $(QUICK),--quick) $(if $(ONLY),--only '$(ONLY)') \
	        $(if $(DOC),--doc) $(BENCH_OPTIONS)

# --- demo, install -------------------------------------------------------------------------------

.PHONY: deps demo install uninstall clean
deps:
	scripts/install-deps build

demo:
	scripts/install-deps build demo
	$(MAKE) all
	demo/run

MAN1 := $(wildcard doc/man/*.1)
MAN3 := $(wildcard doc/man/*.3)
HEADERS := $(wildcard include/*.h)

install: all
	install -d $(DESTDIR)$(LIBDIR)
	install -m 755 $(BUILD)/libzalloc.so $(DESTDIR)$(LIBDIR)/libzalloc.so
	install -m 644 $(BUILD)/libzalloc.a $(DESTDIR)$(LIBDIR)/libzalloc.a
	$(if $(TOOL_SRC),install -D -m 755 $(BUILD)/zalloc $(DESTDIR)$(PREFIX)/bin/zalloc)
	$(if $(HEADERS),install -D -m 644 -t $(DESTDIR)$(PREFIX)/include $(HEADERS))
	$(if $(MAN1),install -D -m 644 -t $(DESTDIR)$(MANDIR)/man1 $(MAN1))
	$(if $(MAN3),install -D -m 644 -t $(DESTDIR)$(MANDIR)/man3 $(MAN3))

uninstall:
	rm -f $(DESTDIR)$(LIBDIR)/libzalloc.so $(DESTDIR)$(LIBDIR)/libzalloc.a
	rm -f $(DESTDIR)$(PREFIX)/bin/zalloc
	rm -f $(patsubst include/%,$(DESTDIR)$(PREFIX)/include/%,$(HEADERS))
	rm -f $(patsubst doc/man/%,$(DESTDIR)$(MANDIR)/man1/%,$(MAN1))
	rm -f $(patsubst doc/man/%,$(DESTDIR)$(MANDIR)/man3/%,$(MAN3))

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
