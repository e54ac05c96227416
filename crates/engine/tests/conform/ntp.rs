//! The time server at the gateway.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use atoll_engine::{Action, ClockReading, ClockState, Event, Leap, TimeServer};

use crate::bench::{A, ALIAS, GATEWAY, Guest, Heard, Net};
use crate::bench6::{A6, GATEWAY6, LINK_LOCAL, net};

const READING: ClockReading = ClockReading {
    since_1970: Duration::from_secs(1_795_521_600),
    state: ClockState::Kept {
        max_error: Duration::from_millis(5),
    },
    leap: Leap::None,
};

/// A client's request, as long as can be without extensions.
fn request() -> Vec<u8> {
    let mut message = vec![0; 48];
    message[0] = 0o43;
    message[40..].copy_from_slice(b"transmit");
    message
}

/// Asks, lets the runtime read the clock, and gives what comes back from where it was asked.
fn ask(net: &mut Net, guest: Guest, server: IpAddr) -> Option<Vec<u8>> {
    net.heard(guest);
    net.send_udp(guest, 4000, SocketAddr::new(server, 123), &request());
    for action in net.actions() {
        if let Action::ReadClock(question) = action {
            let reading = READING;
            net.event(Event::ClockRead { question, reading });
        }
    }
    net.heard(guest).into_iter().find_map(|heard| match heard {
        Heard::Udp { src, dst, payload } => {
            assert_eq!((src, dst), (SocketAddr::new(server, 123), guest.at(4000)));
            Some(payload)
        }
        _ => None,
    })
}

#[test]
fn the_gateway_tells_the_time_at_its_addresses_of_either_family() {
    let mut net = net();
    for (guest, server) in [(A, GATEWAY), (A6, GATEWAY6), (A6, LINK_LOCAL)] {
        let answer = ask(&mut net, guest, server).unwrap();
        assert_eq!(answer.len(), 48, "{server}");
        assert_eq!(&answer[24..32], b"transmit", "{server}");
        assert_eq!(answer[40..44], 4_004_510_400_u32.to_be_bytes(), "{server}");
    }
}

#[test]
fn the_host_alias_is_no_time_server() {
    assert_eq!(ask(&mut net(), A, ALIAS), None);
}

#[test]
fn a_server_that_is_off_is_a_closed_port() {
    let mut net = Net::with(|config| config.time_server = TimeServer::Off);
    net.send_udp(A, 4000, SocketAddr::new(GATEWAY, 123), &request());
    assert!(matches!(net.hears(A), Heard::Icmp(icmp) if icmp.code == 3));
}
