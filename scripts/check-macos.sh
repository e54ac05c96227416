#!/usr/bin/env bash
# Type-check the whole workspace for macOS on a Linux machine.
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
# Exit status: 0 checked, 1 failed, 77 skipped (with the reason on stdout).
set -eu
cd "$(dirname "$0")/.."

rustc=${MACOS_RUSTC:-/usr/bin/rustc}
target=aarch64-apple-darwin
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
export CC_aarch64_apple_darwin=$shims/cc AR_aarch64_apple_darwin=$shims/ar RANLIB_aarch64_apple_darwin=true
export SDKROOT=$shims MACOSX_DEPLOYMENT_TARGET=15.0
unset RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
exec cargo check --quiet -Zbuild-std --target "$target" --workspace --exclude atoll-e2e --exclude xtask "$@"
