# ttad - test-time adaptation daemon
#
#   make            build build/release/ttad
#   make help       list the targets below
#   make V=1        show the commands
#
# One Makefile, no recursion: every object is compiled from the root with -I.,
# so an include path in a source file is the path a reader opens.

comma   := ,
MODE    ?= release
SAN     ?=
PREFIX  ?= /usr/local
SYSCONFDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/etc,$(PREFIX)/etc)
BUILD   := build/$(MODE)$(if $(SAN),-$(subst $(comma),-,$(SAN)))
CC      ?= cc
PYTHON  ?= /usr/bin/python3
BENCH_PYTHON ?= python3
ZOO_KERAS_PYTHON ?= $(BENCH_PYTHON)
PKGS    := sqlite3 openblas yaml-0.1 jansson libprotobuf-c libsodium libmicrohttpd
TPKGS   := cmocka libzmq
GEN     := build/gen

# Debian's names of what is needed, installed by `make deps` where it is missing.
DEBS_BUILD := build-essential pkg-config libzmq3-dev libsqlite3-dev libopenblas-openmp-dev libyaml-dev \
              libjansson-dev libprotobuf-c-dev protobuf-c-compiler libonnx-dev libsodium-dev \
              libmicrohttpd-dev
DEBS_TEST  := libcmocka-dev sqlite3 python3 python3-numpy python3-zmq python3-matplotlib \
              valgrind
DEBS_DEMO  := python3 python3-numpy python3-zmq python3-matplotlib sqlite3
DEBS_LINT  := clang-format clang-tidy cppcheck libomp-dev
DEBS_CONFORMANCE := libonnx-testdata
DEBS_FUZZ  := clang libclang-rt-14-dev

PKG_CONFIG ?= pkg-config
pkg      = $(shell $(PKG_CONFIG) $(1) $(2) 2>/dev/null || echo MISSING)

# ---- flags ------------------------------------------------------------------
# No -Ofast and no -ffast-math: they let the compiler assume that NaN and Inf
# do not exist, and finding those is this program's job.
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wconversion -Wstrict-prototypes \
           -Wmissing-prototypes -Wold-style-definition -Wwrite-strings -Wundef \
           -Wpointer-arith -Wcast-qual -Wno-missing-field-initializers -Wformat=2 -Wno-format-nonliteral -Wswitch-enum \
           $(if $(findstring clang,$(shell $(CC) --version 2>/dev/null)),,-Wno-format-truncation)
OPT_debug   := -O1 -g3 -fno-omit-frame-pointer
OPT_release := -O3 -g -fno-math-errno -fno-trapping-math
OPT_cov     := -O0 -g --coverage
OPT_hostile := -O1 -g3 -DTT_HOSTILE
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
DEPINC  := $(patsubst -I%,-isystem %,$(call pkg,--cflags,$(PKGS)))
CPPFLAGS += -I. -isystem $(GEN) -D_POSIX_C_SOURCE=200809L $(DEPINC)
CFLAGS  := -std=c11 $(WARN) $(OPT_$(MODE)) $(SANFLAGS) -fopenmp -ffp-contract=fast -fPIE -fstack-protector-strong $(EXTRA_CFLAGS)
LDFLAGS += $(SANFLAGS) $(if $(filter cov,$(MODE)),--coverage) -fopenmp -pie -Wl,-z,now
LDLIBS  := $(call pkg,--libs,$(PKGS)) -lm -pthread
TLDLIBS := $(call pkg,--libs,$(TPKGS))

# ---- what there is to build --------------------------------------------------
DIRS    := base config runtime runtime/ops monitor engines engines/parts policies daemon
SRCS    := $(sort $(wildcard $(addsuffix /*.c,$(DIRS))))
LIBSRCS := $(filter-out daemon/main.c,$(SRCS))
SHIM    := $(BUILD)/tests/support/faulty.so
SUPSRCS := $(filter-out tests/support/faulty.c,$(sort $(wildcard tests/support/*.c)))
TSRCS   := $(sort $(foreach d,$(DIRS) client/c,$(wildcard tests/$(d)/test_*.c)))
# A sanitizer has an allocator of its own, so none of its allocations can be made to fail.
TSRCS   := $(if $(SAN),$(filter-out tests/daemon/test_scarce.c,$(TSRCS)),$(TSRCS))
GSRCS   := $(sort $(wildcard tests/runtime/ops/grad_*.c))
HDRS    := $(sort $(wildcard $(addsuffix /*.h,$(DIRS)) tests/support/*.h client/c/*.h))
OBJ      = $(patsubst %.c,$(BUILD)/%.o,$(1))
FSRCS   := $(sort $(wildcard tests/fuzz/*.c))
REPLAYS := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/tests/fuzz/replay_%,$(filter tests/fuzz/fuzz_%,$(FSRCS)))
TESTS   := $(patsubst %.c,$(BUILD)/%,$(TSRCS)) $(REPLAYS)
PYTESTS := $(sort $(wildcard client/python/tests/test_*.py models/test_*.py))
TEXTS   := $(sort $(wildcard policies/presets/*.yaml monitor/schema/*.sql config/*.yaml))
GENH    := $(GEN)/onnx.pb-c.h $(GEN)/texts.h

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2);)

# An inner make that compiles on all processors, unless the outer one was told how many to use.
PARALLEL = --no-print-directory -Otarget $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
.PHONY: fuzz fuzz-deps all deps demo demo-run test programs check check-client check-all kills soak leaks races zoo zoo-keras zoo-sklearn \
        bench parity conformance \
        client install-client \
        hdrcheck format format-check tidy cppcheck lint rules compdb install clean help FORCE

# These install packages: `make -j demo test` takes them in turn.  The makes that they start are
# parallel.
ifneq ($(filter deps demo test lint,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif

all: $(if $(wildcard daemon/main.c),$(BUILD)/ttad,$(BUILD)/libttad.a)  ## build the daemon (default)

$(BUILD)/ttad: $(call OBJ,daemon/main.c) $(BUILD)/libttad.a
	$(call say,LINK,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/libttad.a: $(call OBJ,$(LIBSRCS)) $(BUILD)/gen/onnx.pb-c.o $(BUILD)/gen/texts.o
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(call OBJ,$(SUPSRCS)) $(BUILD)/libttad.a
	$(call say,LINK,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(TLDLIBS)

# The gradient checks' cases, a table for each of the operators' files.
$(BUILD)/tests/runtime/test_op: $(call OBJ,$(GSRCS))

# The corpus of a fuzz target, each file once: no clang is needed for that.
$(REPLAYS): $(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/libttad.a
	$(call say,LINK,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# Preloaded into the daemon by tests: a disk that fails.  Never sanitized, never linked.
$(SHIM): tests/support/faulty.c
	@mkdir -p $(@D)
	$(call say,SHIM,$@)$(CC) -std=c11 -O1 -g $(WARN) -shared -fPIC -o $@ $< -ldl -pthread

$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/libttad.a
	$(call say,LINK,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# ---- the C client ----------------------------------------------------------------
# It needs nothing of the daemon.  Its files are in $(BUILD)/client; libttad.a outside it is the
# daemon's own library.
CVERSION := $(shell sed -n 's/^\#define TTAD_CLIENT_VERSION *"\(.*\)".*/\1/p' client/c/ttad.h)
CSO      := libttad.so.$(firstword $(subst ., ,$(CVERSION)))
CSRCS    := $(filter-out client/c/example.c,$(sort $(wildcard client/c/*.c)))
COBJ     := $(patsubst client/c/%.c,$(BUILD)/client/%.o,$(CSRCS))
CPKGS    := libzmq jansson
CCFLAGS  := -std=c11 $(WARN) $(OPT_$(MODE)) $(SANFLAGS) -fstack-protector-strong $(EXTRA_CFLAGS)
CLIBS    := $(call pkg,--libs,$(CPKGS)) -pthread

client: $(BUILD)/client/$(CSO) $(BUILD)/client/libttad.a $(BUILD)/client/example  ## the C client: libttad.so, libttad.a, the example

$(BUILD)/client/%.o: client/c/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(CCFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

$(BUILD)/client/$(CSO): $(COBJ) client/c/libttad.map
	$(call say,LINK,$@)$(CC) -shared $(SANFLAGS) $(if $(SAN),,-Wl$(comma)-z$(comma)defs) -Wl,-z,now \
	  -Wl,-soname,$(CSO) -Wl,--version-script=client/c/libttad.map -o $@ $(COBJ) $(CLIBS)
	@ln -sf $(CSO) $(@D)/libttad.so

# One object, in which what is not the library's to tell is local, as in the shared one.
$(BUILD)/client/libttad.a: $(COBJ)
	$(call say,AR,$@)rm -f $@ && $(CC) -r -nostdlib -o $(@D)/all.o $^ && \
	  objcopy --localize-hidden $(@D)/all.o $(@D)/libttad.o && ar rcs $@ $(@D)/libttad.o

$(BUILD)/client/example: client/c/example.c client/c/ttad.h $(BUILD)/client/libttad.a
	$(call say,LINK,$@)$(CC) $(CPPFLAGS) $(CCFLAGS) -Iclient/c -o $@ $< $(BUILD)/client/libttad.a $(CLIBS)

$(BUILD)/tests/client/c/%: $(BUILD)/tests/client/c/%.o $(BUILD)/tests/support/check.o $(BUILD)/tests/support/fake_daemon.o $(BUILD)/client/libttad.a
	$(call say,LINK,$@)$(CC) $(LDFLAGS) -o $@ $^ $(CLIBS) $(TLDLIBS)

-include $(COBJ:.o=.d)

# What a stranger sees who types `make` before `make deps`.
lacking = @echo "ttad: packages that it is built with are missing; 'make deps' installs them" >&2; exit 1
onnx.proto:
	$(lacking)

# Objects depend on the flags themselves, so a changed flag rebuilds.
$(BUILD)/%.o: %.c $(BUILD)/flags | $(GENH)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(DEFS_$<) $(CFLAGS) $(PLAIN) -MMD -MP -c -o $@ $<

# The thread sanitizer would make kernels fifty times slower; they share nothing but what they are
# given, within one thread.
PLAIN = $(if $(findstring thread,$(SAN)),$(if $(filter runtime/ops/% runtime/kernels.c runtime/strided.c,$<),-fno-sanitize=thread))

DEFS_daemon/version.c = -DTT_BUILD_MODE='"$(MODE)"' -DTT_BUILD_SAN='"$(SAN)"'

$(BUILD)/flags: FORCE
	$(if $(findstring MISSING,$(DEPINC) $(LDLIBS)),$(lacking))
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS) $(CFLAGS)' | cmp -s - $@ || echo '$(CC) $(CPPFLAGS) $(CFLAGS)' > $@

# Generated code is compiled without our warnings.
$(BUILD)/gen/%.o: $(GEN)/%.c $(BUILD)/flags | $(GENH)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(CFLAGS) -w -c -o $@ $<

ONNX_PROTO := $(firstword $(wildcard /usr/include/onnx/onnx.proto) onnx.proto)
$(GEN)/onnx.pb-c.h $(GEN)/onnx.pb-c.c &: $(ONNX_PROTO)
	@mkdir -p $(GEN)
	$(call say,GEN,$(GEN)/onnx.pb-c.c)protoc-c --proto_path=$(dir $(ONNX_PROTO)) --c_out=$(GEN) $(notdir $(ONNX_PROTO))

$(GEN)/texts.h $(GEN)/texts.c &: scripts/texts.sh $(TEXTS)
	@mkdir -p $(GEN)
	$(call say,GEN,$(GEN)/texts.c)sh scripts/texts.sh $(GEN)/texts.h $(GEN)/texts.c $(TEXTS)

-include $(patsubst %.c,$(BUILD)/%.d,$(SRCS) $(TSRCS) $(SUPSRCS) $(GSRCS) $(FSRCS) tests/conformance.c $(wildcard bench/*.c))

# ---- what users type -----------------------------------------------------------
deps:          ## install the Debian packages that are missing, saying which
	@sh scripts/deps.sh $(DEBS_BUILD) $(DEBS_TEST) $(DEBS_DEMO)

# Packages first, then this Makefile anew, so that pkg-config is asked when it has answers.
demo:          ## the main job, in a minute: a model loses accuracy, adapts, is attacked, rolls back
	@sh scripts/deps.sh $(DEBS_BUILD) $(DEBS_DEMO)
	@$(MAKE) $(PARALLEL) all
	@$(MAKE) --no-print-directory demo-run
demo-run: $(BUILD)/ttad
	@$(PYTHON) models/demo.py --ttad $(BUILD)/ttad --out build/demo

test:          ## everything that can fail: units, parity, the real daemon, the Python client, the demo
	@sh scripts/deps.sh $(DEBS_BUILD) $(DEBS_TEST)
	@$(MAKE) $(PARALLEL) programs
	@$(MAKE) --no-print-directory check-all

parity: $(BUILD)/tests/parity  ## compare with stored numbers: DIR=cases [IMAGES=folder of .npy]
	$(Q)$(BUILD)/tests/parity $(if $(DIR),$(DIR),tests/golden/tta) $(IMAGES)

bench: $(BUILD)/ttad  ## beside PyTorch and ONNX Runtime, writes docs/performance.md; BENCH="--models resnet20 --batch 16" only prints
	$(Q)$(BENCH_PYTHON) -W ignore bench/compare.py --ttad $(BUILD)/ttad $(if $(BENCH),$(BENCH),--write docs/performance.md)

zoo: $(BUILD)/ttad  ## models as other tools export them, writes docs/zoo.md; ZOO="--only ViT --layers 1" only prints PyTorch's (needs torch, transformers; tensorflow, tf2onnx; scikit-learn, skl2onnx)
	$(Q)$(BENCH_PYTHON) -W ignore tests/zoo.py --ttad $(BUILD)/ttad $(if $(ZOO),$(ZOO),--write docs/zoo.md)
	$(if $(ZOO),,$(Q)$(MAKE) --no-print-directory zoo-keras zoo-sklearn)

zoo-keras: $(BUILD)/ttad  ## the part of zoo that needs tensorflow, in ZOO_KERAS_PYTHON; ZOO_KERAS="--only ViT" only prints
	$(Q)$(ZOO_KERAS_PYTHON) -W ignore tests/zoo_keras.py --ttad $(BUILD)/ttad $(if $(ZOO_KERAS),$(ZOO_KERAS),--write docs/zoo.md)

zoo-sklearn: $(BUILD)/ttad  ## the part of zoo that needs scikit-learn
	$(Q)$(BENCH_PYTHON) -W ignore tests/zoo_sklearn.py --ttad $(BUILD)/ttad --write docs/zoo.md

ONNX_TESTS ?= /usr/share/libonnx-testdata/data
conformance: $(BUILD)/tests/conformance  ## the ONNX project's backend tests: CASES='test_softmax*' runs some
	@sh scripts/deps.sh $(DEBS_CONFORMANCE)
	$(Q)$(BUILD)/tests/conformance $(ONNX_TESTS) $(if $(CASES),'$(CASES)')

# ---- tests -------------------------------------------------------------------
CHECK = @PYTHON=$(PYTHON) sh scripts/check.sh $(BUILD)/ttad

programs: $(TESTS) $(BUILD)/ttad client $(SHIM)

check: $(if $(T),$(BUILD)/tests/$(T),$(TESTS)) $(BUILD)/ttad  ## run the C tests; T=base/test_arena runs one
	$(CHECK) $(filter $(BUILD)/tests/%,$^)

check-client: $(BUILD)/ttad client $(SHIM)  ## run the Python tests: the client, the client with the daemon, the demo
	$(CHECK) $(PYTESTS)

# Kills the daemon under load, N times, and holds it to what it told its clients; a short form is
# among the Python tests.
kills: $(BUILD)/ttad  ## kill -9 again and again, nothing acknowledged is lost: N=200 SEED=1
	$(Q)$(PYTHON) tests/kill.py --ttad $(BUILD)/ttad --kills $(if $(N),$(N),200) --seed $(if $(SEED),$(SEED),1)

# Everything at once for a long time, and nothing may be lost, leak or fail; a short form is among the
# Python tests.  With SAN=... memory is not looked at: a sanitizer's is no measure.
soak: $(BUILD)/ttad $(SHIM)  ## clients, faults, attacks, reloads for MINUTES=30 SEED=1 [KILL_EVERY=seconds]
	$(Q)$(PYTHON) tests/soak.py --ttad $(BUILD)/ttad \
	  --minutes $(if $(MINUTES),$(MINUTES),30) --seed $(if $(SEED),$(SEED),1) \
	  $(if $(KILL_EVERY),--kill-every $(KILL_EVERY)) $(if $(SAN),--sanitized --patience 300)

# Valgrind emulates fused multiply-add number by number, a thousand times slower: without it, then.
$(BUILD)/baseline/kernels.o: runtime/kernels.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(CFLAGS) -DTT_BASELINE -c -o $@ $<
$(BUILD)/baseline/ttad: $(call OBJ,daemon/main.c) $(BUILD)/baseline/kernels.o $(BUILD)/libttad.a
	$(call say,LINK,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

leaks: $(BUILD)/baseline/ttad  ## the daemon under Valgrind: serve, drain, exit, nothing lost
	$(Q)$(PYTHON) tests/leaks.py --ttad $(BUILD)/baseline/ttad

# Tests with more than one thread, one thread an operator: libgomp's barriers look like races.
THREADED := base/test_log monitor/test_queue monitor/test_store monitor/test_reader daemon/test_health \
            daemon/test_http daemon/test_metrics daemon/test_notify daemon/test_phases \
            daemon/test_sockets daemon/test_serve daemon/test_restart
TSAN_OPTIONS := suppressions=$(CURDIR)/tests/support/tsan.supp history_size=4 $(TSAN_OPTIONS)
export TSAN_OPTIONS
races:         ## the thread sanitizer over the tests that have threads
	@$(MAKE) $(PARALLEL) SAN=thread $(THREADED:%=build/$(MODE)-thread/tests/%) build/$(MODE)-thread/ttad
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHON=$(PYTHON) \
	  sh scripts/check.sh build/$(MODE)-thread/ttad $(THREADED:%=build/$(MODE)-thread/tests/%)

check-all: programs
	$(CHECK) $(TESTS) $(PYTESTS)

hdrcheck: $(patsubst %.h,$(BUILD)/hdr/%.ok,$(HDRS))  ## each header compiles on its own

$(BUILD)/hdr/%.ok: %.h $(BUILD)/flags | $(GENH)
	@mkdir -p $(@D)
	$(call say,HDR,$<)$(CC) $(CPPFLAGS) $(CFLAGS) -fsyntax-only -x c -include $< /dev/null && touch $@

# ---- fuzzing -----------------------------------------------------------------
CLANG    ?= clang
FUZZ     ?= peer header policy settings onnx safetensors npy
FUZZSECS ?= 60
FUZZOBJ   = $(patsubst %.c,build/fuzz/obj/%.o,$(1))
FUZZFLAGS := -std=c11 -g -O1 -w -fopenmp=libgomp -fno-omit-frame-pointer \
             -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

fuzz: $(FUZZ:%=build/fuzz/fuzz_%)  ## libFuzzer over the readers; FUZZSECS=60 each, FUZZ="header npy" some
	$(Q)for t in $(FUZZ); do mkdir -p build/fuzz/found/$$t; golden=; dict=; \
	  test $$t != onnx || golden=tests/golden/onnx; \
	  test ! -f tests/fuzz/$$t.dict || dict=-dict=tests/fuzz/$$t.dict; \
	  build/fuzz/fuzz_$$t -max_total_time=$(FUZZSECS) -max_len=4096 -timeout=20 -verbosity=0 \
	  -print_final_stats=1 $$dict -artifact_prefix=build/fuzz/ build/fuzz/found/$$t \
	  tests/fuzz/corpus/$$t $$golden || exit 1; done

fuzz-deps:     ## install what `make fuzz` needs beside `make deps`
	@sh scripts/deps.sh $(DEBS_BUILD) $(DEBS_FUZZ)

build/fuzz/fuzz_%: build/fuzz/obj/tests/fuzz/fuzz_%.o build/fuzz/libttad.a
	$(call say,LINK,$@)$(CLANG) -fopenmp=libgomp -fsanitize=fuzzer,address,undefined -o $@ $^ $(LDLIBS)

build/fuzz/libttad.a: $(call FUZZOBJ,$(LIBSRCS)) $(patsubst $(GEN)/%.c,build/fuzz/obj/gen/%.o,$(GEN)/onnx.pb-c.c $(GEN)/texts.c)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

build/fuzz/obj/gen/%.o: $(GEN)/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CLANG) $(CPPFLAGS) $(FUZZFLAGS) -c -o $@ $<
build/fuzz/obj/%.o: %.c | $(GENH)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CLANG) $(CPPFLAGS) $(FUZZFLAGS) -MMD -MP -c -o $@ $<

-include $(patsubst %.c,build/fuzz/obj/%.d,$(SRCS) $(wildcard tests/fuzz/*.c))

# ---- lint --------------------------------------------------------------------
ALLC := $(SRCS) $(TSRCS) $(SUPSRCS) $(GSRCS) $(FSRCS) tests/support/faulty.c $(wildcard tests/*.c bench/*.c client/c/*.c)

format:        ## rewrite the sources with clang-format
	$(Q)clang-format -i $(ALLC) $(HDRS)
format-check:  ## fail if clang-format would change anything
	$(Q)clang-format --dry-run -Werror $(ALLC) $(HDRS)
tidy: compdb $(GENH)  ## clang-tidy over the sources
	$(Q)printf '%s\n' $(SRCS) $(CSRCS) | xargs -P $$(nproc) -n 8 clang-tidy --quiet -p . 2>/dev/null
cppcheck:      ## cppcheck over the sources
	$(Q)cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	  --suppressions-list=.cppcheck --error-exitcode=1 -j $$(nproc) -I. $(SRCS) $(CSRCS)
rules:         ## house rules that grep can check: includes, malloc, lengths
	$(Q)sh scripts/rules.sh
	$(Q)sh scripts/checkdocs.sh
lint:          ## clang-format, clang-tidy, cppcheck, headers alone, house rules
	@sh scripts/deps.sh $(DEBS_BUILD) $(DEBS_LINT)
	@$(MAKE) --no-print-directory format-check rules hdrcheck cppcheck tidy
	@echo 'lint: clean'
compdb: compile_commands.json  ## compile_commands.json for editors and clang-tidy

compile_commands.json: $(ALLC) $(BUILD)/flags
	$(call say,GEN,$@){ printf '['; sep=; for f in $(ALLC); do \
	  printf '%s\n{"directory":"%s","file":"%s","command":"%s -c %s"}' "$$sep" '$(CURDIR)' $$f \
	  '$(CC) $(CPPFLAGS) $(CFLAGS)' $$f; sep=,; done; printf '\n]\n'; } > $@

install: $(BUILD)/ttad install-client  ## DESTDIR and PREFIX are honoured
	install -D -m 755 $(BUILD)/ttad $(DESTDIR)$(PREFIX)/bin/ttad
	for f in observe norm tent; do install -D -m 644 policies/$$f.yaml \
	  $(DESTDIR)$(PREFIX)/share/ttad/policies/$$f.yaml || exit 1; done
	sed 's|\.\./policies/|policies/|; s|\.\./models/|models/|' config/ttad.example.yaml > $(BUILD)/ttad.example.yaml
	install -D -m 644 $(BUILD)/ttad.example.yaml $(DESTDIR)$(PREFIX)/share/ttad/ttad.example.yaml
	install -D -m 644 models/fashion_resnet.onnx $(DESTDIR)$(PREFIX)/share/ttad/models/fashion_resnet.onnx
	for f in service yaml; do sed 's|@PREFIX@|$(PREFIX)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g' \
	  packaging/systemd/ttad.$$f > $(BUILD)/ttad.$$f || exit 1; done
	install -D -m 644 $(BUILD)/ttad.service $(DESTDIR)$(PREFIX)/lib/systemd/system/ttad.service
	test -e $(DESTDIR)$(SYSCONFDIR)/ttad/ttad.yaml || \
	  install -D -m 644 $(BUILD)/ttad.yaml $(DESTDIR)$(SYSCONFDIR)/ttad/ttad.yaml
	install -D -m 644 models/LICENSE.fashion-mnist $(DESTDIR)$(PREFIX)/share/ttad/models/LICENSE.fashion-mnist
install-client: client  ## only the C client: header, libraries, ttad.pc, example
	install -D -m 644 client/c/ttad.h $(DESTDIR)$(PREFIX)/include/ttad.h
	install -D -m 755 $(BUILD)/client/$(CSO) $(DESTDIR)$(PREFIX)/lib/libttad.so.$(CVERSION)
	ln -sf libttad.so.$(CVERSION) $(DESTDIR)$(PREFIX)/lib/$(CSO)
	ln -sf $(CSO) $(DESTDIR)$(PREFIX)/lib/libttad.so
	install -D -m 644 $(BUILD)/client/libttad.a $(DESTDIR)$(PREFIX)/lib/libttad.a
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(CVERSION)|' client/c/ttad.pc.in > $(BUILD)/client/ttad.pc
	install -D -m 644 $(BUILD)/client/ttad.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/ttad.pc
	install -D -m 644 client/c/example.c $(DESTDIR)$(PREFIX)/share/ttad/example.c
clean:         ## remove build/
	$(Q)rm -rf build compile_commands.json
help:          ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## *\(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-16s %s\n",$$1,$$2}'
	@echo; echo '  MODE=release|debug|hostile|cov   SAN=address,undefined|thread   T=<test>   V=1'
