//! Fuzz targets: one function for each parser that meets bytes of a guest, a user or a server, and one for
//! the engine as a whole.
//!
//! A target takes any bytes and must come back without a panic; where more can be said (what was cut
//! into messages joins to the same bytes again, a host socket is never asked for more than it gave)
//! the target asserts it. The same functions run
//!
//! - under the runner of this crate (`cargo run -p atoll-fuzz`), which replays `seeds/TARGET/*` and a
//!   fixed number of mutations of them, the same ones every time: what CI does;
//! - under libFuzzer, guided by coverage, for as long as one likes (`fuzz_targets/any.rs` says how).
//!
//! What libFuzzer finds is put into `seeds/TARGET/` together with the fix.

#![forbid(unsafe_code)]

pub mod mutate;
pub mod runner;
pub mod targets;

pub use targets::{TARGETS, Target};
