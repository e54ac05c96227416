//! Any target under libFuzzer, chosen by name:
//!
//! ```text
//! ATOLL_FUZZ_TARGET=dns cargo fuzz run any --features libfuzzer fuzz/corpus/dns fuzz/seeds/dns
//! ```
//!
//! with a nightly compiler, or a stable one and `RUSTC_BOOTSTRAP=1`.

#![no_main]

use atoll_fuzz::{TARGETS, Target};
use std::sync::LazyLock;

static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("ATOLL_FUZZ_TARGET").unwrap_or_default();
    let chosen = TARGETS.iter().find(|target| target.name == name);
    chosen.unwrap_or_else(|| panic!("ATOLL_FUZZ_TARGET={name} names no target"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (CHOSEN.run)(data));
