//! From which address each client of a forward is to be answered.
//!
//! A socket at `0.0.0.0` or `::` hears clients at every address of the host. Left alone, the kernel answers from the address that
//! the route back prefers, which need not be the one that the client spoke to; then the client, or a firewall before it, takes
//! the answer for a stranger's. So the kernel is asked to which address each datagram went (`IP_PKTINFO`, ip(7)), and that is
//! what the next answer to the same client leaves from.
//!
//! **Bounds.** Two generations of at most [`GENERATION`] clients: when the young one is full it becomes the old one, and the old one
//! is forgotten. Who is forgotten is answered as the kernel likes, until the client's next datagram.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::sys::Local;

/// Clients in one generation.
const GENERATION: usize = 4096;

/// The clients of one socket, and the address that each spoke to last.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    young: HashMap<SocketAddr, Local>,
    old: HashMap<SocketAddr, Local>,
}

impl Answers {
    /// A client spoke to this address.
    pub(crate) fn remember(&mut self, client: SocketAddr, local: Local) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&client) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(client, local);
    }

    /// The address is of no use any more: the host may have lost it. `false` when none was known.
    pub(crate) fn forget(&mut self, client: SocketAddr) -> bool {
        let (young, old) = (self.young.remove(&client), self.old.remove(&client));
        young.or(old).is_some()
    }

    /// Where a client is answered from.
    pub(crate) fn to(&self, client: SocketAddr) -> Option<Local> {
        self.young.get(&client).or_else(|| self.old.get(&client)).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(number: usize) -> SocketAddr {
        let bits = u32::try_from(number).unwrap();
        (Ipv4Addr::from_bits(bits), 53).into()
    }

    fn local(last: u8) -> Local {
        Local {
            address: Ipv4Addr::new(192, 0, 2, last).into(),
            link: 0,
        }
    }

    #[test]
    fn a_client_is_answered_from_the_address_that_it_spoke_to_last() {
        let mut answers = Answers::default();
        answers.remember(client(1), local(1));
        answers.remember(client(1), local(2));
        assert_eq!(answers.to(client(1)), Some(local(2)));
        assert_eq!(answers.to(client(2)), None);
        assert!(answers.forget(client(1)) && !answers.forget(client(1)));
    }

    #[test]
    fn many_clients_push_out_those_that_are_silent_and_nobody_else() {
        let mut answers = Answers::default();
        for number in 0..10 * GENERATION {
            answers.remember(client(number), local(1));
            answers.remember(client(0), local(2));
            assert!(answers.young.len() + answers.old.len() <= 2 * GENERATION);
        }
        assert_eq!(answers.to(client(0)), Some(local(2)));
        assert_eq!(answers.to(client(1)), None);
    }
}
