//! From a cluster file to machines that run, and back.
//!
//! ```text
//! atoll.yaml ── project ─> spec::Cluster ─┐
//!                                         ├─ plan (pure) ─> rows of steps ── steps ─> images, qemu, runtime, ssh
//! state, processes ── cluster ─> observed ┘                                    └─> progress, one event a change
//! ```
//!
//! | module | does | effects |
//! |---|---|---|
//! | [`project`] | finds and reads the cluster file | files |
//! | [`paths`] | where everything lies | none |
//! | [`plan`] | what is wanted and what is there to what is to be done | none |
//! | [`change`], [`preview`] | what the file changes, and what `up` would do | none; a look at the state |
//! | [`cluster`] | the cluster as its daemon holds it: turns, state, what runs; takes over after a crash | all |
//! | `steps`, `start` | carries out a plan | all |
//! | [`snapshot`] | machines as they were at one instant | all |
//! | [`suspend`], `clock` | machines that stand still, their memory in a file, and what time it is afterwards | all |
//! | [`networks`] | the networks in this process | sockets, through `atoll-runtime` |
//! | `options` | a network of the file as the runtime's options | none |
//! | [`launch`], [`documents`] | a machine as QEMU's launch and as cloud-init's documents | files that are named |
//! | [`direct`] | NICs on the host's LAN without a network of ours | the helper |
//! | [`image`] | a machine's image on this host | image cache |
//! | [`ready`] | waits until a machine is ready | `ssh` |
//! | `board`, `hold`, `look` | machines that wait for each other | `ssh`, the machine's network |
//! | [`outputs`] | what machines give to each other | files |
//! | [`kubeconfig`] | a cluster's context in the user's kubeconfig | files |
//! | [`dry`] | what `up` would run | none |
//! | [`ssh`], [`exec`], [`console`] | ways into a machine | `ssh`, terminals |
//! | [`copy`] | files into machines, out of them and between them | `ssh`, files |
//! | [`usage`], [`screenshot`], [`follow`] | what machines take, show and write | `/proc`, QMP, files |
//! | [`state`], [`events`], [`files`], [`lock`] | what outlives the daemon | files |
//! | [`policy`], [`reach`], [`services`] | what guests may do, whom they reach and what they are offered, from words to options | none |
//! | [`host`] | which host this is | files |
//! | [`progress`], [`problem`], [`status`], [`questions`] | what is told and asked | none |
//!
//! Plain threads: one a machine and one a look while a command is at work, one a network.
#![forbid(unsafe_code)]

mod adjust;
mod board;
pub mod change;
mod clock;
pub mod cluster;
pub mod console;
mod convert;
pub mod copy;
pub mod direct;
pub mod documents;
pub mod dry;
pub mod events;
pub mod exec;
pub mod files;
pub mod follow;
mod hold;
pub mod host;
pub mod hypervisor;
pub mod image;
mod joins;
pub mod kubeconfig;
pub mod launch;
pub mod lock;
mod look;
pub mod networks;
mod options;
pub mod outputs;
pub mod paths;
pub mod plan;
pub mod policy;
pub mod preview;
pub mod problem;
pub mod progress;
pub mod project;
pub mod questions;
pub mod reach;
pub mod ready;
pub mod screenshot;
pub mod services;
pub mod snapshot;
pub mod ssh;
pub mod ssh_config;
mod start;
pub mod state;
pub mod status;
mod steps;
pub mod suspend;
pub mod usage;

pub use cluster::Cluster;
