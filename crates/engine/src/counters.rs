//! What was counted: one number for each thing that can go otherwise than asked.

/// Declares [`Counter`] with the name under which each is shown.
macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A thing that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Counter { $($(#[$doc])* $variant,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

counters! {
    /// Frame shorter than its headers say, or with impossible fields.
    Malformed = "malformed",
    /// IPv4, TCP, UDP or ICMP checksum is wrong, or missing over IPv6.
    BadChecksum = "bad_checksum",
    /// Source MAC address is a group, zero, or the gateway's own.
    BadSourceMac = "bad_source_mac",
    /// IP source is not an address for a guest of the network.
    BadSourceAddress = "bad_source_address",
    /// Packets put together from fragments.
    Reassembled = "reassembled",
    /// Fragments that make no sense, by themselves or with others.
    ReassemblyFailed = "reassembly_failed",
    /// Packets of which fragments were missing when their time was up.
    ReassemblyTimeout = "reassembly_timeout",
    /// IPv6 extension header or option that cannot be taken; its sender is told where that is due.
    HeaderProblem = "ipv6_header_problem",
    /// Router advertisements sent.
    RouterAdvertisement = "router_advertisement",
    /// Neither ARP nor IP of a family that the network has, for the gateway; or a transport that it does not speak.
    UnknownProtocol = "unknown_protocol",
    /// Destination that never becomes a host socket.
    Forbidden = "destination_forbidden",
    /// Frame between guests of an isolated network, or of two groups.
    Isolated = "isolated",
    /// Frame in the name of another guest, where the network is isolated or has anti-spoofing, or by an uplink in the name of a
    /// guest or of the gateway.
    Spoofed = "spoofed",
    /// Frame of a VLAN where the network carries none.
    VlanRefused = "vlan_refused",
    /// Frame lost at a full egress queue.
    EgressDropped = "egress_dropped",
    /// MAC address forgotten because its port brought too many.
    MacEvicted = "mac_evicted",
    /// Packet lost because its receiver did not answer ARP or neighbor discovery.
    Unresolved = "neighbor_unresolved",
    /// TCP flows opened.
    TcpOpened = "tcp_opened",
    /// UDP flows opened.
    UdpOpened = "udp_opened",
    /// ICMP flows opened.
    IcmpOpened = "icmp_opened",
    /// Flows that went to make room.
    FlowEvicted = "flow_evicted",
    /// Segment outside the window or otherwise unacceptable.
    TcpUnacceptable = "tcp_unacceptable",
    /// Challenge acknowledgements (RFC 5961).
    TcpChallenge = "tcp_challenge_ack",
    /// Segments to guests sent again.
    TcpRetransmit = "tcp_retransmit",
    /// Retransmission timeouts towards guests.
    TcpTimeout = "tcp_timeout",
    /// Probes for a lost tail towards guests.
    TcpTailProbe = "tcp_tail_probe",
    /// Segments that arrived out of order and were kept.
    TcpOutOfOrder = "tcp_out_of_order",
    /// Segments dropped because the out-of-order store was full.
    TcpOutOfOrderFull = "tcp_out_of_order_full",
    /// Segments not kept because the guest's flows hold too much for hosts that take nothing.
    TcpHeldFull = "tcp_held_full",
    /// Flags that no honest segment has.
    TcpNonsense = "tcp_nonsense_flags",
    /// Host datagram that no guest may see (larger than the link, or from an address that is not the sender's to use).
    HostDatagramDropped = "host_datagram_dropped",
    /// Datagram of a guest's that the host's kernel had no room for.
    HostSendDropped = "host_send_dropped",
    /// Datagram for a guest that the host's kernel had no room for.
    HostReceiveDropped = "host_receive_dropped",
    /// Packets passed on to a guest that knows the way.
    Relayed = "relayed",
    /// Packets of guests' that went on to a joined network.
    Routed = "routed",
    /// Packet to or from a joined network that is of no conversation, and may not begin one.
    RouteRefused = "route_refused",
    /// Packet from a joined network that is larger than this one's packets may be.
    RouteTooBig = "route_too_big",
    /// Packet for a joined network that does not run.
    RouteLost = "route_lost",
    /// Time to live or hop limit ran out at the gateway.
    TtlExceeded = "ttl_exceeded",
    /// Packet that a rule of the policy denies.
    DeniedByRule = "denied_by_rule",
    /// Packet that no rule allows.
    DeniedByDefault = "denied_by_default",
    /// Packet to the host's own addresses that a rule denies.
    DeniedHost = "denied_host",
    /// Packet to a private address that has an allowed name.
    DeniedNameOfPrivate = "denied_name_of_private",
    /// Packet out of a network without an outside.
    DeniedInternal = "denied_internal",
    /// Datagram or echo reply from whom the guest may not speak to.
    DeniedReply = "denied_reply",
    /// Packet that would have opened more flows in a second than its port may.
    LimitedNewFlows = "limited_new_flows",
    /// Flow that made room for another of its port, which has as many as it may.
    LimitedFlows = "limited_flows",
    /// Frame of a port that sent more packets than it may.
    LimitedPackets = "limited_packets",
    /// Frame of a port that sent more bytes than it may.
    LimitedBytesFrom = "limited_bytes_from",
    /// Frame for a port that gets more bytes than it may.
    LimitedBytesTo = "limited_bytes_to",
}

/// All counters.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    values: [u64; NAMES.len()],
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            values: [0; NAMES.len()],
        }
    }

    pub(crate) fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    pub(crate) fn add(&mut self, counter: Counter, times: u64) {
        let value = &mut self.values[counter as usize];
        *value = value.saturating_add(times);
    }

    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        NAMES.iter().copied().zip(self.values).collect()
    }

    #[cfg(test)]
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }
}
