# All there is to type: `make demo` and `make test`. Both install what is missing first, see scripts/setup.
#
# One cargo profile serves everything, in one build directory outside the checkout: RocksDB takes 20 minutes on two
# cores, so all clones share it. Real daemons need root; without it the daemon tests go through sudo.

cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR ?= $(or $(HOLDALL_BUILD_DIR),$(cache)/holdall-build)
export HOLDALL_LAB_CACHE ?= $(cache)/holdall-lab
CARGO_FLAGS ?= --release --locked

sudo := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env)
test_binaries := $(patsubst tests/%.rs,%,$(wildcard tests/*.rs)) \
	$(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs))
quick_binaries := $(filter-out daemon guest,$(test_binaries))

# Cargo tells checkouts of one package apart by the times of their files alone. Where another one was built last, what
# it built of this package goes first; the dependencies stay.
checkout := $(shell marker='$(CARGO_TARGET_DIR)/checkout'; \
	if [ -d '$(CARGO_TARGET_DIR)' ] && [ "$$(cat "$$marker" 2>/dev/null)" != '$(CURDIR)' ]; then \
		cargo clean --quiet --release --package holdall 2>/dev/null; echo '$(CURDIR)' >"$$marker"; fi)

.PHONY: help setup demo deb test test-fast test-daemon test-guest test-scale bench model compare-size fuzz \
	fuzz-build fuzz-short clean-lab

help:
	@echo "make demo         back a container up, delete it, get it back (private daemon, a minute)"
	@echo "make deb          a Debian package with the program, its manual, a systemd service and a timer"
	@echo "make test         formatting, lints and every test, real daemons included"
	@echo "make test-fast    the same without daemons"
	@echo "make test-daemon  only the tests on real daemons (TESTS=name for some)"
	@echo "make test-guest   only those on a real NFS server and with power cuts, at length (TESTS=name for some)"
	@echo "make test-scale   prune --dry-run and check on a synthetic repository of 16 million chunks, measured"
	@echo "make bench        benchmarks (BENCH=name for one)"
	@echo "make model        the larger explorations of the protocol (half an hour, 12 GB of memory)"
	@echo "make compare-size FILES=...    what these exports take in a new repository, beside restic"
	@echo "make fuzz-short   every fuzz target for FUZZ_SECONDS=2 seconds"
	@echo "make fuzz TARGET=name SECONDS=600    one of them for longer; what it finds stays in fuzz/target/"
	@echo "make clean-lab    remove what the daemon tests keep in $(HOLDALL_LAB_CACHE)"

setup:
	@scripts/setup

demo: setup
	cargo build $(CARGO_FLAGS) --bin holdall
	@PATH="$(CARGO_TARGET_DIR)/release:$$PATH" scripts/demo

# The package goes to $(CARGO_TARGET_DIR)/debian. What stands in it besides the program is made by the program.
deb: setup
	cargo build $(CARGO_FLAGS) --bin holdall
	@command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
	@mkdir -p "$(CARGO_TARGET_DIR)/release/package/man"
	@for shell in bash:holdall.bash zsh:_holdall fish:holdall.fish; do \
		"$(CARGO_TARGET_DIR)/release/holdall" completions $${shell%%:*} \
			>"$(CARGO_TARGET_DIR)/release/package/$${shell#*:}"; done
	@"$(CARGO_TARGET_DIR)/release/holdall" man --to "$(CARGO_TARGET_DIR)/release/package/man"
	cargo deb --no-build --locked

test: test-fast fuzz-short
	@$(MAKE) --no-print-directory test-daemon
	@$(MAKE) --no-print-directory test-guest GUEST_ROUNDS=

test-fast: setup
	cargo fmt --check
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	cargo test $(CARGO_FLAGS) --lib --bins $(addprefix --test ,$(quick_binaries))
	cargo test $(CARGO_FLAGS) --doc
ifeq ($(HOLDALL_SKIP_REMOTE_TESTS),1)
	@echo "NOT TESTED: hosts that see late what others do, because HOLDALL_SKIP_REMOTE_TESTS=1"
endif

# The laboratory's cache is filled here, once, so that no test has to wait for it.
ifneq ($(HOLDALL_SKIP_DAEMON_TESTS),1)
test-daemon: setup
	@$(sudo) scripts/lab-incus 6 prepare
	@$(sudo) scripts/lab-incus 7 prepare
	@$(sudo) scripts/lab-postgres
	cargo test $(CARGO_FLAGS) $(if $(sudo),--config "target.'cfg(unix)'.runner='$(sudo)'") --test daemon -- $(TESTS)
else
test-daemon:
	cargo test $(CARGO_FLAGS) --test daemon -- $(TESTS)
	@echo "NOT TESTED: anything on real daemons, because HOLDALL_SKIP_DAEMON_TESTS=1"
endif

# The long form, unless GUEST_ROUNDS is empty: 200 power cuts, 10,000 races and so on, where each test says how many
# times it does what by itself.
GUEST_ROUNDS ?= long
guest_run = cargo test $(CARGO_FLAGS) $(if $(sudo),--config "target.'cfg(unix)'.runner='$(sudo)'") --test guest --

ifneq ($(HOLDALL_SKIP_GUEST_TESTS),1)
test-guest: setup
	@$(sudo) scripts/lab-guest prepare
	$(if $(GUEST_ROUNDS),HOLDALL_TEST_ROUNDS=$(GUEST_ROUNDS)) $(guest_run) $(TESTS)
else
test-guest:
	$(guest_run) $(TESTS)
	@echo "NOT TESTED: anything on a real NFS server or with power cuts, because HOLDALL_SKIP_GUEST_TESTS=1"
endif

# Ten minutes and 6 GB below /var/tmp. The million that every `make test` takes is measured first.
test-scale: setup
	cargo test $(CARGO_FLAGS) --test scale -- --include-ignored --nocapture --test-threads 1

bench: setup
	cargo bench --profile release --locked $(addprefix --bench ,$(or $(BENCH),stages whole))

# What takes too long for every test run; each explores tens of millions of states.
model: setup
	cargo test $(CARGO_FLAGS) --lib protocol -- --ignored --nocapture --test-threads 1

compare-size: setup
	cargo build $(CARGO_FLAGS) --bin holdall
	@PATH="$(CARGO_TARGET_DIR)/release:$$PATH" scripts/compare-size $(FILES)

# libFuzzer needs the compiler to count what was reached. These options are stable ones, so that neither another
# toolchain nor cargo-fuzz is wanted; that they are for one target only keeps them away from build scripts.
fuzz_flags := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
host := $(shell rustc -vV | sed -n 's/^host: //p')
fuzz_binaries := $(CARGO_TARGET_DIR)/$(host)/release
fuzz_targets := $(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 2
SECONDS ?= 600
# New inputs go to the first directory; the kept ones are read only.
run_fuzzer = mkdir -p fuzz/target/new/$(1) fuzz/target/seeds/$(1) && $(fuzz_binaries)/$(1) -max_total_time=$(2) \
	-timeout=20 -max_len=8192 -artifact_prefix=fuzz/target/$(1)- fuzz/target/new/$(1) fuzz/corpus/$(1) \
	fuzz/target/seeds/$(1)

fuzz-build: setup
	RUSTFLAGS="$(fuzz_flags)" cargo build --manifest-path fuzz/Cargo.toml --release --locked --bins --target $(host)

fuzz-short: fuzz-build
	@$(foreach target,$(fuzz_targets),echo "fuzz $(target)"; \
		$(call run_fuzzer,$(target),$(FUZZ_SECONDS)) >fuzz/target/$(target).log 2>&1 \
		|| { tail -n 40 fuzz/target/$(target).log; exit 1; };)

fuzz: fuzz-build
	cargo test $(CARGO_FLAGS) --no-default-features --test it seeds_are_written -- --ignored
	$(call run_fuzzer,$(TARGET),$(SECONDS))

clean-lab:
	$(sudo) scripts/lab-clean --stale
	$(sudo) rm -rf --one-file-system "$(HOLDALL_LAB_CACHE)"
