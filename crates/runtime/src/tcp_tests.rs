//! Each way to peek shows the same bytes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::*;

fn methods() -> Vec<PeekMethod> {
    let mut methods = vec![PeekMethod::Skip, PeekMethod::Keep];
    if sys::peek_method(Family::V4) == PeekMethod::Offset {
        methods.push(PeekMethod::Offset);
    }
    methods
}

fn pair() -> (TcpStream, TcpSocket) {
    pair_at(Ipv4Addr::LOCALHOST.into()).unwrap()
}

fn pair_at(address: IpAddr) -> io::Result<(TcpStream, TcpSocket)> {
    let listener = TcpListener::bind((address, 0))?;
    let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    sender.set_nodelay(true).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    Ok((sender, TcpSocket::adopt(ours.into())))
}

/// Wait until `len` bytes, kept ones included, lie in the queue.
fn await_bytes(socket: &TcpSocket, len: u64) {
    while rustix::io::ioctl_fionread(&socket.fd).unwrap() + u64::try_from(socket.kept.len()).unwrap() < len {
        std::thread::yield_now();
    }
}

fn peek(
    socket: &mut TcpSocket,
    peeker: &mut Peeker,
    offset: u32,
    segment: u16,
    count: u16,
) -> (Vec<Vec<u8>>, bool) {
    let ask = PeekRequest {
        offset,
        segment,
        count,
    };
    let peeked = socket.peek(peeker, ask).unwrap();
    let segments = peeked.segments.iter().map(|segment| segment.payload().to_vec());
    (segments.collect(), peeked.end)
}

fn texts(segments: &[&[u8]]) -> Vec<Vec<u8>> {
    segments.iter().map(|segment| segment.to_vec()).collect()
}

#[test]
fn segments_are_full_but_the_last() {
    for method in methods() {
        let (mut sender, mut socket) = pair();
        let mut peeker = Peeker::with(method, method);
        sender.write_all(b"0123456789").unwrap();
        await_bytes(&socket, 10);
        let all = peek(&mut socket, &mut peeker, 0, 4, 8);
        assert_eq!(all, (texts(&[b"0123", b"4567", b"89"]), false), "{method:?}");
        let two = peek(&mut socket, &mut peeker, 3, 3, 2);
        assert_eq!(two, (texts(&[b"345", b"678"]), false), "{method:?}");
        let none = peek(&mut socket, &mut peeker, 10, 4, 8);
        assert_eq!(none, (vec![], false), "{method:?}");
    }
}

#[test]
fn offsets_count_from_the_first_byte_that_was_not_discarded() {
    for method in methods() {
        let (mut sender, mut socket) = pair();
        let mut peeker = Peeker::with(method, method);
        sender.write_all(b"0123456789").unwrap();
        await_bytes(&socket, 10);
        peek(&mut socket, &mut peeker, 0, 6, 1);
        socket.discard(&mut peeker, 4).unwrap();
        assert_eq!(
            peek(&mut socket, &mut peeker, 2, 9, 1).0,
            texts(&[b"6789"]),
            "{method:?}"
        );
        socket.discard(&mut peeker, 2).unwrap();
        sender.write_all(b"ab").unwrap();
        await_bytes(&socket, 6);
        assert_eq!(
            peek(&mut socket, &mut peeker, 4, 9, 1).0,
            texts(&[b"ab"]),
            "{method:?}"
        );
        assert_eq!(
            peek(&mut socket, &mut peeker, 0, 9, 1).0,
            texts(&[b"6789ab"]),
            "{method:?}"
        );
    }
}

#[test]
fn more_than_the_scratch_buffer_is_discarded() {
    for method in methods() {
        let (mut sender, mut socket) = pair();
        let mut peeker = Peeker::with(method, method);
        let writer = std::thread::spawn(move || {
            sender.write_all(&vec![7; 300_000]).unwrap();
            sender
        });
        let mut total = 0;
        while total < 300_000 {
            let (segments, _) = peek(&mut socket, &mut peeker, 0, 1460, 64);
            let bytes: usize = segments.iter().map(Vec::len).sum();
            socket
                .discard(&mut peeker, u32::try_from(bytes).unwrap())
                .unwrap();
            total += bytes;
        }
        assert_eq!(total, 300_000, "{method:?}");
        assert!(socket.kept.is_empty());
        drop(writer.join().unwrap());
    }
}

#[test]
fn the_end_is_told_with_the_last_bytes_or_after_them() {
    for method in methods() {
        let (mut sender, mut socket) = pair();
        let mut peeker = Peeker::with(method, method);
        sender.write_all(b"last").unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
        await_read_closed(&mut socket);
        assert_eq!(
            peek(&mut socket, &mut peeker, 0, 2, 1),
            (texts(&[b"la"]), false),
            "{method:?}"
        );
        assert_eq!(
            peek(&mut socket, &mut peeker, 0, 9, 1),
            (texts(&[b"last"]), true),
            "{method:?}"
        );
        assert_eq!(
            peek(&mut socket, &mut peeker, 4, 9, 1),
            (vec![], true),
            "{method:?}"
        );
        socket.discard(&mut peeker, 4).unwrap();
        assert_eq!(
            peek(&mut socket, &mut peeker, 0, 9, 1),
            (vec![], true),
            "{method:?}"
        );
    }
}

fn await_read_closed(socket: &mut TcpSocket) {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    poll.registry()
        .register(
            &mut SourceFd(&socket.fd.as_raw_fd()),
            Token(0),
            Interest::READABLE,
        )
        .unwrap();
    while !socket.read_closed {
        poll.poll(&mut events, None).unwrap();
        socket.read_closed = events.iter().any(mio::event::Event::is_read_closed);
    }
}

#[test]
fn more_data_is_reported_while_unread_data_lies_in_the_queue() {
    let (mut sender, socket) = pair();
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    poll.registry()
        .register(
            &mut SourceFd(&socket.fd.as_raw_fd()),
            Token(0),
            Interest::READABLE,
        )
        .unwrap();
    for round in 1..=3 {
        sender.write_all(b"x").unwrap();
        poll.poll(&mut events, None).unwrap();
        assert!(events.iter().any(mio::event::Event::is_readable), "round {round}");
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert!(events.is_empty(), "an edge is told once");
    }
}

#[test]
fn a_refused_connection_is_told_by_the_socket() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = closed.local_addr().unwrap();
    drop(closed);
    let error = match TcpSocket::connect(to, None) {
        Err(error) => error,
        Ok(socket) => loop {
            if let Some(error) = socket.take_error() {
                break error;
            }
            std::thread::yield_now();
        },
    };
    assert_eq!(error, HostError::Refused);
}

#[test]
fn a_reset_is_a_reset_for_the_peer() {
    let (mut sender, socket) = pair();
    socket.reset();
    let error = sender.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_that_goes_before_its_end_is_reset() {
    let (mut peer, socket) = pair();
    drop(socket);
    let error = peer.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn slices_are_written_in_order_until_the_kernel_takes_no_more() {
    let (mut peer, mut socket) = pair();
    let data: Vec<u8> = (0..=255).cycle().take(20_000_000).collect();
    let mut sent = 0;
    while let Some((offered, taken)) = socket.send(data[sent..].chunks(1460)).unwrap() {
        assert!(taken <= offered);
        sent += taken;
    }
    assert!(sent > 0 && sent < data.len(), "{sent}");
    socket.shutdown();
    drop(socket);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert!(got == data[..sent]);
}

#[test]
fn urgent_data_are_part_of_the_stream_and_hide_nothing_behind_them() {
    for method in methods() {
        let (mut sender, mut socket) = pair();
        let mut peeker = Peeker::with(method, method);
        sender.write_all(b"0123").unwrap();
        rustix::net::send(&sender, b"U", rustix::net::SendFlags::OOB).unwrap();
        sender.write_all(b"456789").unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
        await_bytes(&socket, 11);
        socket.has_urgent = true;
        socket.read_closed = true;
        let mut got = Vec::new();
        while got.len() < 11 {
            let (segments, end) = peek(&mut socket, &mut peeker, 0, 3, 8);
            let bytes = segments.concat();
            assert!(
                !end || got.len() + bytes.len() >= 11,
                "{method:?}: {got:?}, {bytes:?}"
            );
            socket
                .discard(&mut peeker, u32::try_from(bytes.len()).unwrap())
                .unwrap();
            got.extend(bytes);
        }
        assert_eq!(got, b"0123U456789", "{method:?}");
    }
}

#[test]
fn a_peek_goes_on_behind_urgent_data() {
    if sys::peek_method(Family::V4) != PeekMethod::Offset {
        return;
    }
    let (mut sender, mut socket) = pair();
    let mut peeker = Peeker::with(PeekMethod::Offset, PeekMethod::Offset);
    sender.write_all(b"0123").unwrap();
    rustix::net::send(&sender, b"U", rustix::net::SendFlags::OOB).unwrap();
    sender.write_all(b"456").unwrap();
    await_bytes(&socket, 8);
    socket.has_urgent = true;
    let (segments, end) = peek(&mut socket, &mut peeker, 1, 2, 8);
    assert_eq!((segments.concat(), end), (b"123U456".to_vec(), false));
    socket.discard(&mut peeker, 6).unwrap();
    assert_eq!(peek(&mut socket, &mut peeker, 0, 2, 8).0.concat(), b"56");
}

#[test]
fn bytes_that_came_over_ipv6_are_peeked_and_discarded() {
    // Where the host's loopback has no IPv6 there is nothing to see.
    let Ok((mut sender, mut socket)) = pair_at(Ipv6Addr::LOCALHOST.into()) else {
        return;
    };
    assert_eq!(socket.family, Some(Family::V6));
    let mut peeker = Peeker::new();
    sender.write_all(b"0123456789").unwrap();
    await_bytes(&socket, 10);
    for _ in 0..2 {
        let all = peek(&mut socket, &mut peeker, 4, 4, 8);
        assert_eq!(all, (texts(&[b"4567", b"89"]), false));
    }
    socket.discard(&mut peeker, 6).unwrap();
    assert_eq!(
        peek(&mut socket, &mut peeker, 0, 4, 8),
        (texts(&[b"6789"]), false)
    );
}

#[test]
fn a_connection_to_ipv6_is_made_or_refused_at_once() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return;
    };
    let to = listener.local_addr().unwrap();
    assert_eq!(TcpSocket::connect(to, None).unwrap().phase, Phase::Open);
    drop(listener);
    let refused = TcpSocket::connect(to, None).map(|socket| socket.take_error());
    assert!(
        matches!(refused, Err(HostError::Refused) | Ok(Some(HostError::Refused))),
        "{refused:?}"
    );
}

#[test]
fn a_connection_whose_handshake_crossed_few_routers_is_one_like_any_other() {
    for any in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let Ok(listener) = TcpListener::bind((any, 0)) else {
            continue;
        };
        let usual = |socket: &TcpSocket| match any {
            IpAddr::V4(_) => sockopt::ip_ttl(&socket.fd).unwrap(),
            IpAddr::V6(_) => sockopt::ipv6_unicast_hops(&socket.fd).unwrap().into(),
        };
        let to = listener.local_addr().unwrap();
        let plain = TcpSocket::connect(to, None).unwrap();
        let mut limited = TcpSocket::connect(to, Some(1)).unwrap();
        limited.open();
        assert_eq!(usual(&limited), usual(&plain), "{any}");
        drop(listener);
        let refused = TcpSocket::connect(to, Some(1)).map(|socket| socket.take_error());
        assert!(
            matches!(refused, Err(HostError::Refused) | Ok(Some(HostError::Refused))),
            "{refused:?}"
        );
    }
}
