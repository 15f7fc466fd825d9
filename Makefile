# make demo and make test do everything on a bare Debian 12, as root or with sudo: packages, LibTorch,
# configure, build, run. What is there already is neither downloaded nor built again.
#
#   make demo       build ./etude, run the first comparison, say where its report is
#   make test       build everything, run the fast tests
#   make test-all   the slow, fuzz and chaos suites too
#   make fuzz       the fuzz targets, 60 s each (FUZZ_SECONDS, FUZZ_TARGETS; PLANTED=1: with a planted bug)
#   make interop    tests beside Hugging Face's and TensorBoard's own readers, in a Python environment it sets up
#   make bench-peers  the Python with PyTorch that etude bench measures beside (PYTHON=... takes one of yours)
#   make bench      ./etude bench, and the README's table of speeds from what it measured
#   make build      ./etude alone
#   make format     clang-format over our sources         make lint   clang-tidy (LINT="files" for some)
#   make clean      remove build/ (LibTorch in .deps/ stays)
#
# PRESET=debug or asan-ubsan builds another way; JOBS=n limits the compilers at work;
# SKIP_PACKAGES=1 leaves Debian's packages alone; ETUDE_TORCH=/path takes a LibTorch of yours.

PRESET ?= release
JOBS ?= $(shell nproc)
BUILD := build/$(PRESET)
TIMED := setup/timed.sh
# The precompiled header takes 0.7 GB in each compiler at work, so few of them fit a small machine.
JOBS_MAX := $(shell awk '/MemAvailable/ { n = int($$2 / 1500000); print n < 1 ? 1 : n }' /proc/meminfo)
JOBS_RUN := $(shell n='$(JOBS)'; m='$(JOBS_MAX)'; [ "$$n" -lt "$${m:-1}" ] && echo "$$n" || echo "$${m:-1}")

.PHONY: help demo build test test-all clean format lint fuzz interop bench bench-peers packages-demo packages-test \
  packages-fuzz packages-bench libtorch
.NOTPARALLEL:

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

demo: build
	./etude compare noloco --profile small --arms fsdp,diloco,noloco,noloco-gamma0,none
	@echo "The report, for a browser: file://$(CURDIR)/runs/noloco-report/small.html"

build: packages-demo libtorch
	@$(TIMED) configure cmake --preset $(PRESET) -DETUDE_TESTS=OFF -DETUDE_BENCH=OFF
	@$(TIMED) build ninja -C $(BUILD) -j $(JOBS_RUN) etude
	@ln -sfn $(BUILD)/etude etude

test: packages-test libtorch
	@$(TIMED) configure cmake --preset $(PRESET) -DETUDE_TESTS=ON
	@$(TIMED) build ninja -C $(BUILD) -j $(JOBS_RUN)
	@$(TIMED) test setup/ctest.sh $(BUILD) -L '^fast$$'

test-all: packages-test libtorch
	@$(TIMED) configure cmake --preset $(PRESET) -DETUDE_TESTS=ON -DETUDE_BENCH=ON
	@$(TIMED) build ninja -C $(BUILD) -j $(JOBS_RUN) all bench
	@$(TIMED) test setup/ctest.sh $(BUILD)

# Without LibTorch and with clang; in build/fuzz whatever PRESET says.
fuzz: packages-fuzz
	@bash tests/fuzz/fuzz_test.sh

interop: packages-test libtorch
	@$(TIMED) install setup/interop.sh
	@$(TIMED) configure cmake --preset $(PRESET) -DETUDE_TESTS=ON
	@$(TIMED) build ninja -C $(BUILD) -j $(JOBS_RUN)
	@ETUDE_PYTHON=$(CURDIR)/.deps/interop/bin/python $(TIMED) test setup/ctest.sh $(BUILD) -L '^interop$$'

# A machine that does nothing else meanwhile; FORCE=1 measures all the same.
bench: build bench-peers
	./etude bench --curves $(if $(PYTHON),--python "$(PYTHON)") $(if $(FORCE),--force)
	./etude bench --table README.md

bench-peers: packages-bench
	@[ -n "$(PYTHON)" ] || $(TIMED) install setup/bench.sh

packages-demo packages-test packages-fuzz packages-bench: packages-%:
	@[ -n "$(SKIP_PACKAGES)" ] || $(TIMED) install setup/install.sh $*

libtorch:
	@$(TIMED) install setup/libtorch.sh

clean:
	rm -rf build
	@[ ! -L etude ] || rm etude

format:
	git ls-files -z '*.h' '*.cpp' | xargs -0 clang-format -i

lint:
	@[ -f $(BUILD)/compile_commands.json ] || cmake --preset $(PRESET)
	setup/lint.sh $(BUILD) $(LINT)
