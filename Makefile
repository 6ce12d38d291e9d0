# Set-up, tests and demo. On a Debian machine with Rust and Go, as root, each target does all that it
# needs: nothing is installed that is there already, nothing is built twice. `unit` and `cli-test` run as any user.

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
IMAGE := localhost/ksync-radar:$(VERSION)
ARCHIVE := target/image/radar.tar
RADAR := target/static/$(HOST)/debug/radar
PROVE := target/static/$(HOST)/debug/ksync-prove
# What is measured is optimised. The suite's image stays beside it.
BENCH_IMAGE := $(IMAGE)-bench
BENCH_ARCHIVE := target/image/radar-bench.tar
BENCH_RADAR := target/static/$(HOST)/release/radar
BENCH_PROVE := target/static/$(HOST)/release/ksync-prove

CLUSTER := tests/cluster/cluster
STAGE := tests/cluster/lib/stage.sh
CARGO_TEST := cargo test --locked

export KSYNC_TEST_IMAGE := $(IMAGE)
# Whatever the caller has set for other projects, there is one set of flags and one place here.
unexport RUSTFLAGS CARGO_TARGET_DIR

.NOTPARALLEL:

.PHONY: help deps build radar-image cluster cluster-down demo demo-down \
	guards attacks unit layers-test cli-test syncthing-test cluster-test cluster-selftest model soak soak-short test test-new lint fuzz bench bench-build bench-long bench-reload \
	bench-docs clean

help:
	@echo 'make demo          all of it, on a cluster of its own; leaves the cluster up'
	@echo 'make demo-down     takes away what the demo brought'
	@echo 'make test          unit, map, CLI and cluster tests (the cluster is brought up where it is not)'
	@echo 'make test-new      the cluster tests on the newest Kubernetes, containerd and runc (docs/platforms.md)'
	@echo 'make fuzz          the parsers of outside bytes, each for a while (fuzz/README.md)'
	@echo 'make lint          form, clippy, dependencies, scripts'
	@echo
	@echo 'make build         kubectl-ksync, in target/debug'
	@echo 'make radar-image   $(ARCHIVE)'
	@echo 'make cluster       the test cluster, with radar'"'"'s image loaded; cluster-down ends it'
	@echo 'make attacks       every attack that SECURITY.md names (part of make test)'
	@echo 'make guards        what happens without each of the guards of this side (not part of make test)'
	@echo 'make unit, layers-test, cli-test, cluster-test, cluster-selftest, deps, clean'
	@echo
	@echo 'make bench         how fast it is, into target/bench; ROWS=edit,attach for some, LONG=1 for all, TRIALS=n'
	@echo 'make bench-long    sixty pods, 100,000 files, 10 GB: half an hour'
	@echo 'make bench-reload  the same for reload; bench-docs puts the figures of these three into docs/benchmarks.md'
	@echo
	@echo 'make model STEPS=n SEED=n   more of the random deeds that make test does'
	@echo 'make soak SECONDS=n SEED=n  every part broken, alone and in pairs, under writers on both sides; SHORT=1, FAULTS=a,b, GUARDS_OFF=a,b'
	@echo 'KSYNC_TEST_KUBECONFIG=FILE make cluster-test runs the suite on a cluster of yours.'

deps:
	@$(STAGE) 'system packages' $(CLUSTER) packages

build: deps
	@$(STAGE) 'build' cargo build --locked --workspace

# Radar alone is built again, static, in a folder of its own, so that its flags never undo the other
# builds. RUSTFLAGS with --target leaves build scripts and macros as they are.
radar-image: deps
	@RUSTFLAGS='-C target-feature=+crt-static' $(STAGE) 'radar, static' \
		cargo build --locked --package radar --package ksync-prove --target $(HOST) --target-dir target/static \
		$(if $(GUARDS_OFF),--features test-guards)
	@$(STAGE) 'radar image' radar/image/build $(RADAR) $(PROVE) $(IMAGE) $(ARCHIVE)

cluster: radar-image
	@$(STAGE) 'cluster up' $(CLUSTER) up
	@$(STAGE) 'load radar image' $(CLUSTER) load $(ARCHIVE)

cluster-down:
	@$(STAGE) 'cluster down' $(CLUSTER) down

demo: build cluster
	@$(STAGE) 'demo' tests/demo/run $(IMAGE)

demo-down:
	@tests/demo/down

# These two need what builds Rust programs, and nothing else: no package is installed. A unit test that lacks something
# (mounts, git) is named and counted as SKIPPED; with KSYNC_TEST_STRICT=1, as in CI, that is a failure.
unit:
	@$(STAGE) 'unit tests' tests/unit

# The map of the rooms against the code.
layers-test:
	@$(STAGE) 'map of the rooms' $(CARGO_TEST) --test layers

cli-test:
	@$(STAGE) 'CLI tests' $(CARGO_TEST) --test cli

ifdef KSYNC_TEST_KUBECONFIG
cluster-test: build
cluster-selftest:
	@echo 'SKIPPED cluster-selftest: the suite runs on $(KSYNC_TEST_KUBECONFIG)'
soak-short:
	@echo 'SKIPPED soak-short: the suite runs on $(KSYNC_TEST_KUBECONFIG)'
else
cluster-test: build cluster
# Spools between two real syncthings, on the loopback, and what ours answers to an attacker.
syncthing-test: cluster
	@KSYNC_TEST_SYNCTHING=$$($(CLUSTER) product syncthing) $(STAGE) 'real syncthings' \
		cargo test --locked --package ksync-spool --package kubectl-ksync --package syncthing --package radar \
		--lib --test syncthings --test requests -- --ignored

# The first faults that a seed draws.
soak-short: build cluster
	@$(STAGE) 'soak, for a while' cargo bench --locked --profile dev --bench soak -- --short --seconds 90 --seed 1
cluster-selftest: deps
	@$(STAGE) 'cluster self-test' tests/cluster/selftest
endif

# Every test that SECURITY.md names: on the cluster, with two real syncthings, and of single rooms.
ATTACKS := attacks,proofs::,reload_filtered::a_
ifdef KSYNC_TEST_KUBECONFIG
attacks: build
else
attacks: build cluster syncthing-test
endif
attacks:
	@$(STAGE) 'attacks on single rooms' $(CARGO_TEST) --package radar --package ksync-wire --package ksync-engine \
		--package ksync-reexec --package ksync-proof --lib --bins
	@$(STAGE) 'attacks on the command line' $(CARGO_TEST) --test cli -- home::
	@$(STAGE) 'attacks on the cluster' $(CARGO_TEST) --test cluster -- $(ATTACKS)

cluster-test:
	@$(STAGE) 'cluster tests' $(CARGO_TEST) --test cluster

# More random deeds than `make test` does, or others: make model STEPS=2000 SEED=7
model: build cluster
	@KSYNC_MODEL_STEPS=$(STEPS) KSYNC_MODEL_SEED=$(SEED) $(STAGE) 'model' $(CARGO_TEST) --test cluster -- model:: --nocapture

# Everything that can break, while both sides are written to: make soak SECONDS=1800 SEED=7
# Without a guard it is to fail: make soak GUARDS_OFF=compare-and-swap FAULTS=calm
soak: build cluster
	@$(STAGE) 'soak' cargo bench --locked --profile dev $(if $(GUARDS_OFF),--features test-guards) --bench soak -- \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(SHORT),--short) \
		$(if $(FAULTS),--faults $(FAULTS)) $(if $(GUARDS_OFF),--guards-off $(GUARDS_OFF))

# What each of this side's guards prevents, with the guard switched off.
guards: cluster
	@$(STAGE) 'cluster tests without guards' $(CARGO_TEST) --features test-guards --test cluster -- guards::

bench-build: deps
	@RUSTFLAGS='-C target-feature=+crt-static' $(STAGE) 'radar, static and optimised' \
		cargo build --locked --profile bench --package radar --package ksync-prove --target $(HOST) --target-dir target/static
	@$(STAGE) 'radar image' radar/image/build $(BENCH_RADAR) $(BENCH_PROVE) $(BENCH_IMAGE) $(BENCH_ARCHIVE)
	@$(STAGE) 'kubectl-ksync, optimised' cargo build --locked --profile bench --package kubectl-ksync

# The program that measures is built as the suite is, which it shares its helpers with.
BENCH := env KSYNC_TEST_IMAGE=$(BENCH_IMAGE) KSYNC_TEST_ARCHIVE=$(BENCH_ARCHIVE) \
	KSYNC_TEST_PROGRAM=$(CURDIR)/target/release/kubectl-ksync \
	cargo bench --locked --profile dev --bench bench -- $(if $(TRIALS),--trials $(TRIALS)) \
	$(if $(PODS),--pods $(PODS)) $(if $(GIGABYTES),--gigabytes $(GIGABYTES))

bench: bench-build
	@$(STAGE) 'cluster up' $(CLUSTER) up
	@$(STAGE) 'bench' $(BENCH) $(if $(ROWS),--rows $(ROWS)) $(if $(LONG),--long) $(if $(NAME),--name $(NAME))

bench-reload: bench-build
	@$(STAGE) 'cluster up' $(CLUSTER) up
	@$(STAGE) 'bench of reload' $(BENCH) --rows reload --name reload

bench-long:
	@$(MAKE) --no-print-directory bench ROWS=pods,many,huge NAME=long

bench-docs:
	@cargo run --quiet --locked --package ksync-measure --bin bench-docs -- docs/benchmarks.md \
		$(wildcard $(addprefix target/bench/,bench.json long.json reload.json))

test: unit layers-test cli-test cluster-selftest syncthing-test cluster-test soak-short

# On a cluster of its own, which may stand beside the usual one, and which goes when all tests have passed.
test-new: export KSYNC_CLUSTER_VERSIONS := new
test-new: export KSYNC_CLUSTER_INDEX := $(or $(KSYNC_CLUSTER_INDEX),98)
test-new: cluster-test
	@$(STAGE) 'cluster down' $(CLUSTER) down

lint: deps
	@tests/lint

# The targets of cargo-fuzz, built without nightly and so without its feedback: make fuzz SECONDS=60
FUZZED := config wire journal syncthing proc runtime-record ignore
fuzz: deps
	@RUSTFLAGS='--cfg fuzzing' $(STAGE) 'fuzz targets' \
		cargo build --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz
	@for target in $(FUZZED); do \
		$(STAGE) "fuzz $$target" target/fuzz/debug/$$target -max_total_time=$(or $(SECONDS),20) -verbosity=0 || exit 1; done

# A watcher of the demo has its files in target, so it ends first.
clean:
	@if [ -e target/demo ]; then tests/demo/down; fi
	cargo clean
