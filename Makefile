# What C people type; the work itself is Cargo's, pytest's and .ci/'s.
#   make            libraries and programs into build/
#   make run        sipd, a SIP server, on ADDR (127.0.0.1:5060)
#   make check      every test; make check-all: with the full-length and exhaustive variants too
#   make models     the models of the shared-memory protocols alone
#   make bench      CPU time for each message beside a bare epoll loop and a stock Kamailio: CASES=
#   make instructions   records what callgrind counts for the small operations (benches/instructions.json)
#   make sipwire-top   build/sipwire-top, which shows what a running server does; install-top: it and its manual page
#   make soak       ten minutes of 15,000 connections and deaths in each mode: SECONDS= CONNECTIONS= SEED=
#   make fuzz       the fuzz targets, SECONDS (60) each; what they find and have found is in build/fuzz/
#   make miri       the Rust tests that Miri can run, where the toolchain has it
#   make kamailio   build/kamailio/sipwire.so, a module of Kamailio: KAMAILIO= its program, KAMAILIO_SRC= its sources
#   make install    PREFIX= DESTDIR= LIBDIR= MANDIR=
#   make header     include/sipwire.h again, after a change in src/ffi/
#   make sizes      records the sizes of the libraries; make abi: the binary interface (c-tests/artefacts/)
.DELETE_ON_ERROR:
.SUFFIXES:

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR     ?= $(PREFIX)/bin
MANDIR     ?= $(PREFIX)/share/man
ADDR       ?= 127.0.0.1:5060

CARGO   ?= cargo
CFLAGS  ?= -O2 -g
# -Wl,--gc-sections drops what a program does not use of the static library.
FLAGS   := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Iinclude $(CFLAGS)
LINK    := -pthread -Wl,--gc-sections $(LDFLAGS)
TARGET  := $(or $(CARGO_TARGET_DIR),target)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME  := libsipwire.so.$(firstword $(subst ., ,$(VERSION)))

LIBS     := build/libsipwire.a build/libsipwire.so
PROGRAMS := build/answer build/sipd
C_TESTS  := $(patsubst c-tests/%.c,build/c-tests/%,$(filter-out c-tests/harness.c,$(wildcard c-tests/*.c)))
TRACER   := $(addprefix c-tests/tracer/,main.c calls.c judge.c stack.c)
RUST     := $(shell find src -name '*.rs') build.rs Cargo.toml Cargo.lock
SIPD     := $(patsubst examples-c/sipd/%,build/sipd.d/%.o,$(wildcard examples-c/sipd/*.[cS]))

all: $(LIBS) $(PROGRAMS)

# ---- what a fresh machine lacks ----
# cargo is asked for where the library is built: who installs what is built, as root say, need not have it.
need-cc:
	@.ci/need cc=gcc
need-lua:
	@.ci/need pc:lua5.4=liblua5.4-dev
need-dw:
	@.ci/need pc:libdw=libdw-dev

# ---- the libraries ----
# What is shipped is one archive: a crate-type list with rlib would drop `lto` without a word. It then
# becomes one object in which only sipwire_* is global, so that it links beside another Rust library
# (std's own symbols would collide). --force-group-allocation keeps the exception tables' references
# valid; .llvmbc goes because an `ar` with the LLVM plug-in stumbles over it.
build/libsipwire.a: $(RUST)
	@.ci/need cc=gcc ld=binutils cargo
	@mkdir -p build
	$(CARGO) rustc --locked --release --lib --crate-type staticlib
	ld -r --force-group-allocation --whole-archive $(TARGET)/release/libsipwire.a -o build/sipwire.o
	objcopy --remove-section .llvmbc --remove-section .llvmcmd --wildcard --keep-global-symbol='sipwire_*' build/sipwire.o
	@rm -f $@
	ar rcs $@ build/sipwire.o
	@rm -f build/sipwire.o

# The shared library is the same object. Not the one that rustc links: with the list of exports that rustc gives the
# linker no symbol gets a version. Once std has started a thread the object cannot be unloaded (its thread-local
# destructors live in it); nodelete makes that a promise instead of an accident. Without
# -Bsymbolic-functions a host that exports symbols of these names would find its own in the plug-in's table.
HARDENED := -Wl,-z,relro,-z,now,-z,noexecstack,-z,text,-z,defs
build/libsipwire.so: build/libsipwire.a include/sipwire.map Makefile
	$(CC) -shared -Wl,--whole-archive build/libsipwire.a -Wl,--no-whole-archive -Wl,--gc-sections $(LDFLAGS) $(HARDENED) \
	  -Wl,--as-needed -pthread -lrt -lm -ldl \
	  -Wl,--version-script=include/sipwire.map,-soname,$(SONAME),-z,nodelete,-Bsymbolic-functions -o build/libsipwire.so.$(VERSION)
	ln -sf libsipwire.so.$(VERSION) build/$(SONAME)
	ln -sf $(SONAME) $@

# ---- the programs ----
# The examples of one idea each are built by a makefile of their own, against what is installed; `make build/minimal` works, too.
build/%: examples-c/%.c $(wildcard examples-c/*.h) include/sipwire.h build/libsipwire.a | need-cc
	$(CC) $(FLAGS) $< build/libsipwire.a $(LINK) -o $@

build/sipd: $(SIPD) build/libsipwire.a
	$(CC) $(CFLAGS) $^ $(LINK) $$(pkg-config --libs lua5.4) -o $@
build/sipd.d/%.c.o: examples-c/sipd/%.c include/sipwire.h $(wildcard examples-c/sipd/*.h) | need-cc need-lua
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -pthread $$(pkg-config --cflags lua5.4) -c $< -o $@
build/sipd.d/%.S.o: examples-c/sipd/%.S examples-c/sipd/default.lua | need-cc
	@mkdir -p $(@D)
	$(CC) -Wa,-Iexamples-c/sipd -c $< -o $@

# Not of `all`: it needs a few crates that the library does not. A profile of its own, because what is in
# $(TARGET)/release is the library without them.
sipwire-top: build/sipwire-top
build/sipwire-top: $(RUST)
	@.ci/need cargo
	@mkdir -p build
	$(CARGO) build --locked --profile top --features top --bin sipwire-top
	install -m 755 $(TARGET)/top/sipwire-top $@ # one that runs stays what it is

# ---- the module of Kamailio ----
# For the program KAMAILIO, with the headers of its sources: KAMAILIO_SRC, or Debian's (see .ci/kamailio). In the module
# only what the core looks up is visible.
KAMAILIO     ?= kamailio
KAMAILIO_SRC ?=
MODULE       := $(patsubst examples-c/kamailio/%.c,build/kamailio/%.o,$(wildcard examples-c/kamailio/*.c))
kamailio: build/kamailio/sipwire.so
build/kamailio/flags: FORCE | need-cc
	@[ "$(KAMAILIO)" != kamailio ] || .ci/need kamailio
	@.ci/kamailio $@ $(KAMAILIO) $(KAMAILIO_SRC)
build/kamailio/%.o: examples-c/kamailio/%.c $(wildcard examples-c/kamailio/*.h) include/sipwire.h build/kamailio/flags
	$(CC) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -Iinclude $(CFLAGS) -fPIC -fmacro-prefix-map=examples-c/kamailio/= \
	  -DMOD_NAME='"sipwire"' @build/kamailio/flags -c $< -o $@
build/kamailio/sipwire.so: $(MODULE) examples-c/kamailio/exports build/libsipwire.a
	$(CC) -shared $(CFLAGS) $(MODULE) build/libsipwire.a $(LINK) -Wl,--version-script=examples-c/kamailio/exports -o $@

# ---- the tests ----
c-tests: $(C_TESTS) build/sipwire-top build/c-tests/tracer build/c-tests/sleeper build/crash/points build/crash/panics build/crash/alone
build/c-tests/harness.o: c-tests/harness.c c-tests/harness.h $(wildcard c-tests/harness/*.c) include/sipwire.h | need-cc
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -pthread -c $< -o $@
# A library in which a process can be made to end at any step, and the tests of that; see c-tests/crash/.
build/crash/libsipwire.a: $(RUST)
	@.ci/need cc=gcc ld=binutils cargo
	@mkdir -p $(@D)
	RUSTFLAGS='--cfg crash_points' $(CARGO) rustc --locked --profile crash --lib --crate-type staticlib --target-dir $(TARGET)/crash
	cp $(TARGET)/crash/crash/libsipwire.a $@
CRASH := $(wildcard c-tests/crash/*.c)
build/crash/points: $(CRASH) c-tests/crash/crash.h c-tests/deadline.h build/c-tests/harness.o build/crash/libsipwire.a
	$(CC) $(FLAGS) $(CRASH) build/c-tests/harness.o build/crash/libsipwire.a $(LINK) -lm -o $@
build/crash/panics build/crash/alone: build/crash/%: c-tests/panic/%.c c-tests/crash/crash.h build/c-tests/harness.o build/crash/libsipwire.a
	$(CC) $(FLAGS) $< build/c-tests/harness.o build/crash/libsipwire.a $(LINK) -lm -o $@
# The parser of sipd is tested alone, with the sanitizers.
build/c-tests/sipd_parser: c-tests/sipd_parser.c $(addprefix examples-c/sipd/,sip.c sip_values.c text.c sip.h text.h) | need-cc
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -fsanitize=address,undefined -fno-sanitize-recover=all -Iexamples-c/sipd $(filter %.c,$^) -o $@
# The tracer runs the others; the sleeper is what it is tried on.
build/c-tests/tracer: $(TRACER) c-tests/tracer/tracer.h | need-cc need-dw
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(TRACER) $$(pkg-config --cflags --libs libdw) -o $@
build/c-tests/sleeper: c-tests/tracer/sleeper.c c-tests/harness.h build/c-tests/harness.o build/libsipwire.a
	$(CC) $(FLAGS) $< build/c-tests/harness.o build/libsipwire.a $(LINK) -lm -o $@
build/c-tests/%: c-tests/%.c $(wildcard c-tests/*.h) build/c-tests/harness.o build/libsipwire.a
	$(CC) $(FLAGS) $< build/c-tests/harness.o build/libsipwire.a $(LINK) -lm -o $@

build/c-tests/soak build/sanitized/soak.o: $(wildcard c-tests/soak/*.c)

# Both modes, each for SECONDS; SEED= to have one again.
soak: SECONDS ?= 600
CONNECTIONS ?= 15000
SEED        ?=
soak: build/c-tests/soak
	@for mode in threads processes; do \
	  build/c-tests/soak --$$mode --seconds $(SECONDS) --connections $(CONNECTIONS) $(if $(SEED),--seed $(SEED)) || exit 1; \
	done
# ---- fuzzing and sanitizers ----
# One build serves both: the library under AddressSanitizer, with what a fuzzer needs to see where an input leads. The
# sanitizer is an unstable option of a stable compiler, which RUSTC_BOOTSTRAP lets through; its runtime comes with it.
# cargo-fuzz sets the same.
HOST      = $(shell rustc -vV | sed -n 's/^host: //p')
ASAN      := build/asan
ASAN_RUST := --cfg fuzzing -Zsanitizer=address -Cforce-frame-pointers -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
fuzz: SECONDS ?= 60
fuzz-targets: $(ASAN)/libsipwire.a
$(ASAN)/libsipwire.a: $(RUST) fuzz/Cargo.toml fuzz/Cargo.lock $(shell find fuzz/fuzz_targets -name '*.rs')
	@.ci/need cargo cc=gcc g++
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(ASAN_RUST)" $(CARGO) build --locked --release --manifest-path fuzz/Cargo.toml \
	  --target $(HOST) --target-dir $(ASAN)
	@rm -rf $(ASAN)/targets && mkdir $(ASAN)/targets
	ln $(patsubst fuzz/fuzz_targets/%.rs,$(ASAN)/$(HOST)/release/%,$(wildcard fuzz/fuzz_targets/*.rs)) $(ASAN)/targets/
	ln -f $(ASAN)/$(HOST)/release/deps/libsipwire.a $@
	@touch $@
fuzz: fuzz-targets
	@mkdir -p build/fuzz/kept
	@.ci/fuzz $(SECONDS) build/fuzz

# The C tests with the sanitizers of the C compiler, and one runtime for both languages. Instrumented code warns of more.
SANITIZE := -O1 -g -Wno-error -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
ASAN_RT   = $(wildcard $(shell rustc --print target-libdir)/librustc-*_rt.asan.a)
build/sanitized/harness.o: c-tests/harness.c c-tests/harness.h $(wildcard c-tests/harness/*.c) include/sipwire.h | need-cc
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(SANITIZE) -pthread -c $< -o $@
build/sanitized/%.o: c-tests/%.c $(wildcard c-tests/*.h) include/sipwire.h | need-cc
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(SANITIZE) -c $< -o $@
build/sanitized/%: build/sanitized/%.o build/sanitized/harness.o $(ASAN)/libsipwire.a
	$(CC) $^ $(LINK) -Wl,--whole-archive $(ASAN_RT) -Wl,--no-whole-archive -ldl -lm -o $@

# What Miri can run: pure functions, and shared memory that is plain memory of the process there.
miri:
	@if $(CARGO) miri --version >/dev/null 2>&1; then \
	  MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=4 $(CARGO) miri test --locked --lib -- pure:: shm::; \
	else echo "skipped: this toolchain has no cargo miri (rustup +nightly component add miri)"; fi

check:
	@.ci/check
check-all:
	@.ci/check --all

# The models of the shared-memory protocols (src/models/): each checker takes the place of the atomics.
models: models-loom models-shuttle
models-%:
	@.ci/need cargo
	RUSTFLAGS="--cfg $*" CARGO_TARGET_DIR=$(TARGET)/models CARGO_PROFILE_TEST_OPT_LEVEL=2 \
	  $(CARGO) test --locked --lib models::

# ---- the bench ----
# CASES= of those that `benches/bench.py --help` names. The load generator is a crate of its own.
CASES ?=
bench: build/bench/floor build/bench/pour build/bench/load build/bench/micro build/answer build/sipd
	@.ci/need py:matplotlib=python3-matplotlib || true
	@/usr/bin/python3 benches/bench.py $(CASES)
# What the small operations take now is what they are to take.
instructions:
	@/usr/bin/python3 benches/counting.py --record
build/bench/floor: benches/floor.c benches/pour.h | need-cc
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -pthread $< -o $@
build/bench/pour: benches/pour.c benches/pour.h include/sipwire.h build/libsipwire.a | need-cc
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $< build/libsipwire.a $(LINK) -o $@
build/bench/micro: benches/micro/Cargo.toml benches/micro/Cargo.lock benches/operations.rs $(wildcard benches/micro/src/*.rs) FORCE
	@.ci/need cargo
	@mkdir -p $(@D)
	$(CARGO) build --locked --release --manifest-path benches/micro/Cargo.toml --target-dir $(TARGET)/micro
	cp $(TARGET)/micro/release/micro $@
build/bench/load: benches/load/Cargo.toml benches/load/Cargo.lock $(wildcard benches/load/src/*.rs)
	@.ci/need cargo
	@mkdir -p $(@D)
	$(CARGO) build --locked --release --manifest-path benches/load/Cargo.toml --target-dir $(TARGET)/load
	cp $(TARGET)/load/release/load $@

# ---- the header ----
# The compiler and cbindgen read src/ffi/; a machine that only uses the header never runs this.
header:
	@.ci/need cargo
	SIPWIRE_HEADER=$(CURDIR)/include/sipwire.h $(CARGO) check --locked --lib --features regen-header

# ---- what of the libraries is recorded ----
sizes: $(LIBS)
	@/usr/bin/python3 c-tests/artefacts.py sizes
abi: $(LIBS)
	@.ci/need cc=gcc abidw=abigail-tools
	@/usr/bin/python3 c-tests/artefacts.py abi

# ---- running ----
run: build/sipd
	@exec build/sipd --hints -l tcp:$(ADDR) -l udp:$(ADDR) $(ARGS)

# ---- installing ----
install: $(LIBS)
	install -d $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(MANDIR)/man3
	install -m 644 include/sipwire.h $(DESTDIR)$(INCLUDEDIR)/sipwire.h
	install -m 644 build/libsipwire.a $(DESTDIR)$(LIBDIR)/libsipwire.a
	install -m 755 build/libsipwire.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libsipwire.so.$(VERSION)
	ln -sf libsipwire.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libsipwire.so
	install -m 644 docs/man/sipwire.3 $(DESTDIR)$(MANDIR)/man3/sipwire.3
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	  -e 's|@VERSION@|$(VERSION)|' sipwire.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/sipwire.pc

install-top: build/sipwire-top
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1
	install -m 755 build/sipwire-top $(DESTDIR)$(BINDIR)/sipwire-top
	install -m 644 docs/man/sipwire-top.1 $(DESTDIR)$(MANDIR)/man1/sipwire-top.1

clean:
	rm -rf build $(TARGET)

.PHONY: FORCE all abi sizes bench instructions models need-cc need-lua need-dw kamailio c-tests check check-all header run install install-top sipwire-top clean soak fuzz-targets fuzz miri
