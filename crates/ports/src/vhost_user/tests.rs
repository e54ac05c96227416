//! Both sides in one thread: what a driver sends arrives, and what a hostile one does harms nobody.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use atoll_wire::{Checksum, Offload, vnet};
use proptest::prelude::*;

use super::front_end::{ALL_FEATURES, FrontEnd, FrontEndOptions, GUEST_BASE};
use super::*;
use crate::sys::memory::memory_file;

const VERSION_1: u64 = 1 << 32;
const MRG_RXBUF: u64 = 1 << 15;
const EVENT_IDX: u64 = 1 << 29;

fn sockets() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn pair(options: FrontEndOptions) -> (VhostUserPort, FrontEnd) {
    let (ours, theirs) = sockets();
    let front_end = FrontEnd::new(theirs, options).unwrap();
    let mut port = VhostUserPort::new(ours);
    assert_eq!(port.handle_messages().unwrap(), Progress::Drained);
    (port, front_end)
}

fn taking(features: u64) -> FrontEndOptions {
    FrontEndOptions {
        features,
        ..FrontEndOptions::default()
    }
}

fn frame(byte: u8, len: usize) -> Frame {
    Frame::plain(vec![byte; len].into())
}

fn packet(front_end: &FrontEnd, frame: &Frame) -> Vec<u8> {
    [&vnet::emit(frame)[..front_end.header_len()], &frame.bytes].concat()
}

fn read_all(port: &mut VhostUserPort) -> Vec<Frame> {
    let mut frames = Vec::new();
    while port.read(1, &mut frames).unwrap() == Progress::More {}
    frames
}

/// What is watched now, in words.
fn watches(port: &mut VhostUserPort) -> Vec<String> {
    let word = |watch| match watch {
        Watch::Begin(ring) => format!("begin {ring}"),
        Watch::End(_) => "end".to_owned(),
        Watch::Ready(ring) => format!("ready {ring}"),
    };
    std::iter::from_fn(|| port.poll_watch()).map(word).collect()
}

#[test]
fn frames_of_every_size_go_both_ways_with_every_set_of_features() {
    for features in [
        0,
        VERSION_1,
        MRG_RXBUF,
        VERSION_1 | MRG_RXBUF | EVENT_IDX,
        ALL_FEATURES,
    ] {
        let (mut port, mut front_end) = pair(FrontEndOptions {
            buffer: 70_000,
            ..taking(features)
        });
        let sent = [frame(1, 14), frame(2, 1514), frame(3, 2049), frame(4, 65_000)];
        for one in &sent {
            assert!(front_end.send(&packet(&front_end, one)).unwrap());
        }
        assert_eq!(read_all(&mut port), sent, "{features:#x}");
        let queue = VecDeque::from(sent);
        let written = port.write(&queue).unwrap();
        assert_eq!((written.frames, written.blocked), (4, false));
        for one in &queue {
            let came = front_end.receive().unwrap().unwrap();
            assert_eq!(came[front_end.header_len()..], one.bytes, "{features:#x}");
        }
        assert_eq!(front_end.receive().unwrap(), None);
    }
}

#[test]
fn a_large_frame_takes_several_buffers_and_says_how_many() {
    let (mut port, mut front_end) = pair(FrontEndOptions {
        buffer: 1526,
        ..FrontEndOptions::default()
    });
    let checksum = Checksum::Partial {
        start: 34,
        offset: 16,
    };
    let offload = Offload {
        checksum,
        ..Offload::default()
    };
    let large = Frame {
        offload,
        ..frame(5, 65_000)
    };
    port.write(&VecDeque::from([large.clone()])).unwrap();
    let came = front_end.receive().unwrap().unwrap();
    assert_eq!(came[10..12], 43_u16.to_le_bytes());
    assert_eq!(vnet::parse(&came[..vnet::LEN], &came[vnet::LEN..]), Ok(offload));
    assert_eq!(came[vnet::LEN..], large.bytes);
}

#[test]
fn a_guest_without_buffers_blocks_until_it_has_some() {
    let (mut port, mut front_end) = pair(FrontEndOptions {
        size: 4,
        buffer: 2000,
        ..FrontEndOptions::default()
    });
    let mut queue: VecDeque<Frame> = (0..6).map(|byte| frame(byte, 1000)).collect();
    let written = port.write(&queue).unwrap();
    assert_eq!((written.frames, written.blocked), (4, true));
    queue.drain(..4);
    for byte in 0..6 {
        let came = front_end.receive().unwrap();
        if byte == 3 {
            assert_eq!(port.write(&queue).unwrap().frames, 2);
        }
        assert_eq!(came.unwrap()[20], byte);
    }
}

#[test]
fn a_frame_for_which_no_buffers_can_be_enough_holds_nobody_up() {
    for (features, size) in [(ALL_FEATURES, 4), (ALL_FEATURES & !MRG_RXBUF, 8)] {
        let (mut port, mut front_end) = pair(FrontEndOptions {
            size,
            buffer: 2000,
            ..taking(features)
        });
        let queue = VecDeque::from([frame(1, 9000), frame(2, 100)]);
        assert_eq!(port.write(&queue).unwrap().frames, 2);
        assert_eq!(front_end.receive().unwrap().unwrap()[20], 2);
        assert_eq!(port.counters().too_large, 1);
    }
}

#[test]
fn a_driver_is_woken_only_when_it_sleeps_and_so_is_the_device() {
    for features in [ALL_FEATURES, ALL_FEATURES & !EVENT_IDX] {
        let (mut port, mut front_end) = pair(taking(features));
        assert!(read_all(&mut port).is_empty());
        let count = |fd: BorrowedFd<'_>| {
            let mut bytes = [0; 8];
            let read = rustix::io::read(fd, &mut bytes);
            read.map_or(0, |_| u64::from_ne_bytes(bytes))
        };
        count(port.kick(1).unwrap());
        for _ in 0..3 {
            front_end.send(&packet(&front_end, &frame(1, 60))).unwrap();
        }
        let kicks = count(port.kick(1).unwrap());
        let wanted = if features == ALL_FEATURES { 1 } else { 3 };
        assert_eq!(kicks, wanted, "the first alone, where the device can say so");
        assert_eq!(read_all(&mut port).len(), 3);
        count(front_end.received());
        assert!(front_end.sleep(0));
        for _ in 0..3 {
            port.write(&VecDeque::from([frame(1, 60)])).unwrap();
        }
        assert_eq!(count(front_end.received()), wanted);
    }
}

#[test]
fn a_turn_of_reading_is_bounded_in_frames_and_in_bytes() {
    let (mut port, mut front_end) = pair(FrontEndOptions::default());
    for len in [60, 60_000] {
        while front_end.send(&packet(&front_end, &frame(1, len))).unwrap() {}
        let mut frames = Vec::new();
        assert_eq!(port.read(1, &mut frames).unwrap(), Progress::More);
        let bytes: usize = frames.iter().map(Frame::len).sum();
        assert!(
            frames.len() <= 128 && bytes <= 300_000,
            "{} {bytes}",
            frames.len()
        );
        read_all(&mut port);
    }
}

#[test]
fn a_chain_that_is_no_frame_is_given_back_and_counted() {
    let (mut port, mut front_end) = pair(FrontEndOptions::default());
    for len in [0, 5, 12, 25] {
        front_end.send(&vec![0; len]).unwrap();
    }
    front_end.send(&[0xff; 100]).unwrap();
    front_end.send(&packet(&front_end, &frame(1, 60))).unwrap();
    assert_eq!(read_all(&mut port), [frame(1, 60)]);
    let counters = port.counters();
    assert_eq!((counters.bad_chains, counters.bad_headers), (4, 1));
    assert!(front_end.reclaim());
}

#[test]
fn an_index_from_nowhere_stops_the_ring_until_it_is_set_up_anew() {
    let (mut port, mut front_end) = pair(FrontEndOptions::default());
    // The available index of the transmit ring, behind 256 descriptors.
    let index = (64 << 10) + 16 * 256 + 2;
    front_end.poke(index, &[0, 9]);
    assert!(read_all(&mut port).is_empty());
    front_end.poke(index, &[0, 0]);
    front_end.send(&packet(&front_end, &frame(1, 60))).unwrap();
    assert!(read_all(&mut port).is_empty(), "it stands still");
    assert_eq!(
        port.write(&VecDeque::from([frame(2, 60)])).unwrap().frames,
        1,
        "the other one runs"
    );
    front_end.say_ring(10, 1, 0).unwrap();
    port.handle_messages().unwrap();
    assert_eq!(read_all(&mut port), [frame(1, 60)]);
    assert_eq!(port.counters().broken_rings, 1);
}

#[test]
fn a_guest_that_connects_again_goes_on_where_it_was() {
    let (mut port, mut front_end) = pair(FrontEndOptions::default());
    for round in 0..5 {
        for byte in 0..70 {
            front_end.send(&packet(&front_end, &frame(byte, 60))).unwrap();
        }
        assert_eq!(read_all(&mut port).len(), 70, "{round}");
        let queue: VecDeque<_> = (0..100).map(|byte| frame(byte, 60)).collect();
        assert_eq!(port.write(&queue).unwrap().frames, 100);
        while front_end.receive().unwrap().is_some() {}
        drop(port);
        let (ours, theirs) = sockets();
        port = VhostUserPort::new(ours);
        front_end.reconnect(theirs).unwrap();
        port.handle_messages().unwrap();
    }
}

#[test]
fn a_stopped_ring_says_where_it_stands_and_its_kick_is_no_longer_watched() {
    let (mut port, mut front_end) = pair(FrontEndOptions::default());
    assert_eq!(watches(&mut port), ["begin 0", "ready 0", "begin 1", "ready 1"]);
    front_end.send(&packet(&front_end, &frame(1, 60))).unwrap();
    read_all(&mut port);
    front_end.say_ring(11, 1, 0).unwrap();
    port.handle_messages().unwrap();
    assert_eq!(front_end.answer().unwrap(), [1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(watches(&mut port), ["end"]);
    assert!(port.kick(1).is_none());
    port.close();
    assert_eq!(watches(&mut port), ["end"]);
}

#[test]
fn a_ring_that_is_not_enabled_takes_frames_and_delivers_none() {
    let (mut port, mut front_end) = pair(FrontEndOptions::default());
    for ring in [0, 1] {
        front_end.say_ring(18, ring, 0).unwrap();
    }
    port.handle_messages().unwrap();
    front_end.send(&packet(&front_end, &frame(1, 60))).unwrap();
    assert!(read_all(&mut port).is_empty());
    assert!(front_end.reclaim());
    assert_eq!(port.write(&VecDeque::from([frame(1, 60)])).unwrap().frames, 1);
    assert_eq!(front_end.receive().unwrap(), None);
    assert_eq!(port.counters().no_driver, 2);
}

#[test]
fn memory_that_is_taken_away_ends_the_connection_and_nothing_else() {
    let (mut port, mut front_end) = pair(FrontEndOptions::default());
    let (mut other, mut other_end) = pair(FrontEndOptions::default());
    front_end.send(&packet(&front_end, &frame(1, 60))).unwrap();
    rustix::fs::ftruncate(front_end.file(), 0).unwrap();
    let outcome = port.read(1, &mut Vec::new());
    assert!(matches!(outcome, Err(VhostUserError::MemoryLost)), "{outcome:?}");
    other_end.send(&packet(&other_end, &frame(2, 60))).unwrap();
    assert_eq!(read_all(&mut other), [frame(2, 60)]);
}

#[test]
fn a_memory_table_may_change_while_rings_run() {
    let (mut port, mut front_end) = pair(FrontEndOptions::default());
    let len = 1 << 20;
    let other = memory_file(len).unwrap();
    // Without the rings' memory they stop, with it they go on.
    front_end
        .say_memory(&[(GUEST_BASE, len, 0, 0)], &[other.as_fd()])
        .unwrap();
    port.handle_messages().unwrap();
    front_end.send(&packet(&front_end, &frame(1, 60))).unwrap();
    assert!(read_all(&mut port).is_empty());
    front_end.introduce().unwrap();
    port.handle_messages().unwrap();
    assert_eq!(read_all(&mut port), [frame(1, 60)]);
}

#[test]
fn what_cannot_be_done_is_answered_where_an_answer_is_asked_for_and_ends_it_elsewhere() {
    let (mut port, mut front_end) = pair(FrontEndOptions::default());
    front_end.say(16, &8_u64.to_le_bytes(), &[]).unwrap();
    port.handle_messages().unwrap();
    // SET_LOG_BASE with NEED_REPLY: flags 9.
    use std::io::Write;
    let message = [6_u32, 9, 0].map(u32::to_le_bytes);
    front_end.socket().write_all(message.as_flattened()).unwrap();
    port.handle_messages().unwrap();
    assert_eq!(front_end.answer().unwrap(), 1_u64.to_le_bytes());
    front_end.say_ring(8, 99, 256).unwrap();
    let outcome = port.handle_messages();
    assert!(
        matches!(outcome, Err(VhostUserError::Request(RequestError::NoRing(99)))),
        "{outcome:?}"
    );
}

#[test]
fn a_descriptor_that_is_no_eventfd_is_not_written_to() {
    for request in [12, 13] {
        let (mut port, front_end) = pair(FrontEndOptions::default());
        front_end
            .say(request, &0_u64.to_le_bytes(), &[front_end.file()])
            .unwrap();
        let outcome = port.handle_messages();
        assert!(
            matches!(outcome, Err(VhostUserError::Request(RequestError::NoEvent))),
            "{outcome:?}"
        );
    }
}

#[test]
fn a_front_end_that_reads_no_answers_is_closed() {
    let (ours, theirs) = sockets();
    let mut port = VhostUserPort::new(ours);
    theirs.set_nonblocking(true).unwrap();
    let message = [1_u32, 1, 0].map(u32::to_le_bytes);
    let outcome = loop {
        use std::io::Write;
        while (&theirs).write(message.as_flattened()).is_ok() {}
        match port.handle_messages() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(outcome, VhostUserError::NotReading), "{outcome}");
}

#[test]
fn a_message_may_come_byte_by_byte() {
    use std::io::Write;
    let (ours, mut theirs) = sockets();
    let mut port = VhostUserPort::new(ours);
    let message = [2_u32, 1, 8, 0, 1].map(u32::to_le_bytes);
    for byte in message.as_flattened() {
        assert_eq!(port.handle_messages().unwrap(), Progress::Drained);
        theirs.write_all(&[*byte]).unwrap();
    }
    assert_eq!(port.handle_messages().unwrap(), Progress::Drained);
    assert!(port.device.features.header_len() == vnet::LEN);
    drop(theirs);
    assert_eq!(port.handle_messages().unwrap(), Progress::Closed);
}

#[test]
fn more_descriptors_than_any_message_has_end_it() {
    let (mut port, front_end) = pair(FrontEndOptions::default());
    let files: Vec<_> = (0..12).map(|_| front_end.file()).collect();
    front_end.say(1, &[], &files).unwrap();
    port.handle_messages().unwrap_err();
}

fn wild() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0_u8), 2 => Just(1_u8), 1 => any::<u8>()]
}

proptest! {
    #[test]
    fn no_contents_of_rings_harm_anybody(
        features in prop_oneof![Just(ALL_FEATURES), Just(ALL_FEATURES & !EVENT_IDX), Just(MRG_RXBUF), Just(0)],
        noise in proptest::collection::vec(wild(), 3000),
        places in proptest::collection::vec((0_usize..2, 0_usize..6000), 1..8),
        guest_address in any::<bool>(),
    ) {
        let (mut port, mut front_end) = pair(FrontEndOptions { size: 32, buffer: 500, ..taking(features) });
        let mut rest = &noise[..];
        for (ring, at) in places {
            let (now, later) = rest.split_at(rest.len().min(400));
            front_end.poke(ring * (64 << 10) + at % 1100, now);
            rest = later;
        }
        if guest_address {
            // Descriptors that lead into the guest's memory, rings included.
            for (number, byte) in noise.iter().take(32).enumerate() {
                for ring in [0, 64 << 10] {
                    let address = GUEST_BASE + u64::from(*byte) * 64;
                    front_end.poke(ring + 16 * number, &address.to_le_bytes());
                }
            }
        }
        let queue: VecDeque<_> = [60, 1500, 60_000, 14].map(|len| frame(7, len)).into();
        for _ in 0..20 {
            let mut frames = Vec::new();
            port.read(1, &mut frames).unwrap();
            prop_assert!(frames.iter().all(|frame| (14..=70_000).contains(&frame.len())));
            port.write(&queue).unwrap();
            let _ = front_end.receive();
            front_end.reclaim();
        }
    }

    #[test]
    fn no_messages_harm_anybody(
        messages in proptest::collection::vec((0_u32..45, proptest::collection::vec(wild(), 0..80), 0_usize..3), 1..30),
        is_set_up in any::<bool>(),
    ) {
        let (ours, theirs) = sockets();
        let front_end = FrontEnd::new(theirs, FrontEndOptions { size: 8, ..FrontEndOptions::default() }).unwrap();
        let mut port = VhostUserPort::new(ours);
        if is_set_up {
            port.handle_messages().unwrap();
        }
        let file = front_end.file();
        for (request, payload, count) in messages {
            front_end.say(request, &payload, &vec![file; count]).unwrap();
            let ended = port.handle_messages().is_err();
            let _ = watches(&mut port);
            let _ = port.read(1, &mut Vec::new());
            let _ = port.write(&VecDeque::from([frame(1, 60)]));
            if ended {
                break;
            }
        }
        port.close();
        watches(&mut port);
    }
}
