//! A network whose process may open few files.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[expect(dead_code, reason = "the other tests need more of it")]
mod kit;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use atoll_runtime::Network;
use kit::{ALIAS, Guest, options};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Far fewer than the flow table would hold.
const DESCRIPTORS: u64 = 160;

#[test]
fn a_guest_that_opens_all_it_can_leaves_another_what_it_needs() {
    let few = Rlimit {
        current: Some(DESCRIPTORS),
        maximum: Some(DESCRIPTORS),
    };
    setrlimit(Resource::Nofile, few).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (options, path) = options(dir.path());
    let _network = Network::start(options).unwrap();
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut greedy = Guest::stream(&path, 1).configured();
    sink.set_nonblocking(true).unwrap();
    let to = (ALIAS, sink.local_addr().unwrap().port());
    for port in (5000..).take(usize::try_from(2 * DESCRIPTORS).unwrap()) {
        let handle = greedy.bind_udp(port);
        greedy.udp(handle).send_slice(b"one more", to).unwrap();
        greedy.until(|_| sink.recv(&mut [0; 8]).ok());
    }

    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = (ALIAS, server.local_addr().unwrap().port());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        stream.write_all(&heard).unwrap();
    });
    let mut other = Guest::stream(&path, 2).configured();
    let handle = other.connect(to);
    assert_eq!(other.exchange(handle, b"hello"), b"hello");
    thread.join().unwrap();
}
