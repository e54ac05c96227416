//! The host's own addresses, for a policy that speaks of them.
//!
//! They are looked at before a turn of the loop handles what came, once a second at most: nothing wakes up for it, and an address that the
//! host got is known a second later at the latest. Networks whose policy does not ask for them look at nothing. Where the system does not tell,
//! those of the last look hold.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use atoll_engine::Policy;

use crate::sys;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What we know of the host.
#[derive(Debug)]
pub(crate) struct HostAddresses {
    wanted: bool,
    looked: Option<Instant>,
    addresses: Vec<IpAddr>,
}

impl HostAddresses {
    /// For a network with this policy.
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            wanted: policy.needs_host_addresses(),
            looked: None,
            addresses: Vec::new(),
        }
    }

    /// The addresses, if they changed since the last look.
    pub(crate) fn changed(&mut self) -> Option<Vec<IpAddr>> {
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if !self.wanted || !is_due {
            return None;
        }
        self.looked = Some(Instant::now());
        match sys::host_addresses() {
            Ok(addresses) if addresses != self.addresses => {
                self.addresses.clone_from(&addresses);
                Some(addresses)
            }
            Ok(_) => None,
            Err(error) => {
                tracing::debug!("the host's addresses are not known: {error}");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_told_when_they_changed_and_only_to_whom_they_matter() {
        let mut nobody = HostAddresses::new(&Policy::default());
        assert_eq!(nobody.changed(), None);
        let mut wanted = HostAddresses {
            wanted: true,
            looked: None,
            addresses: Vec::new(),
        };
        assert!(wanted.changed().is_some_and(|addresses| !addresses.is_empty()));
        wanted.looked = None;
        assert_eq!(wanted.changed(), None);
    }
}
