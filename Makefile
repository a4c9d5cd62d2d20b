# Everything a newcomer types. `make` alone prints the list.
# `make demo` and `make test` set up what they need on a fresh machine; nothing else has to be run first.

SHELL := /bin/bash
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing (Debian packages; needs root only when something is)
	@scripts/setup

demo: setup ## Start the example apps, do to them what a user would, print what was measured
	cargo build --locked -p insula
	target/debug/insula demo $(DEMO_ARGS)

test: setup ## Unit tests, then the end-to-end claims, as root and again as an ordinary user
	@scripts/test $(TEST_ARGS)

lint: setup ## Formatting, clippy with warnings as errors, dependencies, shell scripts
	@scripts/lint

bench: ## Measure beside nginx, caddy, haproxy, crun, podman, runsc and bare processes, in turns (BENCH_ARGS="quick wake" for a part)
	@scripts/setup bench
	cargo build --locked --release -p insula -p insula-bench
	target/release/insula-bench target/release/insula $(BENCH_ARGS)

clean: ## Remove everything that was built
	cargo clean
	$(MAKE) -C examples/hello clean

.PHONY: help setup demo test lint bench clean
