# Everything here needs a Rust toolchain only. What else a target can use, it looks for, and says so when it is missing.

.PHONY: run build test bench

# Builds the server and shows the walk: from a spike to its log lines. Ctrl-C ends it.
run: build
	target/release/throughline demo

build:
	cargo build --release --locked -p throughline-server

# What must pass before anything is merged. One profile for all of it, so that everything is compiled once.
test:
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked
	cargo xtask tidy

# The figures of this machine, without peers. See docs/operators-guide.md for peers and larger inputs.
bench: build
	cargo build --release --locked -p xtask
	target/release/xtask bench ingest
	target/release/xtask bench lookup
