//! Guests that say at which ports they listen.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_engine::{Action, Command, Event, ForwardTarget, Listening, WatchId};
use atoll_wire::tcp::Header;

use crate::bench::{A, B, Guest, METADATA, Net};
use crate::bench6::{A6, introduce, net};
use crate::connection::{ISS, MODERN, Tcp, syn};

const WATCH: WatchId = WatchId(1);

fn watching(mut net: Net, guest: Guest) -> Net {
    net.command(Command::Watch {
        watch: WATCH,
        guest: ForwardTarget::Address(guest.ip),
    });
    net
}

/// A guest reports; what it is answered, and the network.
fn report(net: Net, guest: Guest, body: &str) -> (String, Net) {
    let mut tcp = Tcp::served(net, guest, SocketAddr::new(METADATA, 80));
    let request = format!(
        "PUT /atoll/ports HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tcp.send(request.as_bytes());
    let answer = String::from_utf8(tcp.receive_all()).unwrap();
    (answer, tcp.net)
}

/// What is told within a second.
fn told(net: &mut Net) -> Vec<Vec<Listening>> {
    net.wait(Duration::from_secs(1));
    let listening = |action| match action {
        Action::Listening { watch: WATCH, ports } => Some(ports),
        _ => None,
    };
    net.actions().into_iter().filter_map(listening).collect()
}

#[test]
fn a_report_is_told_to_who_watches_the_guest() {
    let (answer, mut net) = report(watching(Net::new(), A), A, "tcp 80\nudp 53\n");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(told(&mut net), [[Listening::Tcp(80), Listening::Udp(53)]]);
    net.event(Event::PortDetached(A.port));
    assert_eq!(told(&mut net), vec![Vec::new()]);
}

#[test]
fn a_guest_speaks_of_nobody_else() {
    let (answer, mut net) = report(watching(Net::new(), B), A, "tcp 80\n");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(told(&mut net).is_empty());
}

#[test]
fn a_report_over_ipv4_counts_for_the_guests_address_of_ipv6() {
    let mut net = net();
    introduce(&mut net, A6);
    let (_, mut net) = report(watching(net, A6), A, "tcp 80\n");
    assert_eq!(told(&mut net), [[Listening::Tcp(80)]]);
}

#[test]
fn without_a_watch_nothing_is_there() {
    let mut net = watching(Net::new(), A);
    net.command(Command::Unwatch(WATCH));
    let syn = Header {
        dst_port: 80,
        ..syn(ISS, MODERN)
    };
    net.send_tcp(A, SocketAddr::new(METADATA, 80), &syn, &[]);
    assert!(net.hears_tcp(A).header.flags.rst);
}
