//! A relay on a thread of its own, over the fake.

use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use super::super::contract::Status;
use super::super::fake::{FRAME_1500, FakeSystem, fake};
use super::super::{VmnetMode, VmnetOptions};
use super::*;

/// A relay on a thread of its own, the port at its other end, the system, and the session whose end is its end.
struct Running {
    port: RelayPort,
    system: FakeSystem,
    session: UnixStream,
    relay: JoinHandle<RelayEnd>,
}

fn relay() -> Running {
    relay_that(|relay| relay)
}

fn relay_that(is_so: impl FnOnce(Relay) -> Relay) -> Running {
    let (vmnet, system) = fake();
    let options = VmnetOptions::new(VmnetMode::Host {
        range: None,
        identifier: None,
    });
    let origin = Instant::now();
    let mut vmnet = VmnetPort::start(vmnet, options, origin.elapsed()).unwrap();
    vmnet.wait_for_start(origin.elapsed()).unwrap();
    let (near, far) = relay_pair().unwrap();
    let relay = is_so(Relay::new(vmnet, RelayPort::new(near).unwrap()));
    let (session, theirs) = UnixStream::pair().unwrap();
    Running {
        port: RelayPort::new(far).unwrap(),
        system,
        session,
        relay: std::thread::spawn(move || relay.run(theirs, origin)),
    }
}

fn frame(number: u32) -> Frame {
    Frame::plain([&[0_u8; 20][..], &number.to_be_bytes()].concat().into())
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[20..24].try_into().unwrap())
}

/// Read from the port until so many frames came.
fn read(port: &mut RelayPort, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let patience = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        let ready = poll(&mut [PollFd::new(port, PollFlags::IN)], Some(&patience));
        assert_eq!(ready, Ok(1), "nothing comes");
        port.read(&mut frames).unwrap();
    }
    frames
}

/// Wait until the system was told so much.
fn eventually(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "it did not come to be");
        std::thread::yield_now();
    }
}

#[test]
fn frames_cross_both_ways_in_order() {
    let mut all = relay();
    let mut queue: VecDeque<Frame> = (0..2000).map(frame).collect();
    let origin = Instant::now();
    while !queue.is_empty() {
        let written = all.port.write(origin.elapsed(), &queue).unwrap();
        queue.drain(..written.frames);
    }
    eventually(|| all.system.world().outgoing.len() == 2000);
    let numbers: Vec<u32> = all
        .system
        .world()
        .outgoing
        .iter()
        .map(|bytes| number(bytes))
        .collect();
    assert!(numbers.is_sorted());
    for number in 0..2000 {
        all.system.send(frame(number).bytes.to_vec());
        if number % 100 == 99 {
            let frames = read(&mut all.port, 100);
            let first = number - 99;
            assert!(
                frames
                    .iter()
                    .map(|frame| self::number(&frame.bytes))
                    .eq(first..=number)
            );
        }
    }
    drop(all.session);
    assert!(matches!(all.relay.join().unwrap(), RelayEnd::Closed));
    assert!(all.system.is_idle());
}

#[test]
fn the_end_of_the_session_is_the_end_of_the_interface() {
    let all = relay();
    assert!(all.system.is_running());
    drop(all.session);
    assert!(matches!(all.relay.join().unwrap(), RelayEnd::Closed));
    assert!(all.system.is_idle());
}

#[test]
fn what_is_no_frame_does_not_reach_vmnet() {
    let mut all = relay();
    for len in [0, 1, 13, FRAME_1500 + 1, MAX_FRAME + 1] {
        all.port.socket.send(&vec![0; len]).unwrap();
    }
    all.port.write(Duration::ZERO, &[frame(7)].into()).unwrap();
    eventually(|| !all.system.world().outgoing.is_empty());
    assert_eq!(all.system.world().outgoing, [frame(7).bytes.to_vec()]);
    drop(all.session);
    all.relay.join().unwrap();
    assert_eq!(all.port.bad_size(), 0);
    let mut frames = Vec::new();
    all.port.read(&mut frames).unwrap();
    assert!(frames.is_empty());
}

#[test]
fn a_client_that_does_not_read_keeps_nothing_else_waiting() {
    let mut all = relay();
    for number in 0..50_000 {
        all.system.send(frame(number).bytes.to_vec());
    }
    let origin = Instant::now();
    let mut queue: VecDeque<Frame> = (0..500).map(frame).collect();
    while !queue.is_empty() {
        let written = all.port.write(origin.elapsed(), &queue).unwrap();
        queue.drain(..written.frames);
    }
    eventually(|| all.system.world().outgoing.len() == 500);
    drop(all.session);
    assert!(matches!(all.relay.join().unwrap(), RelayEnd::Closed));
}

#[test]
fn an_interface_that_vanishes_comes_back_under_the_relay() {
    let mut all = relay();
    all.system.vanish(Status::Failure);
    let origin = Instant::now();
    all.port.write(origin.elapsed(), &[frame(1)].into()).unwrap();
    eventually(|| all.system.world().starts == 2 && all.system.is_running());
    eventually(|| {
        all.system.send(frame(2).bytes.to_vec());
        let mut frames = Vec::new();
        all.port.read(&mut frames).unwrap();
        frames.contains(&frame(2))
    });
    drop(all.session);
    all.relay.join().unwrap();
}

#[test]
fn a_helper_without_rights_ends_with_its_interface() {
    let mut all = relay_that(Relay::ending_with_interface);
    all.system.vanish(Status::Failure);
    all.port.write(Duration::ZERO, &[frame(1)].into()).unwrap();
    assert!(matches!(all.relay.join().unwrap(), RelayEnd::Lost));
    assert!(all.system.is_idle());
    assert_eq!(all.system.world().starts, 1);
}

#[test]
fn packets_whose_event_was_lost_in_sleep_cross_after_it() {
    let (vmnet, system) = fake();
    let options = VmnetOptions::new(VmnetMode::Host {
        range: None,
        identifier: None,
    });
    let mut now = Duration::from_secs(1);
    let mut vmnet = VmnetPort::start(vmnet, options, now).unwrap();
    vmnet.wait_for_start(now).unwrap();
    let (near, far) = relay_pair().unwrap();
    let mut port = RelayPort::new(far).unwrap();
    let mut relay = Relay::new(vmnet, RelayPort::new(near).unwrap());
    relay.handle_clocks(now, Duration::from_secs(1_000_000));
    assert_eq!(relay.turn(now).unwrap(), Some(false));
    system.vanish(Status::Failure);
    system.world().refuses = Some(Status::Failure);
    // Gone for so long that it is asked for seldom; then the lid is closed for a night.
    for _ in 0..40 {
        relay.turn(now).unwrap();
        now = relay.vmnet.deadline().unwrap();
        relay.handle_clocks(now, Duration::from_secs(1_000_000) + now);
    }
    system.world().refuses = None;
    relay.turn(now).unwrap();
    let starts = system.world().starts;
    relay.handle_clocks(now, Duration::from_secs(1_030_000));
    relay.turn(now).unwrap();
    assert_eq!(system.world().starts, starts + 1);
    system.send(frame(5).bytes.to_vec());
    relay.turn(now).unwrap();
    assert_eq!(read(&mut port, 1), [frame(5)]);
}

#[test]
fn a_full_socket_costs_frames_and_no_more() {
    let (near, far) = relay_pair().unwrap();
    let (mut near, mut far) = (RelayPort::new(near).unwrap(), RelayPort::new(far).unwrap());
    let queue: VecDeque<Frame> = (0..100).map(frame).collect();
    let mut now = Duration::ZERO;
    let mut sent = 0;
    while near.full() == 0 {
        let written = near.write(now, &queue).unwrap();
        sent += written.frames;
        now = near.deadline().unwrap_or(now);
    }
    let lost = usize::try_from(near.full()).unwrap();
    let mut frames = Vec::new();
    while far.read(&mut frames).unwrap() == Progress::More {}
    assert_eq!(frames.len(), sent - lost);
    assert!(!near.write(now, &queue).unwrap().blocked);
}

#[test]
fn a_closed_end_is_told() {
    let (near, far) = relay_pair().unwrap();
    let mut near = RelayPort::new(near).unwrap();
    drop(far);
    near.write(Duration::ZERO, &[frame(1)].into()).unwrap_err();
}
