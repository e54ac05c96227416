//! Guests on a running network, with real sockets of the host at the other end.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod kit;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread::JoinHandle;

use atoll_runtime::{
    ForwardError, ForwardSpec, GuestTarget, ListenSpec, Manner, Network, NetworkOptions, Prefix, Protocol,
    RequestError, StartError, Transport,
};
use kit::{ALIAS, GATEWAY, Guest, SUBNET, options};
use smoltcp::socket::tcp;

/// A server on the host's loopback that sends back what it reads, and the end after it.
fn echo_server() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut writer = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut writer).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    (port, thread)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

#[test]
fn a_guest_gets_an_address_and_talks_to_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let (options, path) = options(dir.path());
    let network = Network::start(options).unwrap();
    let (port, server) = echo_server();
    let mut guest = Guest::stream(&path, 1).configured();
    let handle = guest.connect((ALIAS, port));
    let data = pattern(1_000_000);
    assert!(guest.exchange(handle, &data) == data);
    server.join().unwrap();
    let picture = network.handle().snapshot().unwrap();
    assert_eq!(picture.ports.len(), 1);
    assert_eq!(picture.ports[0].macs, ["52:54:00:00:00:01"]);
    assert_eq!(picture.leases[0].address, guest.address.unwrap());
}

#[test]
fn a_closed_port_of_the_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (options, path) = options(dir.path());
    let _network = Network::start(options).unwrap();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let mut guest = Guest::stream(&path, 1).configured();
    let handle = guest.connect((ALIAS, port));
    guest.until(|guest| (guest.tcp(handle).state() == tcp::State::Closed).then_some(()));
}

#[test]
fn the_host_loopback_is_refused_unless_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, path) = options(dir.path());
    options.host_loopback = false;
    let _network = Network::start(options).unwrap();
    let open = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    open.set_nonblocking(true).unwrap();
    let mut guest = Guest::stream(&path, 1).configured();
    let handle = guest.connect((ALIAS, open.local_addr().unwrap().port()));
    guest.until(|guest| (guest.tcp(handle).state() == tcp::State::Closed).then_some(()));
    open.accept().unwrap_err();
}

#[test]
fn a_reset_of_the_host_is_a_reset_for_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let (options, path) = options(dir.path());
    let _network = Network::start(options).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut guest = Guest::stream(&path, 1).configured();
    let handle = guest.connect((ALIAS, listener.local_addr().unwrap().port()));
    guest.until(|guest| guest.tcp(handle).may_send().then_some(()));
    guest.tcp(handle).send_slice(b"unread").unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    guest.until(|_| {
        stream
            .peek(&mut [0; 6])
            .is_ok_and(|count| count == 6)
            .then_some(())
    });
    // Closing with data unread makes Linux send RST.
    stream.read_exact(&mut [0]).unwrap();
    drop(stream);
    guest.until(|guest| (guest.tcp(handle).state() == tcp::State::Closed).then_some(()));
}

#[test]
fn datagrams_reach_the_host_and_its_answers_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let (options, path) = options(dir.path());
    let _network = Network::start(options).unwrap();
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    let mut guest = Guest::stream(&path, 1).configured();
    let handle = guest.bind_udp(5000);
    guest.udp(handle).send_slice(b"question", (ALIAS, port)).unwrap();
    let mut buf = [0; 100];
    let (len, from) = guest.until(|_| server.recv_from(&mut buf).ok());
    assert_eq!(&buf[..len], b"question");
    server.send_to(b"answer", from).unwrap();
    let (len, meta) = guest.until(|guest| guest.udp(handle).recv_slice(&mut buf).ok());
    assert_eq!(&buf[..len], b"answer");
    assert_eq!(meta.endpoint, (ALIAS, port).into());
}

fn forward(protocol: Protocol, guest: Ipv4Addr, guest_port: u16) -> ForwardSpec {
    ForwardSpec {
        protocol,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
        guest: GuestTarget::Address(guest.into()),
        guest_port,
        manner: Manner::default(),
    }
}

#[test]
fn a_forward_leads_connections_to_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let (options, path) = options(dir.path());
    let network = Network::start(options).unwrap();
    let mut guest = Guest::stream(&path, 1).configured();
    let spec = forward(Protocol::Tcp, guest.address.unwrap(), 22);
    let info = network.handle().add_forward(spec).unwrap();
    let listen = info.listen.address().unwrap();
    assert_ne!(listen.port(), 0);
    let handle = guest.listen(22);
    let data = pattern(300_000);
    let expected = data.clone();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(info.listen.address().unwrap()).unwrap();
        let mut reader = stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            stream.write_all(&data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        writer.join().unwrap();
        got
    });
    guest.until(|guest| guest.tcp(handle).may_send().then_some(()));
    let got = guest.exchange(handle, b"welcome");
    assert!(got == expected);
    guest.until(|_| client.is_finished().then_some(()));
    assert_eq!(client.join().unwrap(), b"welcome");
}

#[test]
fn a_forward_carries_datagrams_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let (options, path) = options(dir.path());
    let network = Network::start(options).unwrap();
    let mut guest = Guest::stream(&path, 1).configured();
    let spec = forward(Protocol::Udp, guest.address.unwrap(), 53);
    let info = network.handle().add_forward(spec).unwrap();
    let handle = guest.bind_udp(53);
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_nonblocking(true).unwrap();
    client
        .send_to(b"question", info.listen.address().unwrap())
        .unwrap();
    let mut buf = [0; 100];
    let (len, meta) = guest.until(|guest| guest.udp(handle).recv_slice(&mut buf).ok());
    assert_eq!(&buf[..len], b"question");
    guest.udp(handle).send_slice(b"answer", meta.endpoint).unwrap();
    let (len, from) = guest.until(|_| client.recv_from(&mut buf).ok());
    assert_eq!(
        (&buf[..len], from),
        (&b"answer"[..], info.listen.address().unwrap())
    );
}

#[test]
fn a_guest_that_breaks_the_framing_is_closed_and_its_neighbour_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (options, path) = options(dir.path());
    let network = Network::start(options).unwrap();
    let mut good = Guest::stream(&path, 1).configured();
    let mut bad = Guest::stream(&path, 2).configured();
    bad.nic.send_raw(&[0xff; 4]);
    bad.until(|guest| guest.nic.closed.then_some(()));
    let (port, server) = echo_server();
    let handle = good.connect((ALIAS, port));
    assert_eq!(good.exchange(handle, b"still here"), b"still here");
    server.join().unwrap();
    assert_eq!(network.handle().snapshot().unwrap().ports.len(), 1);
}

#[test]
fn a_guest_that_reads_late_gets_all_that_waited_each_time() {
    const FRAMES: u16 = 2000;
    let dir = tempfile::tempdir().unwrap();
    let (options, path) = options(dir.path());
    let _network = Network::start(options).unwrap();
    let mut late = Guest::stream(&path, 1).configured();
    let mut sender = Guest::stream(&path, 2).configured();
    for round in 0..3_u8 {
        // More than the sockets of both hold: the rest waits in the network.
        for number in 0..FRAMES {
            let addresses = [0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2];
            let mut frame = [&addresses[..], &[0x88, 0xb5, round], &number.to_be_bytes()].concat();
            frame.resize(1500, 0);
            sender.nic.send(&frame);
        }
        // Whatever was sent before this question has been handled when the answer is there.
        let question = sender.connect((GATEWAY, 9));
        sender.until(|sender| (!sender.tcp(question).is_open()).then_some(()));
        let mut numbers = Vec::new();
        while numbers.len() < usize::from(FRAMES) {
            let ours = late.nic.receive_some();
            let ours = ours.filter(|frame| frame[12..15] == [0x88, 0xb5, round]);
            numbers.extend(ours.map(|frame| u16::from_be_bytes([frame[15], frame[16]])));
        }
        assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>());
    }
}

#[test]
fn a_datagram_guest_and_a_stream_guest_are_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, path) = options(dir.path());
    let dgram = dir.path().join("dgram.sock");
    options.listeners.push(ListenSpec {
        transport: Transport::QemuDgram,
        path: dgram.clone(),
        label: None,
    });
    let _network = Network::start(options).unwrap();
    let mut a = Guest::stream(&path, 1).configured();
    let mut b = Guest::dgram(&dgram, &dir.path().join("b.sock"), 2).configured();
    assert_ne!(a.address, b.address);
    let server = b.listen(8000);
    let client = a.connect((b.address.unwrap(), 8000));
    a.until(|a| {
        b.step();
        a.tcp(client).may_send().then_some(())
    });
    a.tcp(client).send_slice(b"hello").unwrap();
    let mut buf = [0; 10];
    let got = a.until(|_| {
        b.step();
        let socket = b.tcp(server);
        socket.can_recv().then(|| socket.recv_slice(&mut buf).unwrap())
    });
    assert_eq!(&buf[..got], b"hello");
}

#[test]
fn the_end_leaves_no_socket_and_a_restart_keeps_the_lease() {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, path) = options(dir.path());
    options.state_dir = Some(dir.path().join("state"));
    let mut addresses = Vec::new();
    for last in [1, 2, 1] {
        let network = Network::start(options.clone()).unwrap();
        addresses.push(Guest::stream(&path, last).configured().address.unwrap());
        network.handle().shutdown();
        network.wait();
        assert!(!path.exists());
    }
    assert_eq!(addresses[0], addresses[2]);
    assert_ne!(
        addresses[0], addresses[1],
        "the first lease is remembered and not given away"
    );
}

#[test]
fn a_taken_host_port_names_its_owner_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, path) = options(dir.path());
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let spec = ForwardSpec {
        listen: taken.local_addr().unwrap().into(),
        ..forward(Protocol::Tcp, Ipv4Addr::new(10, 77, 0, 2), 22)
    };
    options.forwards.push(spec);
    let error = Network::start(options).unwrap_err();
    let sentence = error.to_string();
    assert!(
        matches!(error, StartError::Forward(ForwardError::Taken { .. })),
        "{sentence}"
    );
    assert!(
        sentence.contains(&taken.local_addr().unwrap().to_string()),
        "{sentence}"
    );
    assert!(
        sentence.contains(&format!("process {}", std::process::id())),
        "{sentence}"
    );
    assert!(!path.exists());
}

#[test]
fn a_forward_that_was_removed_frees_its_port() {
    let network = Network::start(NetworkOptions::new(SUBNET)).unwrap();
    let handle = network.handle();
    let spec = forward(Protocol::Tcp, Ipv4Addr::new(10, 77, 0, 2), 22);
    let info = handle.add_forward(spec).unwrap();
    assert_eq!(handle.forwards().unwrap(), std::slice::from_ref(&info));
    handle.remove_forward(info.id).unwrap();
    assert_eq!(handle.forwards().unwrap(), []);
    drop(TcpListener::bind(info.listen.address().unwrap()).unwrap());
    let error = handle.remove_forward(info.id).unwrap_err();
    assert!(
        matches!(error, ForwardError::Unknown(id) if id == info.id),
        "{error}"
    );
}

#[test]
fn sockets_come_and_go_while_the_network_runs() {
    let dir = tempfile::tempdir().unwrap();
    let network = Network::start(NetworkOptions::new(SUBNET)).unwrap();
    let handle = network.handle();
    let path: PathBuf = dir.path().join("late.sock");
    handle.listen_qemu(&path, Some("a")).unwrap();
    let mut guest = Guest::stream(&path, 1).configured();
    assert_eq!(handle.snapshot().unwrap().ports[0].label.as_deref(), Some("a"));
    handle.unlisten(&path).unwrap();
    guest.until(|guest| guest.nic.closed.then_some(()));
    assert!(!path.exists());
    assert_eq!(handle.snapshot().unwrap().ports, []);
    let error = handle.unlisten(&path).unwrap_err();
    assert!(matches!(error, RequestError::NotListening(_)), "{error}");
}

#[test]
fn a_forged_answer_does_not_take_the_place_of_the_resolvers() {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, path) = options(dir.path());
    let resolver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    resolver.set_nonblocking(true).unwrap();
    options.resolvers = Some(vec![resolver.local_addr().unwrap()]);
    let _network = Network::start(options).unwrap();
    let mut guest = Guest::stream(&path, 1).configured();
    let handle = guest.bind_udp(5000);
    let mut question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    question.extend(b"\x03www\x07example\x03org\x00\x00\x01\x00\x01");
    guest.udp(handle).send_slice(&question, (GATEWAY, 53)).unwrap();
    let mut buf = [0; 512];
    let (len, from) = guest.until(|_| resolver.recv_from(&mut buf).ok());
    let mut answer = buf[..len].to_vec();
    answer[2] |= 0x80;
    let mut forged = answer.clone();
    forged[0] ^= 1;
    for message in [&forged, &forged, &answer] {
        resolver.send_to(message, from).unwrap();
    }
    let (len, _) = guest.until(|guest| guest.udp(handle).recv_slice(&mut buf).ok());
    assert_eq!((len, &buf[..2], buf[3] & 15), (question.len(), &question[..2], 0));
    assert_eq!(
        resolver.recv_from(&mut buf).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn a_network_that_ended_says_so() {
    let network = Network::start(NetworkOptions::new(SUBNET)).unwrap();
    let handle = network.handle();
    handle.shutdown();
    network.wait();
    let error = handle.snapshot().unwrap_err();
    assert!(matches!(error, RequestError::Stopped), "{error}");
}

#[test]
fn a_capture_holds_every_frame_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut options, path) = options(dir.path());
    let file = dir.path().join("net.pcapng");
    options.pcap = Some(file.clone());
    let network = Network::start(options).unwrap();
    Guest::stream(&path, 1).configured();
    network.handle().shutdown();
    network.wait();
    let bytes = fs::read(file).unwrap();
    assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    // DISCOVER, OFFER, REQUEST, ACK: each holds the magic cookie of RFC 2131 once.
    let cookies = bytes
        .windows(4)
        .filter(|window| *window == [99, 130, 83, 99])
        .count();
    assert_eq!(cookies, 4);
}

#[test]
fn a_network_tells_its_addresses_of_each_family_that_it_has() {
    let prefix = Prefix {
        address: "fd77:77::".parse().unwrap(),
    };
    let both = Network::start(NetworkOptions::new((SUBNET, prefix))).unwrap();
    let picture = both.handle().snapshot().unwrap();
    assert_eq!(picture.subnet.as_deref(), Some("10.77.0.0/24"));
    assert_eq!(picture.host_alias, Some(ALIAS));
    assert_eq!(picture.ipv6.as_deref(), Some("fd77:77::/64"));
    assert_eq!(picture.gateway6, Some("fd77:77::1".parse().unwrap()));
    assert_eq!(picture.host_alias6, Some("fd77:77::fe".parse().unwrap()));
    let six = Network::start(NetworkOptions::new(prefix)).unwrap();
    let picture = six.handle().snapshot().unwrap();
    assert_eq!((picture.subnet, picture.gateway), (None, None));
    assert!(picture.ipv6.is_some());
}

#[test]
fn a_forward_of_ipv6_leaves_the_port_of_ipv4_free() {
    let network = Network::start(NetworkOptions::new(SUBNET)).unwrap();
    let forward = |listen: SocketAddr| {
        network.handle().add_forward(ForwardSpec {
            protocol: Protocol::Tcp,
            listen: listen.into(),
            guest: GuestTarget::Name("a".to_owned()),
            guest_port: 80,
            manner: Manner::default(),
        })
    };
    // Where the host has no IPv6 that is told, and nothing else is to be seen.
    let six = match forward("[::]:0".parse().unwrap()) {
        Ok(six) => six.listen.address().unwrap(),
        Err(error) => return assert!(matches!(error, ForwardError::NoSuchAddress { .. }), "{error}"),
    };
    let four = forward(SocketAddr::from((Ipv4Addr::UNSPECIFIED, six.port()))).unwrap();
    assert_eq!(four.listen.address().unwrap().port(), six.port());
    let again = forward(six).unwrap_err();
    assert!(matches!(again, ForwardError::Clash { .. }), "{again}");
}
