//! A deterministic world around the engine, for tests.
//!
//! A [`World`] holds one engine, [`guest`]s of two kinds, the links between them, which lose, repeat, delay and reorder by chance
//! ([`link`]) or by plan ([`script`]), and hosts on the other side of the gateway ([`host`]). What programs send is a
//! [`stream`]. One virtual clock, one seed: a run is a function of its arguments, and the slowest timeout costs nothing.

#![forbid(unsafe_code)]

mod chance;
pub mod guest;
pub mod host;
pub mod link;
pub mod script;
pub mod stream;
mod world;

pub use chance::Chance;
pub use world::World;
