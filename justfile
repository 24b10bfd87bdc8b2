# What CI runs, one recipe a check. `just` alone lists them.

default:
    @just --list

# Everything that CI checks.
ci: fmt-check clippy planted-guard sim test loom fuzz deny

# Formats the code.
fmt:
    cargo fmt --all

# Fails where the code is not formatted.
fmt-check:
    cargo fmt --all --check

# Lints everything; a warning is a failure.
clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The test command of the README, and whether its run command finds the program.
test:
    cargo test --locked
    cargo run --locked -- --version

# No planted bug can be compiled into a release build.
planted-guard:
    cargo check --locked --release -p vestibule-engine --features planted 2>&1 | grep -q 'never for a release build'

# Simulated clusters: first whether a seed is one run byte for byte, then runs with faults, in processes of their own.
sim seeds="60" twice="3":
    cargo run --locked -p vestibule-sim -- meta --seeds {{twice}}
    cargo run --locked -p vestibule-sim -- sweep --seeds {{seeds}} --jobs 2

# Plants one bug after another and demands that the simulator catches it. Not part of `ci`.
mutants seeds="88":
    cargo run --locked -p vestibule-sim --features planted -- mutants --seeds {{seeds}}

# Feeds plans, commands and rows that nobody would write to the engine, for a while each.
fuzz seconds="15":
    engine/fuzz/run plan_import {{seconds}}
    engine/fuzz/run command_decoding {{seconds}}
    engine/fuzz/run row_decoding {{seconds}}

# The bad days of docs/operations/bad-days.md in full numbers. Some need root. How long they take is not measured; `test` has a short form.
bad-days:
    VESTIBULE_BAD_DAYS=full cargo test --locked --test bad_days -- --nocapture

# Breaks each invariant of the engine once, on a copy, and demands that a test fails. 11 to 148 s a line on a loaded machine; not part of `ci`.
planted words="":
    engine/planted/run "{{words}}"

# Tries every interleaving of the threads that share something, up to three preemptions.
loom:
    RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 CARGO_TARGET_DIR=target/loom cargo test --locked --release -p vestibule-sync --test loom

# Licenses, banned crates and sources of all dependencies.
deny:
    cargo deny --locked check bans licenses sources

# Known vulnerabilities; needs the advisory database.
advisories:
    cargo deny --locked check advisories


# Benchmarks, with their baselines in the same run.
bench:
    cargo bench -p vestibule-benches
