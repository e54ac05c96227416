#!/usr/bin/env bash
# Type-check and lint the whole workspace for macOS, on Apple silicon and Intel, on a Linux machine.
#
# Debian's `rustc-web` is a compiler whose standard library source is packaged
# beside it (`rust-web-src`), so cargo can build `std` for a target that rustup
# was never asked to install. `RUSTC_BOOTSTRAP=1` lets a stable compiler take
# `-Zbuild-std`.
#
# Two dependencies (ring, zstd-sys) compile C in their build scripts, which
# needs Apple's SDK. Nothing is linked by `cargo check`, so the C does not
# matter here: a stand-in compiler and archiver write empty files.
#
# Clippy is Debian's too (`rust-web-clippy`), since a lint tool belongs to one
# compiler. It says all that `cargo check` says and more, so one pass does for
# both. Where the package is missing the types are checked all the same, and the
# last line says what was not.
#
# Both targets go in one call of cargo, which shares what runs on this machine:
# build scripts and procedural macros.
#
# Exit status: 0 checked, 1 failed, 77 skipped (with the reason on stdout).
set -eu
cd "$(dirname "$0")/.."

rustc=${MACOS_RUSTC:-/usr/bin/rustc}
clippy=${MACOS_CLIPPY:-/usr/bin/cargo-clippy}
out=${CARGO_TARGET_DIR:-target}/macos

skip() { echo "skipped: $1"; exit 77; }

[ "$(uname -s)" = Linux ] || skip "this check is for Linux machines; on macOS run cargo check"
[ -x "$rustc" ] || skip "$rustc is missing (Debian package rustc-web)"
library=$("$rustc" --print sysroot)/lib/rustlib/src/rust/library
[ -e "$library/Cargo.lock" ] || skip "$library is missing (Debian package rust-web-src)"
minor=$("$rustc" --version | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
wanted=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)
[ "${minor:-0}" -ge "$wanted" ] || skip "$rustc is 1.$minor, the workspace needs 1.$wanted"

shims=$out/shims
mkdir -p "$shims"
shims=$(cd "$shims" && pwd)
cat >"$shims/cc" <<'SHIM'
#!/bin/sh
# Writes an empty file for every `-o FILE`; compiles nothing.
while [ $# -gt 0 ]; do
    if [ "$1" = -o ]; then : >"$2"; fi
    shift
done
SHIM
cat >"$shims/ar" <<'SHIM'
#!/bin/sh
# Writes an empty archive in place of the one asked for: `ar cq FILE …`.
for word; do
    case $word in *.a) printf '!<arch>\n' >"$word"; exit 0 ;; esac
done
SHIM
chmod +x "$shims/cc" "$shims/ar"

export RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$out
export SDKROOT=$shims MACOSX_DEPLOYMENT_TARGET=15.0
unset RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
targets=()
for arch in aarch64 x86_64; do
    targets+=(--target "$arch-apple-darwin")
    export "CC_${arch}_apple_darwin=$shims/cc" "AR_${arch}_apple_darwin=$shims/ar" "RANLIB_${arch}_apple_darwin=true"
done
what=(--quiet --keep-going -Zbuild-std "${targets[@]}" --workspace --exclude atoll-e2e --exclude xtask "$@")

# A driver of another compiler would not understand what this one wrote.
driver=$(dirname "$clippy")/clippy-driver
if [ -x "$clippy" ] && [ "$("$driver" --rustc --version 2>/dev/null)" = "$("$rustc" --version)" ]; then
    exec "$clippy" clippy "${what[@]}" -- -D warnings
fi
cargo check "${what[@]}"
echo "types only: $clippy of $("$rustc" --version | cut -d' ' -f1,2) is missing (Debian package rust-web-clippy)"
