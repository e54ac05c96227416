#!/usr/bin/env bash
# Every check of the project, in order; `make test` and CI run this.
#
#   scripts/test.sh [STEP…]      without names: every step
#
# A step that cannot run here (exit status 77) is skipped and says why. All steps run even when one
# fails, each against a deadline, and the last line counts them. Exit status 1 when any failed.
set -u
cd "$(dirname "$0")/.."

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
skipped=77

skip() { echo "skipped: $1"; return $skipped; }

has_cargo() { cargo "$1" --version >/dev/null 2>&1; }

# What is built, in each step the same: what cargo compiles of a crate depends on the features that all selected packages together ask
# for, so a step that named fewer would compile half of the workspace once more. The end-to-end tests are for Linux.
workspace=(--workspace)
[ "$(uname -s)" = Linux ] || workspace+=(--exclude atoll-e2e)

# Builds programs as the tests' build made their libraries: with `--examples` cargo counts what only tests depend on, too.
build_beside_tests() {
    local names=()
    for name; do names+=(--bin "$name"); done
    cargo build "${workspace[@]}" "${names[@]}" --examples
}

step_format() {
    has_cargo fmt || { skip "rustfmt is not installed (rustup component add rustfmt)"; return; }
    cargo fmt --all -- --check -l
}

step_lints() {
    has_cargo clippy || { skip "clippy is not installed (rustup component add clippy)"; return; }
    cargo clippy "${workspace[@]}" --all-targets -- -D warnings || return
    # All other steps build everything at once. What people build alone is to ask for all that it needs by itself.
    cargo clippy --package atoll-cli --package atoll-helper -- -D warnings &&
        cargo clippy --package atoll-fuzz -- -D warnings
}

# With nextest where it is installed, with cargo otherwise.
step_unit() {
    if has_cargo nextest; then
        cargo nextest run --no-fail-fast "${workspace[@]}" --filterset 'not package(atoll-e2e)'
    else
        cargo test --no-fail-fast --all-targets --workspace --exclude atoll-e2e
    fi
}

step_doctests() { cargo test "${workspace[@]}" --doc; }

step_walls() { cargo xtask walls; }

step_docs() { RUSTDOCFLAGS="-D warnings" cargo doc "${workspace[@]}" --no-deps; }

step_macos() { scripts/check-macos.sh; }

step_fuzz() { build_beside_tests atoll-fuzz && "${CARGO_TARGET_DIR:-target}/debug/atoll-fuzz"; }

# Printed for comparison; no bound is set.
step_count() { cargo xtask count; }

# The guests are x86_64 under emulation; everything else that is missing is a failure here. nextest runs as many at a time as
# .config/nextest.toml says; cargo knows no such table, and runs one.
step_e2e() {
    [ "$(uname -sm)" = "Linux x86_64" ] || { skip "the guests of these tests need Linux on x86_64"; return; }
    export ATOLL_E2E=required
    if has_cargo nextest; then
        build_beside_tests atoll atoll-helper &&
            cargo nextest run --no-fail-fast "${workspace[@]}" --filterset 'package(atoll-e2e)'
    else
        cargo build --package atoll-cli --package atoll-helper &&
            cargo test --package atoll-e2e --no-fail-fast -- --test-threads=1 --nocapture
    fi
}

# The steps: name, deadline in seconds, heading.
steps="
format    60    Formatting
lints     900   Lints: clippy, warnings are errors
unit      900   Unit, property and simulation tests
doctests  600   Examples in the documentation
walls     120   Walls between the crates
docs      600   Documentation: rustdoc, warnings are errors
macos     900   Types and lints on macOS, both architectures
fuzz      600   Fuzz targets: seeds and mutations
count     600   Instructions of the engine's hot paths
e2e       1500  End to end: the real binary, real QEMU guests
"

# A step runs in a process of its own, so that its deadline reaches all it started.
if [ "${1:-}" = --step ]; then
    "step_$2"
    exit
fi

wanted=" $* "
passed=0 failed=0 left_out=0 failures=''
if [ "$wanted" = "  " ]; then scripts/deps.sh demo test || exit 1; fi
while read -r name deadline heading; do
    [ -n "$name" ] || continue
    case $wanted in "  " | *" $name "*) ;; *) continue ;; esac
    printf '\n==> %s (%s)\n' "$heading" "$name"
    began=$SECONDS
    timeout --kill-after=20 "$deadline" "$0" --step "$name" </dev/null
    status=$?
    case $status in
        0) passed=$((passed + 1)) outcome=passed ;;
        "$skipped") left_out=$((left_out + 1)) outcome=skipped ;;
        124 | 137) failed=$((failed + 1)) failures="$failures $name" outcome="failed: not done after $deadline s" ;;
        *) failed=$((failed + 1)) failures="$failures $name" outcome="failed" ;;
    esac
    printf -- '--- %s: %s (%d s)\n' "$name" "$outcome" $((SECONDS - began))
done <<<"$steps"

printf '\n%d passed, %d failed, %d skipped%s\n' $passed $failed $left_out "${failures:+ (failed:$failures)}"
[ $failed -eq 0 ] && [ $((passed + left_out)) -gt 0 ]
