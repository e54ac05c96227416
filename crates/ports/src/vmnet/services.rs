//! DHCP of the system's that cannot be turned off.
//!
//! In shared and host mode macOS serves DHCP, and two servers on one network are one too many. Before macOS 26 nothing turns it off;
//! but it only answers, so it is not asked: what guests say to DHCP servers does not leave by this port. That is a datagram of UDP to
//! port 67 (RFC 2131, 4.1) or 547 (RFC 8415, 7.2). Fragments of one are none, for no client sends any.

use atoll_wire::ipv6::IPV6_LEN;
use atoll_wire::packet::{ETHERNET_LEN, IPV4_LEN};

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const UDP: u8 = 17;
const SERVER4: [u8; 2] = 67_u16.to_be_bytes();
const SERVER6: [u8; 2] = 547_u16.to_be_bytes();

/// Whether a frame is what a client says to a DHCP server.
pub(super) fn is_for_dhcp_server(frame: &[u8]) -> bool {
    let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET_LEN) else {
        return false;
    };
    let (protocol, transport, server) = match ethernet.last_chunk() {
        Some(&IPV4) => {
            let words = packet.first().map_or(0, |byte| usize::from(byte & 0x0f));
            (packet.get(9), (words * 4).max(IPV4_LEN), SERVER4)
        }
        Some(&IPV6) => (packet.get(6), IPV6_LEN, SERVER6),
        _ => return false,
    };
    protocol == Some(&UDP) && packet.get(transport + 2..transport + 4) == Some(&server)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame of UDP to this port, with so many bytes of options before it.
    fn udp4(options: u8, port: u16) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[12..].copy_from_slice(&IPV4);
        frame.push(0x45 + options / 4);
        frame.extend([0; 8]);
        frame.push(UDP);
        frame.extend(vec![0; 10 + usize::from(options)]);
        frame.extend([0, 68]);
        frame.extend(port.to_be_bytes());
        frame.extend([0; 300]);
        frame
    }

    fn udp6(port: u16) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame[12..].copy_from_slice(&IPV6);
        frame.extend([0x60, 0, 0, 0, 0, 0, UDP, 1]);
        frame.extend([0; 32]);
        frame.extend([2, 34]);
        frame.extend(port.to_be_bytes());
        frame.extend([0; 100]);
        frame
    }

    #[test]
    fn what_clients_say_to_servers_is_known_and_nothing_else() {
        assert!(is_for_dhcp_server(&udp4(0, 67)));
        assert!(is_for_dhcp_server(&udp4(40, 67)));
        assert!(is_for_dhcp_server(&udp6(547)));
        for port in [53, 68, 546, 547] {
            assert!(!is_for_dhcp_server(&udp4(0, port)));
        }
        assert!(!is_for_dhcp_server(&udp6(67)));
        let mut tcp = udp4(0, 67);
        tcp[23] = 6;
        assert!(!is_for_dhcp_server(&tcp));
    }

    proptest! {
        #[test]
        fn no_frame_is_too_short_to_be_looked_at(frame in proptest::collection::vec(any::<u8>(), 0..80), len in 0_usize..80) {
            is_for_dhcp_server(&frame);
            let cut = udp4(0, 67);
            is_for_dhcp_server(&cut[..len]);
        }
    }
}
