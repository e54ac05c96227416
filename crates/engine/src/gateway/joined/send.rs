//! What the gateway sends because of a joined network: there, and to guests here.

use std::net::IpAddr;

use atoll_wire::{FrameBuf, Offload};

use super::RoutedPacket;
use crate::action::Action;
use crate::counters::Counter;
use crate::lan::{Lan, ethertype};
use crate::{Instant, JoinId};

impl Lan {
    /// An error of the gateway's about a packet that came from another network.
    #[cold]
    pub(crate) fn send_to_joined(&mut self, to: JoinId, (packet, offload): (FrameBuf, Offload)) {
        let packet = RoutedPacket {
            packet,
            offload,
            origin: u32::MAX,
            was_cut: false,
        };
        self.actions.push_back(Action::Route { to, packet });
    }

    /// Send a packet that came from another network to a guest. So many wait for guests that are asked for.
    pub(crate) fn send_routed(
        &mut self,
        now: Instant,
        dst: IpAddr,
        packet: (FrameBuf, Offload),
        origin: (JoinId, u32),
    ) {
        if let Some(mac) = self.reachable(now, dst) {
            return self.send_ethernet(now, mac, ethertype(dst), packet);
        }
        match self.neighbors.try_wait_for(now, dst, packet, origin) {
            Ok(true) => self.ask_for(now, dst),
            Ok(false) => {}
            Err(()) => self.counters.count(Counter::Unresolved),
        }
    }
}
