//! How frames get in and out of the process.
//!
//! A hypervisor attaches at a unix socket whose file we own. [`Listener`] and [`DgramPort`] make that file and remove
//! it; [`StreamPort`] and [`DgramPort`] carry frames. Nothing here waits: every call takes what the kernel has or
//! takes at the moment and says whether there may be more, and who calls decides when to ask again.
//!
//! | port | framing | source |
//! |---|---|---|
//! | [`StreamPort`] | 4-byte big-endian length, then the frame | QEMU `net/stream.c`, `net_fill_rstate` |
//! | [`DgramPort`] | one frame a datagram | QEMU `net/dgram.c`; vfkit's unixgram |
//! | [`TapPort`] | virtio_net_hdr, then the frame, one a read or write | Linux `drivers/net/tun.c` |
//! | [`VmnetPort`](vmnet::VmnetPort) | one frame a packet, many packets a call | macOS, vmnet.framework |
//! | [`RelayPort`](vmnet::RelayPort) | one frame a datagram | ours, to root's helper on macOS |
//! | [`VhostUserPort`] | virtio_net_hdr, then the frame, in rings in the guest's memory | QEMU `docs/interop/vhost-user.rst` |
//!
//! The first two, and the relay, carry no vnet header, so their frames are whole and their checksums finished. A TAP belongs to a network
//! namespace that somebody makes and configures; [`create_tap`] and [`Interface`] are for who does.

mod decoder;
mod dgram;
mod interface;
mod listener;
mod owner;
mod stream;
mod sys;
mod tap;
pub mod vhost_user;
pub mod vmnet;

pub use decoder::{Decoder, LengthError, MAX_FRAME, MIN_FRAME};
pub use dgram::{Datagram, DgramPort, DgramSent};
pub use interface::Interface;
pub use listener::{ListenError, Listener, SocketFile};
pub use owner::{Owner, owner_of_inode};
pub use stream::{Progress, ReadError, StreamPort, Written};
pub use tap::{TapError, TapPort, attach_tap, create_tap};
pub use vhost_user::{VhostUserError, VhostUserPort};
