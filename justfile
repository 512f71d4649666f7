# What people type often. `just` lists it.
default:
    @just --list

# The tests in memory
test:
    cargo test --locked --workspace --lib

# Every test; as root on a Debian for all of them
test-all:
    scripts/test

# All that a change must pass
ci:
    .ci/run

# The main job on a real debugger
demo:
    scripts/demo

# The extension for VS Code, in a real one
test-vscode *ARGS:
    scripts/test-vscode {{ARGS}}

# Format and lint
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --locked -- -D warnings

# How much of each part the tests in memory reach
coverage *ARGS:
    scripts/coverage {{ARGS}}

# Beside ssh, bore and dumbpipe
bench *ARGS:
    scripts/bench {{ARGS}}

# The documents as a site, in target/book
book:
    scripts/book
