//! The API over a unix socket: HTTP and JSON, the same for `atoll`'s own commands and for scripts.
//!
//! | part | does |
//! |---|---|
//! | [`serve_network`] | serves a network without a cluster, for `net run --api` |
//! | [`daemon`] | runs and finds the daemon of a cluster |
//! | [`Client`] | calls it |
//! | [`link`] | puts the host itself on a network that is reached by the API |
//! | [`enter`] | runs commands in machines |
//! | [`exec`] | runs a command in a namespace on a network, its own or one that is reached by the API |
//!
//! It sees snapshots and commands only, never a packet. [`cluster`], [`images`], [`runtime`] and [`spec`] are re-exported for
//! the command line, which works through this crate alone.
#![forbid(unsafe_code)]

mod client;
pub mod daemon;
pub mod enter;
pub mod exec;
mod handover;
mod join;
pub mod link;
mod reply;
mod server;
pub mod signals;

pub use atoll_cluster as cluster;
pub use atoll_images as images;
pub use atoll_runtime as runtime;
pub use atoll_spec as spec;
pub use client::{CallError, Client};
pub use hyper::Method;
pub use server::{ServeError, Server, serve_network};
