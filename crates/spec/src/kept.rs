//! MACs and addresses that machines had before and keep.
//!
//! They are derived from the file, so that a cluster is the same everywhere; where two hashes meet, the one that comes later in
//! the file gives way, and a machine put before another could move it. So one that was brought up once keeps what it had, as long as
//! the file gives it nothing else, gives it to nobody else, and the network still has it.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use crate::choices::Kept;
use crate::cluster::Network;
use crate::mac::Mac;

/// What is not free.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) macs: HashSet<Mac>,
    /// Of each network, in the order of the cluster.
    pub(crate) addresses: Vec<HashSet<Ipv4Addr>>,
}

/// A NIC, and what the file leaves open of it.
#[derive(Debug)]
pub(crate) struct Wanting<'a> {
    pub(crate) machine: &'a str,
    pub(crate) index: usize,
    /// Its network's place in the cluster.
    pub(crate) place: usize,
    pub(crate) network: &'a Network,
    pub(crate) mac: bool,
    pub(crate) address: bool,
}

/// What a NIC had and keeps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Had {
    pub(crate) mac: Option<Mac>,
    pub(crate) address: Option<Ipv4Addr>,
}

/// What each NIC keeps, by machine and place. It is taken then, and so is what machines had that the file has no longer: they may
/// still run.
pub(crate) fn find<'w>(
    kept: &[Kept],
    wanting: &[Wanting<'w>],
    taken: &mut Taken,
) -> HashMap<(&'w str, usize), Had> {
    let mut found = HashMap::new();
    for kept in kept {
        let wants = wanting
            .iter()
            .find(|it| it.machine == kept.machine && it.index == kept.index);
        let Some(wants) = wants else {
            let on_it = wanting.iter().find(|it| it.network.name.as_str() == kept.network);
            if let Some((address, network)) = kept.address.zip(on_it) {
                taken.addresses[network.place].insert(address);
            }
            taken.macs.insert(kept.mac);
            continue;
        };
        let is_there = wants.network.name.as_str() == kept.network;
        let fits = |address: &Ipv4Addr| {
            let subnet = wants.network.subnet;
            subnet.is_some_and(|it| it.contains(*address) && it.reserved_for(*address).is_none())
        };
        let address = kept
            .address
            .filter(|address| wants.address && is_there && fits(address));
        let had = Had {
            mac: Some(kept.mac).filter(|mac| wants.mac && is_there && taken.macs.insert(*mac)),
            address: address.filter(|address| taken.addresses[wants.place].insert(*address)),
        };
        found.insert((wants.machine, wants.index), had);
    }
    found
}
