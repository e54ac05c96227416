//! What is dropped and counted before it opens anything: checksums, lengths, sources.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{IpProtocol, Seq};

use crate::bench::{A, ALIAS, GATEWAY, Guest, METADATA, Net, WORLD, echo, ip_frame, tcp, udp};

/// A frame of each kind that the gateway would act on.
fn good_frames() -> [Vec<u8>; 3] {
    let to = SocketAddr::new(WORLD, 80);
    let syn = Header {
        src_port: 5000,
        dst_port: 80,
        flags: Flags::SYN,
        seq: Seq(1),
        ..Header::default()
    };
    [
        ip_frame(A, WORLD, IpProtocol::Tcp, 64, tcp(A, to, &syn, b"")),
        ip_frame(A, WORLD, IpProtocol::Udp, 64, udp(A.at(5000), to, b"data")),
        ip_frame(A, WORLD, IpProtocol::Icmp, 64, echo(1, 1, b"data")),
    ]
}

/// Each frame, spoilt, is counted under this name once and does nothing else.
fn are_dropped(frames: &[Vec<u8>], counter: &str) {
    for frame in frames {
        let mut net = Net::new();
        net.send_frame(A, frame);
        net.hears_nothing(A);
        net.asks_nothing();
        assert!(net.flows().is_empty());
        assert_eq!(net.counter(counter), 1, "{frame:x?}");
    }
}

#[test]
fn the_good_frames_of_these_tests_open_flows() {
    for frame in good_frames() {
        let mut net = Net::new();
        net.send_frame(A, &frame);
        assert_eq!(net.flows().len(), 1);
    }
}

#[test]
fn a_wrong_transport_checksum_is_dropped_and_counted() {
    are_dropped(
        &good_frames().map(|mut frame| {
            *frame.last_mut().unwrap() ^= 1;
            frame
        }),
        "bad_checksum",
    );
}

#[test]
fn a_wrong_header_checksum_is_dropped_and_counted() {
    are_dropped(
        &good_frames().map(|mut frame| {
            frame[14 + 8] ^= 1;
            frame
        }),
        "bad_checksum",
    );
}

/// Set bytes of the IPv4 header, its checksum made right again.
fn with_header(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[14 + at..14 + at + bytes.len()].copy_from_slice(bytes);
    let mut packet = atoll_wire::Ipv4Packet::new_unchecked(&mut frame[14..]);
    packet.fill_checksum();
    frame
}

#[test]
fn impossible_lengths_are_dropped_and_counted() {
    let longer = |frame: Vec<u8>| with_header(frame, 2, &[5, 0xdc]);
    are_dropped(&good_frames().map(longer), "malformed");
    let cut = |mut frame: Vec<u8>| {
        frame.truncate(14 + 20 + 4);
        with_header(frame, 2, &[0, 24])
    };
    are_dropped(&good_frames().map(cut), "malformed");
    let not_ip = |frame: Vec<u8>| frame[..20].to_vec();
    are_dropped(&good_frames().map(not_ip), "malformed");
    let [tcp, udp, _] = good_frames();
    let mut short_header = tcp.clone();
    short_header[14 + 20 + 12] = 0x40;
    let mut long_header = tcp;
    long_header[14 + 20 + 12] = 0xf0;
    let mut short_datagram = udp.clone();
    short_datagram[14 + 20 + 5] = 7;
    let mut long_datagram = udp;
    long_datagram[14 + 20 + 5] = 200;
    are_dropped(
        &[short_header, long_header, short_datagram, long_datagram],
        "malformed",
    );
}

#[test]
fn a_runt_is_counted() {
    are_dropped(&[vec![0xff; 13]], "malformed");
}

#[test]
fn sources_that_are_no_guests_are_dropped_and_counted() {
    for src in [
        GATEWAY,
        ALIAS,
        METADATA,
        WORLD,
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, 255)),
    ] {
        let liar = Guest { ip: src, ..A };
        let to = SocketAddr::new(WORLD, 80);
        let syn = Header {
            src_port: 5000,
            dst_port: 80,
            flags: Flags::SYN,
            ..Header::default()
        };
        are_dropped(
            &[
                ip_frame(liar, WORLD, IpProtocol::Tcp, 64, tcp(liar, to, &syn, b"")),
                ip_frame(liar, WORLD, IpProtocol::Udp, 64, udp(liar.at(5000), to, b"")),
                ip_frame(liar, WORLD, IpProtocol::Icmp, 64, echo(1, 1, b"")),
            ],
            "bad_source_address",
        );
    }
}

#[test]
fn an_ethertype_that_nobody_speaks_is_counted_when_it_is_for_the_gateway() {
    let [mut frame, ..] = good_frames();
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    are_dropped(&[frame], "unknown_protocol");
}
