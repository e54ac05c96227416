//! What a network does, through the engine's surface only: raw frames in, parsed frames out, a host that the test plays.

#![expect(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod bench;
mod bench6;
mod connection;

mod anti_spoof;
mod arp;
mod datagrams;
mod dial;
mod dropped;
mod fragments;
mod hops;
mod host_ports;
mod icmp;
mod ipv6;
mod ipv6_errors;
mod joined;
mod limits;
mod listening;
mod ndp;
mod ntp;
mod policy;
mod relay;
mod router;
mod services6;
mod source;
mod switching;
mod tcp_held;
mod tcp_inbound;
mod tcp_loss;
mod tcp_services;
mod tcp_setup;
mod tcp_teardown;
mod tcp_to_guest;
mod tcp_to_host;
mod udp;
mod uplinks;
mod uplinks_hostile;
mod uplinks_pinned;
mod uplinks_routed;
mod vlans;
