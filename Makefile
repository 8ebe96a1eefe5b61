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
quick_binaries := $(filter-out daemon,$(test_binaries))

.PHONY: help setup demo test test-fast test-daemon bench clean-lab

help:
	@echo "make demo         back a container up, delete it, get it back (private daemon, a minute)"
	@echo "make test         formatting, lints and every test, real daemons included"
	@echo "make test-fast    the same without daemons"
	@echo "make test-daemon  only the tests on real daemons (TESTS=name for some)"
	@echo "make bench        benchmarks"
	@echo "make clean-lab    remove what the daemon tests keep in $(HOLDALL_LAB_CACHE)"

setup:
	@scripts/setup

demo: setup
	cargo build $(CARGO_FLAGS) --bin holdall
	@PATH="$(CARGO_TARGET_DIR)/release:$$PATH" scripts/demo

test: test-fast
	@$(MAKE) --no-print-directory test-daemon

test-fast: setup
	cargo fmt --check
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	cargo test $(CARGO_FLAGS) --lib --bins $(addprefix --test ,$(quick_binaries))
	cargo test $(CARGO_FLAGS) --doc

# The laboratory's cache is filled here, once, so that no test has to wait for it.
ifneq ($(HOLDALL_SKIP_DAEMON_TESTS),1)
test-daemon: setup
	@$(sudo) scripts/lab-incus7 prepare
	@$(sudo) scripts/lab-postgres
	cargo test $(CARGO_FLAGS) $(if $(sudo),--config "target.'cfg(unix)'.runner='$(sudo)'") --test daemon -- $(TESTS)
else
test-daemon:
	cargo test $(CARGO_FLAGS) --test daemon -- $(TESTS)
	@echo "NOT TESTED: anything on real daemons, because HOLDALL_SKIP_DAEMON_TESTS=1"
endif

bench: setup
	cargo bench --profile release --locked

clean-lab:
	$(sudo) scripts/lab-clean --stale
	$(sudo) rm -rf --one-file-system "$(HOLDALL_LAB_CACHE)"
