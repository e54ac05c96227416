//! What can go wrong, an enum an operation.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::{ForwardId, ListenAt, Protocol};

pub use atoll_ports::ListenError;

/// Why a network did not start. Nothing is left open or on disk.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A guests' socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A forward.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The capture file.
    #[error("cannot write the capture file {}: {source}", path.display())]
    Capture {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder of a TFTP server.
    #[error("cannot serve the folder {}: {source}", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state folder.
    #[error("cannot use the state folder {}: {source}", path.display())]
    State {
        /// Which folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another network keeps its state there.
    #[error("the state folder {} is in use by the network of process {owner}", path.display())]
    StateInUse {
        /// Which folder.
        path: PathBuf,
        /// The id of its process.
        owner: String,
    },
    /// The way to the host's LAN.
    #[error("{why}")]
    Uplink {
        /// One sentence.
        why: String,
        /// What the reader can do about it.
        hint: Option<String>,
    },
    /// The configuration contradicts itself, as the engine says.
    #[error("{0}")]
    Config(String),
    /// The event loop itself.
    #[error("cannot start the event loop: {0}")]
    Loop(#[source] io::Error),
}

impl StartError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen(error) => error.hint(),
            Self::Forward(error) => error.hint(),
            Self::Uplink { hint, .. } => hint.clone(),
            Self::StateInUse { .. } => {
                Some("give each network a folder of its own, or end that one".to_owned())
            }
            _ => None,
        }
    }
}

/// Why a forward was not made or removed; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Somebody listens there already.
    #[error("{protocol} port {listen} is taken{}", owner.as_ref().map(|owner| format!(" by {owner}")).unwrap_or_default())]
    Taken {
        /// TCP or UDP.
        protocol: Protocol,
        /// The host's address and port.
        listen: SocketAddr,
        /// Who has it, when the system tells: command and process id.
        owner: Option<String>,
    },
    /// The port is one that only root may bind.
    #[error("{protocol} port {listen} may not be bound by this user")]
    Forbidden {
        /// TCP or UDP.
        protocol: Protocol,
        /// The host's address and port.
        listen: SocketAddr,
    },
    /// The address is none of the host's.
    #[error("{} is no address of this host", listen.ip())]
    NoSuchAddress {
        /// The host's address and port.
        listen: SocketAddr,
    },
    /// Anything else the system said.
    #[error("cannot listen on {protocol} port {listen}: {source}")]
    Bind {
        /// TCP or UDP.
        protocol: Protocol,
        /// The host's address and port.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A unix socket.
    #[error(transparent)]
    Socket(#[from] ListenError),
    /// A unix socket for datagrams.
    #[error("a unix socket cannot carry UDP")]
    NoDatagrams,
    /// Another forward of this network has it.
    #[error("{protocol} {listen} leads to {there} already, and cannot lead to {wanted}")]
    Clash {
        /// TCP or UDP.
        protocol: Protocol,
        /// Where both would listen.
        listen: ListenAt,
        /// Where the one that is there leads.
        there: String,
        /// Where the other one would lead.
        wanted: String,
    },
    /// The guest cannot be one of this network's.
    #[error("{0}")]
    Guest(String),
    /// No forward has this id.
    #[error("there is no forward {}", .0.0)]
    Unknown(ForwardId),
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

impl ForwardError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Socket(error) => error.hint(),
            Self::NoDatagrams => Some("forward TCP, or listen at a port".to_owned()),
            Self::Taken { .. } | Self::Clash { .. } => {
                Some("choose another host port, or 0 to let the system choose".to_owned())
            }
            Self::Forbidden { .. } => Some("choose a host port above 1023".to_owned()),
            Self::NoSuchAddress { listen } if listen.is_ipv6() => {
                Some("use [::1] or [::], or IPv4 where the host has no IPv6".to_owned())
            }
            Self::NoSuchAddress { listen } if listen.ip().is_loopback() => Some(format!(
                "macOS has 127.0.0.1 alone: `sudo ifconfig lo0 alias {}` adds this one until the next start, or do without loopback",
                listen.ip()
            )),
            Self::NoSuchAddress { .. } => Some("use 127.0.0.1 or 0.0.0.0".to_owned()),
            _ => None,
        }
    }
}

/// Why a running network did not do as asked; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
    /// A guests' socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No guests' socket has this path.
    #[error("no guest can attach at {}", .0.display())]
    NotListening(PathBuf),
    /// It contradicts the network's configuration, as the engine says.
    #[error("{0}")]
    Refused(String),
}
