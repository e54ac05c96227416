//! Atoll once more, to tell what a change costs or what a policy does.
//!
//! | peer | what it is |
//! |---|---|
//! | `atoll-before`, `atoll-tap-before`, `bridged-tap-before` | the atoll that `--before` names, in the place of `atoll`, `atoll-tap`, `bridged-tap` |
//! | `atoll-policy`, `atoll-tap-policy` | `atoll` and `atoll-tap` with [`POLICY`] |

use std::rc::Rc;

use crate::error::BenchError;
use crate::lab::Scratch;
use crate::peers::{Cell, Kind, Peer, Request};

pub(crate) const ATOLL_BEFORE: &str = "atoll-before";
pub(crate) const ATOLL_TAP_BEFORE: &str = "atoll-tap-before";
pub(crate) const BRIDGED_TAP_BEFORE: &str = "bridged-tap-before";
pub(crate) const ATOLL_POLICY: &str = "atoll-policy";
pub(crate) const ATOLL_TAP_POLICY: &str = "atoll-tap-policy";

/// A bit of everything: own addresses only, rules by network, port and name of which the last one matches, limits too wide to be met.
pub(crate) const POLICY: [&str; 11] = [
    "--anti-spoof",
    "--deny",
    "203.0.113.0/24",
    "--deny",
    "any:25/tcp",
    "--deny",
    "*.example.com",
    "--allow",
    "any",
    "--limit",
    "bandwidth=100G,packets=100M,flows=100k,new-flows=100k",
];

/// A peer by another name, of the kind that is measured where this says something.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    pub(crate) peer: Rc<dyn Peer>,
}

impl Peer for Variant {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> Kind {
        match self.peer.kind() {
            Kind::Bridged => Kind::Bridged,
            _ => Kind::Variant,
        }
    }

    fn version(&self) -> Result<String, BenchError> {
        self.peer.version()
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        self.peer.start(request, scratch)
    }
}
