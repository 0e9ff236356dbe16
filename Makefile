# mete: every task by name. `make help` lists them; there is no configure step.
#
# FLAVOUR picks how things are built, each in a folder of its own:
#   release (build/)        optimised, hardened, LTO: what users run
#   check   (build/check)   -O1 -Werror: what the suite is built with
#   asan    (build/asan)    address, undefined and leak sanitizers (clang); the fuzz targets are of the same objects
#   tsan    (build/tsan)    thread sanitizer, the table's lock variant (clang)
#   clang   (build/clang)   as check, by clang
#   coverage (build/coverage) counts which lines ran; without the filter of system calls, as counts are written at the end
#   arm64   (build/arm64)   as check, for aarch64 by a cross compiler; qemu-user runs its unit tests
FLAVOUR ?= release

CC_release = gcc
CC_check   = gcc
CC_clang   = clang
CC_asan    = clang
CC_tsan    = clang
CC_coverage = gcc
CC_arm64   = aarch64-linux-gnu-gcc
CC         = $(CC_$(FLAVOUR))

comma := ,
empty :=
space := $(empty) $(empty)

# WITHOUT="openssl grpc" builds without those libraries, into build/without/grpc+openssl: files of FILES_... are left out,
# src/without/NAME.c stands in for them, and src/sys/built.c says so. Objects that know nothing of it are shared.
# A new one is a line in each of these four, a row in built.c, what is refused in config/parts.c, and a stand-in if one is needed.
WITHOUT          =
OPTIONAL         = grpc hiredis liburing libxdp openssl seccomp
FILES_grpc      := $(wildcard src/doors/grpc*.c)
FILES_hiredis   := $(wildcard src/cmd/serve_replica*.c src/replica/link*.c) src/replica/redis.c
FILES_liburing   = src/net/io_uring.c
FILES_libxdp     = src/net/af_xdp.c src/net/xdp_open.c src/net/xdp_pass.c
FILES_openssl   := $(wildcard src/doors/tls*.c) src/replica/link_tls.c
LIBS_grpc        = -lnghttp2 -lprotobuf-c
LIBS_hiredis     = -lhiredis
LIBS_liburing    = -luring
LIBS_libxdp      = -lxdp -lbpf
LIBS_openssl     = -lssl -lcrypto
LIBS_seccomp     = -lseccomp
PACKAGES_grpc    = libnghttp2-dev libprotobuf-c-dev protobuf-c-compiler libprotobuf-dev
PACKAGES_hiredis = libhiredis-dev
PACKAGES_liburing = liburing-dev
PACKAGES_libxdp  = libxdp-dev libbpf-dev
PACKAGES_openssl = libssl-dev
PACKAGES_seccomp = libseccomp-dev
LEFT_OUT        := $(sort $(WITHOUT))
BUILT_IN        := $(filter-out $(LEFT_OUT),$(OPTIONAL))
$(if $(filter-out $(OPTIONAL),$(LEFT_OUT)),$(error WITHOUT=$(WITHOUT): only $(OPTIONAL) can be left out))

WHOLE     := $(if $(filter release,$(FLAVOUR)),build,build/$(FLAVOUR))
BUILD     := $(WHOLE)$(if $(LEFT_OUT),/without/$(subst $(space),+,$(LEFT_OUT)))

WARN  = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
STRICT = -Wconversion
FLAGS_release = -O3 -flto=auto -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fcf-protection
LINK_release  = -O3 -flto=auto -ffile-prefix-map=$(CURDIR)=. -pie -fcf-protection -Wl,-z,relro,-z,now,-z,noexecstack $(SHADOW_STACK)
FLAGS_check   = -O1 -g1 -Werror -DMETE_SANDBOX_KILLS
FLAGS_clang   = -O1 -g1 -Werror -DMETE_SANDBOX_KILLS
FLAGS_arm64   = -O1 -g1 -Werror -DMETE_SANDBOX_KILLS
FLAGS_asan    = -O1 -g1 -Werror -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LINK_asan     = -fsanitize=fuzzer-no-link,address,undefined
LINK_fuzz     = -fsanitize=fuzzer,address,undefined
FLAGS_tsan    = -O1 -g1 -Werror -fsanitize=thread -DMETE_TABLE_LOCK
LINK_tsan     = -fsanitize=thread
FLAGS_coverage = -O1 -g1 -Werror --coverage -fprofile-update=atomic -DMETE_WITHOUT_SECCOMP
LINK_coverage  = --coverage

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TARGET  := $(shell $(CC) -dumpmachine 2>/dev/null)
ARCH    := $(if $(filter x86_64%,$(TARGET)),-mcx16)
# The start-up files of Debian's libc do not say that they work on a shadow stack, so the linker must be told.
SHADOW_STACK := $(if $(ARCH),-Wl$(comma)-z$(comma)shstk)
CFLAGS  = -std=gnu11 -g -ffile-prefix-map=$(CURDIR)=. $(WARN) $(FLAGS_$(FLAVOUR)) $(ARCH) -pthread -D_GNU_SOURCE \
          -Iinclude -Isrc -I$(PROTO) -MMD -MP
LDFLAGS = -pthread $(LINK_$(FLAVOUR))
LIBS    = $(foreach part,$(BUILT_IN),$(LIBS_$(part))) -lyaml -lsodium -ljansson -lz -lxxhash -lm

OBJ        = $(WHOLE)/obj
SRC       := $(filter-out $(foreach part,$(LEFT_OUT),$(FILES_$(part))), \
               $(filter-out src/without/%,$(sort $(wildcard src/*.c src/*/*.c)))) \
             $(wildcard $(LEFT_OUT:%=src/without/%.c))
SRC_LIB   := $(filter-out src/main.c,$(SRC))
CLIENT_SRC := $(wildcard clients/c/*.c)
# Those that know what was left out.
SRC_VARIES := $(if $(LEFT_OUT),src/sys/built.c src/sys/sandbox.c)
OBJ_VARIES  = $(SRC_VARIES:%.c=$(BUILD)/obj/%.o)
OBJ_LIB    = $(patsubst %.c,$(OBJ)/%.o,$(filter-out $(SRC_VARIES),$(SRC_LIB))) $(OBJ_VARIES) $(CLIENT_SRC:%.c=$(OBJ)/%.o) \
             $(if $(filter grpc,$(BUILT_IN)),$(PROTO_FILES:%.proto=$(PROTO)/%.pb-c.o))

# The messages of the gRPC door: C made of proto-spec and of protobuf's own files.
PROTO_SPEC  := $(shell cd proto-spec && find * -name '*.proto' | sort)
PROTO_FILES := $(PROTO_SPEC) $(addprefix google/protobuf/,duration.proto timestamp.proto wrappers.proto)
PROTO        = $(OBJ)/proto

# Programs of the suite: one per file; each links everything but main.c.
TEST_PROGRAMS  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/*.c tests/property/*.c tests/race/*.c))
BENCH_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(wildcard bench/*.c))

RACE_PROGRAMS  := $(patsubst %.c,build/tsan/%,$(wildcard tests/race/race_*.c))
FUZZ_PROGRAMS  := $(patsubst %.c,build/fuzz/%,$(notdir $(wildcard tests/fuzz/fuzz_*.c)))
SECONDS_EACH   ?= 60
PARALLEL        = -j$(shell nproc)
PREFIX         ?= /usr/local
LIBDIR         ?= $(PREFIX)/lib
SYSCONFDIR     ?= $(PREFIX)/etc
# Of libmete.so: raised when a program linked with an older one would no longer run.
ABI             = 0

# All tasks that `make help` names, and those that they share.
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*\#\# .*/\1/p' Makefile) install-files packages deps deps-deb deps-arm64 deps-test deps-ci deps-analyze \
        programs compile is-whole objects variants warnings

all: deps ## build build/mete and the client library
	@$(MAKE) $(PARALLEL) --no-print-directory compile

demo: all ## install what is missing, build, start a server, ask it, load it, stop it
	@bench/demo $(BUILD)/mete

run: all ## serve in the foreground on the embedded default
	$(BUILD)/mete serve $(ARGS)

test: deps-test ## build and run the whole suite; ends with `N passed, N failed`
	@$(MAKE) $(PARALLEL) --no-print-directory compile
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=check programs
	@$(MAKE) --no-print-directory FLAVOUR=check variants
	@tests/run --build build/check

bench: deps-test all ## the comparison with the null echo and the targets (10 minutes); ARGS="--only batch"
	@$(MAKE) $(PARALLEL) --no-print-directory build/bench/echo $(addprefix build/bench/micro_,table repeat hot)
	@python3 bench/compare.py $(ARGS)

bench-quick: deps-test all ## the same with short rounds (about a minute)
	@$(MAKE) $(PARALLEL) --no-print-directory build/bench/echo $(addprefix build/bench/micro_,table repeat hot)
	@python3 bench/compare.py --quick $(ARGS)

bench-start: all ## from the start to the first answer with 10,000,000 entries, cold and after kill -9 (a minute); ARGS="--rounds 9"
	@python3 bench/start.py $(ARGS)

bench-doors: deps-test all ## RESP and HTTP beside Redis, redis-cell and nginx (two minutes); ARGS="--quick"
	@command -v nginx >/dev/null || tests/lib/install-packages nginx-light
	@python3 bench/compare_doors.py $(ARGS)

bench-xdp: deps-ci all ## single checks past the socket, beside the sockets and nginx (four minutes; root); ARGS="--quick"
	@$(MAKE) $(PARALLEL) --no-print-directory build/bench/echo build/bench/xdp_load build/bench/circulate.bpf.o
	@python3 bench/compare_xdp.py $(ARGS)

bench-quiet: deps-test all ## what the doors' full load costs the worker's own latency (a minute; root)
	@$(MAKE) $(PARALLEL) --no-print-directory build/bench/worker_latency
	@python3 bench/compare_quiet.py $(ARGS)

bench-snapshot: deps-test all ## what writing snapshots costs a worker, and how long one takes (a minute; root)
	@$(MAKE) $(PARALLEL) --no-print-directory build/bench/worker_latency build/bench/micro_snapshot
	@build/bench/micro_snapshot
	@python3 bench/compare_snapshot.py $(ARGS)

fuzz: deps-ci ## every fuzz target for SECONDS_EACH=60, two at a time on two processors
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=asan $(FUZZ_PROGRAMS)
	@tests/fuzz/run $(SECONDS_EACH) $(FUZZ_PROGRAMS)

asan: deps-ci ## the suite under address, undefined and leak sanitizers, random tests a tenth as long
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=asan programs
	@METE_PERCENT=10 tests/run --build build/asan $(ARGS)

clang: deps-ci ## clang's warnings for all of C, and a daemon that it built: the suite's quickest files
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=clang warnings compile
	@tests/run --build build/clang test_server test_stats

race: deps-ci ## the race tests under the thread sanitizer
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=tsan $(RACE_PROGRAMS)
	@for program in $(RACE_PROGRAMS); do $$program $(ARGS) || exit 1; done

interleave: deps-test ## every schedule of three threads with at most three preemptions in the table, and of mistakes in it (four minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=check build/check/tests/race/exhaust_table
	@build/check/tests/race/exhaust_table $(ARGS)
	@METE_LONG=1 METE_BUILD=build/check python3 tests/race/test_mistakes.py

coverage: deps-test ## runs the suite and says which lines it ran; each parser at least 95 % (ten minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=coverage programs
	@METE_FAULT_RUNS=250 tests/coverage/report.py --run $(ARGS)

lossy: deps-test ## COUNT=10000000 distinct requests through a bad network: each is charged once (six minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=check programs
	@METE_BUILD=build/check METE_COUNT=$(or $(COUNT),10000000) python3 tests/e2e/test_repeats.py

linear: deps-test ## COUNT=5000 histories of a hot key over the wire for each algorithm and backend: is there one order (two minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=check programs
	@METE_BUILD=build/check METE_SHOW=1 METE_COUNT=$(or $(COUNT),5000) python3 tests/e2e/test_linear.py

# Six kinds; two processes at a time.
exact: deps-test ## COUNT=1000000000 random operations on every algorithm, each number against a model in 128 bits (five minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory build/tests/property/core_feed
	@printf '%s\n' token_bucket leaky_meter leaky_queue fixed_window sliding_window calendar | \
	    xargs -P $(shell nproc) -I NAME build/tests/property/core_feed $(or $(SEED),1) $$(( ($(or $(COUNT),1000000000) + 5) / 6 )) NAME judge

kill9: deps-test ## ROUNDS=1000 of kill -9 under full load: what was answered is there after each (ten minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=check programs
	@METE_BUILD=build/check METE_SHOW=1 METE_ROUNDS=$(or $(ROUNDS),1000) python3 tests/e2e/test_kill9.py

flood: deps-test ## COUNT=1000000000 random subjects from one tenant: memory stays, the others notice nothing (five minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory compile build/tests/property/crowd_feed
	@METE_BUILD=build METE_FLOOD=$(or $(COUNT),1000000000) python3 tests/e2e/test_flood.py

faults: deps-test ## several nodes and real Redis through every fault: 1,000 cuts, 30 s outages, 1,000 races (ten minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=check programs
	@for file in exact cluster faults; do \
	    METE_BUILD=build/check METE_RACES=1000 METE_ROUNDS=5 METE_CUTS=1000 METE_OUTAGE=30 \
	        python3 tests/e2e/test_replica_$$file.py || exit 1; done

bench-overload: deps-test all ## goodput, ages, fair shares and recovery at up to three times the capacity (four minutes); ARGS="--quick"
	@$(MAKE) $(PARALLEL) --no-print-directory build/bench/overload_load
	@python3 bench/overload.py $(ARGS)

bench-pair: deps-test all ## two ways to serve in turns, each twice, on a server that is not overloaded (three minutes); ARGS="--a overload.shedding=off --b overload.shedding=auto"
	@python3 bench/pair.py $(ARGS)

faults-inside: deps-test ## the daemon while memory, threads, mappings, sends, clocks fail inside: each HITS=1000 times and more (five minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=check programs
	@for file in start inside doors host; do METE_BUILD=build/check METE_FAULT_RUNS=1000 METE_HITS=$(or $(HITS),1000) \
	    python3 tests/e2e/test_faults_$$file.py || exit 1; done

soak: deps-test all ## MINUTES=10 of traffic on every door, reloads, a Redis behind a bad network: memory, lost answers, latency; ARGS="--faults send_short=1/100"
	@$(MAKE) $(PARALLEL) --no-print-directory $(BUILD)/bench/echo $(BUILD)/bench/undisturbed $(BUILD)/tests/fault/mete
	@METE_BUILD=$(BUILD) tests/soak/soak.py --minutes $(or $(MINUTES),10) $(ARGS)

bench-cluster: deps-test all ## how close to one limit several nodes stay, beside a Redis call per check (three minutes); ARGS="--only accuracy"
	@$(MAKE) $(PARALLEL) --no-print-directory build/bench/cluster_load build/bench/worker_latency
	@python3 bench/cluster.py $(ARGS)

upgrade: deps-test ## ROUNDS=100 upgrades under load each way (backends, table file, nodes of a Redis, af_xdp): what was not answered (five minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory compile
	@set -e; export METE_BUILD=build METE_UPGRADES=$(or $(ROUNDS),100); \
	    python3 tests/e2e/test_upgrade.py Answered.test_under_load Answered.test_under_load_with_a_table_file; \
	    for way in replica xdp; do python3 tests/e2e/test_upgrade_$$way.py -k test_under_load; done

sim: deps-test ## COUNT=1000 worlds of nodes, network and store from SEED=1 on, and every deliberate mistake
	@$(MAKE) $(PARALLEL) --no-print-directory build/sim
	@build/sim --count $(or $(COUNT),1000) $(or $(SEED),1)
	@build/sim --wrong
	@build/sim --accuracy

without: deps-test ## builds without each optional library, and without all: each serves, refuses, says what is in
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=check compile
	@$(MAKE) --no-print-directory FLAVOUR=check variants
	@METE_BUILD=build/check python3 tests/e2e/test_without.py

# Two compilations and a link each: all else is shared.
variants:
	@for part in $(OPTIONAL) "$(OPTIONAL)"; do $(MAKE) $(PARALLEL) --no-print-directory WITHOUT="$$part" compile || exit 1; done

# One program has both ways to change 16 bytes at once and takes the one that the processor offers: CASP, or LDXP and
# STLXP where there is none (Cortex-A72). So what changes entries is run on both.
ARM64_PROGRAMS = $(patsubst %.c,build/arm64/%,$(wildcard tests/unit/*.c tests/property/*.c tests/race/race_*.c))
arm64: deps-arm64 ## the programs of C, built for aarch64, under an emulator, with CASP and with LL/SC (ten minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=arm64 $(ARM64_PROGRAMS)
	@METE_AGAIN=3 QEMU_CPU=max METE_PERCENT=$(or $(PERCENT),2) tests/run --build build/arm64 --under qemu-aarch64
	@echo "without CASP:"
	@METE_AGAIN=3 QEMU_CPU=cortex-a72 METE_PERCENT=$(or $(PERCENT),2) tests/run --build build/arm64 --under qemu-aarch64 \
	    table lease shared repeat adopt engine

tidy: ## includes, sizes of functions and files, banned calls
	@python3 tests/tidy/test_tidy.py

analyze: deps-analyze ## gcc -fanalyzer and clang-tidy over all of C but the tests; ends with a line of counts (five minutes)
	@$(MAKE) $(PARALLEL) --no-print-directory FLAVOUR=check build/check/obj/proto/made build/check/obj/commented.inc
	@python3 tests/tidy/analyze.py $(ARGS) -- -std=gnu11 $(WARN) $(ARCH) -pthread -D_GNU_SOURCE -Iinclude -Isrc -Itests \
	    -Ibuild/check/obj -Ibuild/check/obj/proto '-DMETE_VERSION="x"' -DMETE_ANALYZE -Wno-missing-braces -Wno-unused-value

format: ## let clang-format decide the form
	@git ls-files '*.c' '*.h' | xargs clang-format -i

install: all ## daemon, client libraries, headers, manuals and units to $(DESTDIR)$(PREFIX)
	@$(MAKE) --no-print-directory manuals
	@$(MAKE) --no-print-directory install-files

# What to install where; one line each, so that uninstall knows it, too.
AT      = $(DESTDIR)$(PREFIX)
SHARE   = $(AT)/share
LIBRARY = $(DESTDIR)$(LIBDIR)
UNITS   = $(AT)/lib/systemd/system
INSTALLED = $(AT)/bin/mete $(LIBRARY)/libmete.a $(LIBRARY)/libmete.so $(LIBRARY)/libmete.so.$(ABI) \
            $(LIBRARY)/pkgconfig/mete.pc $(patsubst %,$(AT)/%,$(wildcard include/mete/*.h)) \
            $(SHARE)/man/man1/mete.1 $(SHARE)/man/man5/mete.yaml.5 $(SHARE)/man/man7/mete-protocol.7 \
            $(SHARE)/man/man3/mete_client.3 $(SHARE)/bash-completion/completions/mete \
            $(SHARE)/zsh/vendor-completions/_mete $(SHARE)/fish/vendor_completions.d/mete.fish \
            $(UNITS)/mete.service $(UNITS)/mete.socket $(SHARE)/mete/mete-af-xdp.conf $(AT)/lib/sysusers.d/mete.conf \
            $(AT)/lib/tmpfiles.d/mete.conf $(AT)/lib/sysctl.d/60-mete.conf

# Without building anything, so that it installs what was built and tested, by whoever may write there. The
# configuration is a user's own: it is written only where there is none.
install-files:
	install -D -m 755 $(BUILD)/mete $(AT)/bin/mete
	install -D -m 644 $(BUILD)/libmete.a $(LIBRARY)/libmete.a
	install -D -m 755 $(BUILD)/libmete.so.$(ABI) $(LIBRARY)/libmete.so.$(ABI)
	ln -sf libmete.so.$(ABI) $(LIBRARY)/libmete.so
	for header in include/mete/*.h; do install -D -m 644 $$header $(AT)/$$header || exit 1; done
	install -d $(LIBRARY)/pkgconfig
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' -e "s|@VERSION@|$$(cat $(OBJ)/version)|" \
	    -e '/^Version:/s|: v|: |' -e '/^Version:/s|: \([^0-9]\)|: 0-\1|' \
	    clients/c/mete.pc.in >$(LIBRARY)/pkgconfig/mete.pc
	chmod 644 $(LIBRARY)/pkgconfig/mete.pc
	for page in mete.1 mete.yaml.5 mete-protocol.7 mete_client.3; do \
	    install -D -m 644 $(BUILD)/manuals/$$page $(SHARE)/man/man$${page##*.}/$$page || exit 1; done
	install -D -m 644 $(BUILD)/manuals/mete.bash $(SHARE)/bash-completion/completions/mete
	install -D -m 644 $(BUILD)/manuals/_mete $(SHARE)/zsh/vendor-completions/_mete
	install -D -m 644 $(BUILD)/manuals/mete.fish $(SHARE)/fish/vendor_completions.d/mete.fish
	install -d $(UNITS)
	sed -e 's|/usr/bin/mete|$(PREFIX)/bin/mete|' -e 's|/etc/mete/|$(SYSCONFDIR)/mete/|' systemd/mete.service >$(UNITS)/mete.service
	chmod 644 $(UNITS)/mete.service
	install -D -m 644 systemd/mete.socket $(UNITS)/mete.socket
	install -D -m 644 systemd/mete-af-xdp.conf $(SHARE)/mete/mete-af-xdp.conf
	install -D -m 644 systemd/mete.sysusers $(AT)/lib/sysusers.d/mete.conf
	install -D -m 644 systemd/mete.tmpfiles $(AT)/lib/tmpfiles.d/mete.conf
	install -D -m 644 systemd/mete.sysctl $(AT)/lib/sysctl.d/60-mete.conf
	[ -e $(DESTDIR)$(SYSCONFDIR)/mete/mete.yaml ] || \
	    install -D -m 644 src/config/commented.yaml $(DESTDIR)$(SYSCONFDIR)/mete/mete.yaml

uninstall: ## remove what install put there, but for the configuration
	rm -f $(INSTALLED)
	-rmdir $(AT)/include/mete 2>/dev/null || true

manuals: $(BUILD)/manuals/mete.1 ## manual pages and completions into build/manuals
$(BUILD)/manuals/mete.1: $(BUILD)/mete deploy/manuals.py src/config/commented.yaml proto-spec/protocol.md include/mete/client.h
	@python3 deploy/manuals.py --mete $< --version "$$(cat $(OBJ)/version)" --out $(@D)

deb: deps-deb ## Debian packages of the committed tree into build/deb
	@deploy/deb

test-package: deb ## install, upgrade and purge the packages in a bare Debian (two minutes)
	@tests/lib/install-packages debootstrap
	@deploy/test_package

test-systemd: deb ## the packages under a real systemd in a container: starts, reloads, crashes, hangs, upgrades, bad starts (three minutes)
	@tests/lib/install-packages debootstrap systemd-container
	@deploy/test_systemd

reproducible: deps-deb ## build the packages twice, in two folders, and compare the bytes
	@deploy/reproducible

packages: # what the build needs of Debian
	@echo $(PACKAGES)

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "  %-15s %s\n", $$1, $$2}'

# Set-up. Quiet and quick when nothing is missing; asks apt only for what is.
PACKAGES      = gcc libc6-dev libyaml-dev libsodium-dev libjansson-dev zlib1g-dev libxxhash-dev \
                $(foreach part,$(BUILT_IN),$(PACKAGES_$(part)))
PACKAGES_TEST = $(PACKAGES) g++ libcmocka-dev python3 iproute2 systemd groff-base binutils redis-tools redis-server openssl \
                python3-redis python3-grpcio python3-h2
PACKAGES_CI   = $(PACKAGES_TEST) clang libclang-rt-14-dev llvm-14 clang-format valgrind nginx python3-venv
deps:
	@tests/lib/install-packages $(PACKAGES)
deps-test:
	@tests/lib/install-packages $(PACKAGES_TEST)
	@tests/lib/fetch-promtool build/tools
deps-deb:
	@tests/lib/install-packages $(PACKAGES) debhelper lintian
deps-arm64:
	@dpkg --print-foreign-architectures | grep -q arm64 || { dpkg --add-architecture arm64 && apt-get update -qq; }
	@tests/lib/install-packages gcc-aarch64-linux-gnu qemu-user libcmocka-dev:arm64 \
	    $(patsubst %,%:arm64,$(filter-out gcc protobuf-c-compiler,$(PACKAGES)))
deps-analyze:
	@tests/lib/install-packages $(PACKAGES) python3 clang-tidy clang
deps-ci:
	@tests/lib/install-packages $(PACKAGES_CI)

compile: $(BUILD)/mete $(BUILD)/libmete.a $(BUILD)/libmete.so.$(ABI)
objects:
	@echo $(OBJ_LIB)
is-whole:
	@$(if $(LEFT_OUT),echo "the suite needs a whole build; \`make without\` tries builds WITHOUT something" >&2; exit 2)
programs: is-whole compile manuals $(TEST_PROGRAMS) $(BENCH_PROGRAMS) $(BUILD)/sim $(BUILD)/tests/fault/mete

$(BUILD)/mete: $(OBJ)/src/main.o $(OBJ_LIB)
	@echo "  link $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# The client library knows nothing of the daemon; without LTO, so that any compiler can link it.
$(BUILD)/libmete.a: $(CLIENT_SRC:%.c=$(OBJ)/%.o)
	@rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libmete.so.$(ABI): $(CLIENT_SRC:%.c=$(OBJ)/%.o)
	@$(CC) -shared $(filter-out -pie -flto=auto,$(LDFLAGS)) -Wl,-soname,$(@F) -o $@ $^ -lsodium

# An archive, so that a test may bring its own build of one file (the interleaving test does).
$(BUILD)/obj/all.a: $(OBJ_LIB)
	@rm -f $@ && $(if $(findstring gcc,$(CC)),gcc-ar,llvm-ar-14) rcs $@ $^

$(BUILD)/tests/%: $(OBJ)/tests_bench/%.o $(BUILD)/obj/all.a
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

# No code is made of it: the compiler's warnings alone, of what `compile` leaves out.
WARNED = $(patsubst %.c,$(OBJ)/%.warned,$(wildcard tests/*/*.c bench/*.c))
warnings: $(WARNED)
$(WARNED): | $(PROTO)/made
$(OBJ)/%.warned: %.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) -Itests -fsyntax-only $<
	@touch $@

# The daemon with faults inside (tests/fault/fault.h): the same objects, linked with these calls caught.
FAULT_CALLS = send recv sendmsg sendmmsg recvmmsg accept4 mmap pthread_create clock_gettime sandbox_filter_calls \
              io_uring_queue_init_params io_uring_submit io_uring_submit_and_wait_timeout io_uring_submit_and_get_events \
              $(if $(findstring -fsanitize,$(FLAGS_$(FLAVOUR))),malloc calloc realloc reallocarray aligned_alloc strdup strndup)
$(BUILD)/tests/fault/mete: $(OBJ)/src/main.o $(OBJ_LIB) $(patsubst tests/%.c,$(OBJ)/tests_bench/%.o,$(wildcard tests/fault/*.c))
	@mkdir -p $(@D)
	@echo "  link $@"
	@$(CC) $(LDFLAGS) $(FAULT_CALLS:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)

# The simulator: one program of several files.
$(BUILD)/sim: $(patsubst tests/%.c,$(OBJ)/tests_bench/%.o,$(wildcard tests/sim/*.c)) $(BUILD)/obj/all.a
	@echo "  link $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/bench/%: $(OBJ)/tests_bench/%.o $(BUILD)/obj/all.a
	@mkdir -p $(@D)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# The load's XDP program. Not part of the daemon, whose own is written in instructions (src/net/xdp_program.c).
$(BUILD)/bench/%.bpf.o: bench/xdp/%.bpf.c bench/xdp/circulate.h
	@mkdir -p $(@D)
	@echo "  bpf  $<"
	@clang -O2 -g -target bpf -Wall -Wextra -Werror -Ibench -I/usr/include/$(shell gcc -dumpmachine) -c -o $@ $<

# -Wconversion where bytes from outside are turned into numbers.
$(OBJ)/src/core/%.o $(OBJ)/src/net/%.o $(OBJ)/src/config/%.o $(OBJ)/src/replica/%.o $(OBJ)/src/doors/resp%.o: CFLAGS += $(STRICT)

# The assembler puts these files into the program (http_pages.c); without LTO, which loses its labels.
$(OBJ)/src/doors/http_pages.o: proto-spec/openapi.json src/doors/openapi.html
$(OBJ)/src/doors/http_pages.o: CFLAGS += -fno-lto

# Rewritten only when the version changed, so that what says it is compiled again then and only then.
$(OBJ)/version: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' >$@
FORCE:
SAYS_VERSION = $(patsubst %.c,$(OBJ)/%.o,$(shell grep -l METE_VERSION $(SRC)))
$(SAYS_VERSION): $(OBJ)/version

# Strings are made bytes, which have a length: there may be a NUL in one.
$(PROTO)/made: $(PROTO_SPEC:%=proto-spec/%)
	@rm -rf $(PROTO) && mkdir -p $(PROTO)/bytes
	@echo "  proto $(PROTO)"
	@protoc-c -Iproto-spec -I/usr/include --include_imports --descriptor_set_out=$(PROTO)/descriptors $(PROTO_SPEC)
	@od -An -v -tx1 $(PROTO)/descriptors | sed 's/ \([0-9a-f]\)/ 0x\1/g; s/\([0-9a-f]\) /\1, /g; s/$$/,/' >$(PROTO)/descriptors.inc
	@for file in $(PROTO_SPEC); do mkdir -p $(PROTO)/bytes/$$(dirname $$file) && \
	    sed 's/\bstring \([a-z_]* = \)/bytes \1/' proto-spec/$$file >$(PROTO)/bytes/$$file || exit 1; done
	@protoc-c -I$(PROTO)/bytes -I/usr/include --c_out=$(PROTO) $(PROTO_FILES)
	@touch $@
$(PROTO)/%.pb-c.o: $(PROTO)/made
	@$(CC) $(CFLAGS) -Wno-missing-braces -c -o $@ $(@:.o=.c)
GRPC_SRC = $(wildcard src/doors/grpc*.c)
$(GRPC_SRC:%.c=$(OBJ)/%.o): | $(PROTO)/made
# The script that Redis runs stands in the program.
$(OBJ)/src/replica/link_script.o: src/replica/merge.lua

# A text as a string of C.
$(OBJ)/commented.inc: src/config/commented.yaml
	@mkdir -p $(@D)
	@sed -e 's/[\\"]/\\&/g' -e 's/^/"/' -e 's/$$/\\n"/' $< >$@
$(OBJ)/src/cmd/config_init.o: $(OBJ)/commented.inc
$(OBJ)/src/cmd/config_init.o: CFLAGS += -I$(OBJ)

# What runs once, or for people, is made small; what serves, and the load generator, fast.
SMALL := $(filter-out src/cmd/bench% src/cmd/replay% src/config/find% src/config/publish.c,$(wildcard src/cmd/*.c src/config/*.c))
$(SMALL:%.c=$(OBJ)/%.o): CFLAGS += $(if $(filter release,$(FLAVOUR)),-Os)

$(OBJ)/src/%.o: src/%.c
	@mkdir -p $(@D)
	@echo "  cc   $<"
	@$(CC) $(CFLAGS) -DMETE_VERSION='"$(VERSION)"' -c -o $@ $<

$(OBJ_VARIES): $(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) -DMETE_WITHOUT='"$(LEFT_OUT)"' $(if $(filter seccomp,$(LEFT_OUT)),-DMETE_WITHOUT_SECCOMP) -c -o $@ $<

$(OBJ)/clients/%.o: clients/%.c
	@mkdir -p $(@D)
	@echo "  cc   $<"
	@$(CC) $(filter-out --coverage,$(CFLAGS)) -fno-lto -fPIC -fvisibility=hidden -c -o $@ $<

# Tests are not counted themselves, nor what they include of src: gcov is asked of the daemon's own objects.
$(OBJ)/tests_bench/%: CFLAGS := $(filter-out --coverage -fprofile-update=atomic,$(CFLAGS))
# What asks, and is not asked, needs no speed, and clang takes four times as long to make some under these sanitizers.
$(OBJ)/tests_bench/%: CFLAGS += $(if $(filter asan,$(FLAVOUR)),-O0)
$(OBJ)/tests_bench/sim/% $(OBJ)/tests_bench/race/%: CFLAGS += $(if $(filter asan,$(FLAVOUR)),-O1)

$(OBJ)/tests_bench/%.o: tests/%.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) -Itests -c -o $@ $<

$(OBJ)/tests_bench/%.o: bench/%.c
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) -Itests -c -o $@ $<

build/fuzz/fuzz_%: $(OBJ)/tests_bench/fuzz/fuzz_%.o $(BUILD)/obj/all.a
	@mkdir -p $(@D)
	@echo "  link $@"
	@$(CC) $(LDFLAGS) $(LINK_fuzz) -o $@ $^ $(LIBS)

-include $(shell find $(OBJ) $(BUILD)/obj -name '*.d' 2>/dev/null)
# make would remove what stands between a test and its program
.PRECIOUS: $(OBJ)/tests_bench/%.o
