//! The port over the fake: whatever breaks the contract panics in the fake.

use std::collections::VecDeque;
use std::time::Duration;

use atoll_wire::{Checksum, Frame, Gso, Offload, Offloads, vnet};

use super::backoff::{LONGEST, PATIENCE};
use super::contract::{Features, MAX_PACKETS, Parameters, Status};
use super::fake::{FRAME_1500, FakeSystem, fake};
use super::*;
use crate::stream::{Progress, Written};

mod states;

const START: Duration = Duration::from_secs(1000);

/// Long enough for whatever a port waits for.
const LONG: Duration = Duration::from_secs(60);

fn bridged() -> VmnetOptions {
    VmnetOptions::new(VmnetMode::Bridged {
        interface: "en0".to_owned(),
    })
}

fn shared() -> VmnetOptions {
    VmnetOptions::new(VmnetMode::Shared {
        range: None,
        prefix: None,
    })
}

/// A port whose interface is there.
fn running(options: VmnetOptions) -> (VmnetPort, FakeSystem) {
    let (vmnet, system) = fake();
    let mut port = VmnetPort::start(vmnet, options, START).unwrap();
    port.wait_for_start(START).unwrap();
    (port, system)
}

fn frame(byte: u8, len: usize) -> Frame {
    Frame::plain(vec![byte; len].into())
}

fn queue(count: usize) -> VecDeque<Frame> {
    (0..count)
        .map(|number| {
            Frame::plain(
                [&[0_u8; 12][..], &u64::try_from(number).unwrap().to_be_bytes()]
                    .concat()
                    .into(),
            )
        })
        .collect()
}

fn read_all(port: &mut VmnetPort, now: Duration) -> Vec<Frame> {
    let mut frames = Vec::new();
    while port.read(now, &mut frames) == Progress::More {}
    frames
}

/// What a DHCP client says first, as far as it matters here.
fn discover() -> Vec<u8> {
    let mut frame = vec![0; 300];
    frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    frame[23] = 17;
    frame[36..38].copy_from_slice(&67_u16.to_be_bytes());
    frame
}

/// Notice that the interface is lost, and hear that its stop was answered.
fn read_twice(port: &mut VmnetPort, now: Duration) {
    for _ in 0..2 {
        assert_eq!(port.read(now, &mut Vec::new()), Progress::Drained);
    }
}

/// Let time pass, waking the port whenever it asks for it.
fn pass(port: &mut VmnetPort, from: Duration, until: Duration) -> Duration {
    let mut now = from;
    for _ in 0..10_000 {
        port.read(now, &mut Vec::new());
        let Some(due) = port.deadline().filter(|due| *due <= until) else {
            break;
        };
        now = now.max(due);
        port.handle_timeout(now);
    }
    until
}

#[test]
fn a_start_is_answered_with_what_the_interface_is() {
    let (vmnet, system) = fake();
    system.world().holds_answers = true;
    let mut port = VmnetPort::start(vmnet, shared(), START).unwrap();
    assert_eq!(port.read(START, &mut Vec::new()), Progress::Drained);
    assert_eq!(port.parameters(), None);
    system.answer();
    assert_eq!(port.wait_for_start(START).unwrap().mtu, 1500);
    assert_eq!(port.parameters().unwrap().max_packet_size, FRAME_1500);
}

#[test]
fn a_refused_start_is_told_and_whether_rights_would_help() {
    for (status, is_forbidden) in [
        (Status::Failure, true),
        (Status::NotAuthorized, true),
        (Status::InvalidArgument, false),
        (Status::SharingServiceBusy, false),
    ] {
        let (vmnet, system) = fake();
        system.world().refuses = Some(status);
        let mut port = VmnetPort::start(vmnet, shared(), START).unwrap();
        let error = port.wait_for_start(START).unwrap_err();
        assert_eq!(error, VmnetError::Refused(status));
        assert_eq!(error.is_forbidden(), is_forbidden, "{status}");
        let (vmnet, system) = fake();
        system.world().refuses_at_once = Some(status);
        let error = VmnetPort::start(vmnet, shared(), START).unwrap_err();
        assert_eq!(error, VmnetError::Refused(status));
    }
}

#[test]
fn an_interface_that_the_host_does_not_have_is_named_beside_those_it_has() {
    let (vmnet, system) = fake();
    let options = VmnetOptions::new(VmnetMode::Bridged {
        interface: "en7".to_owned(),
    });
    let error = VmnetPort::start(vmnet, options, START).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the host has no interface en7 that can be bridged; it has en0"
    );
    assert_eq!(system.world().starts, 0);
}

#[test]
fn options_are_checked_before_the_framework_sees_them() {
    let (vmnet, system) = fake();
    let options = VmnetOptions {
        mtu: Some(100),
        ..shared()
    };
    let error = VmnetPort::start(vmnet, options, START).unwrap_err();
    assert!(
        matches!(error, VmnetError::Options(OptionsError::Mtu(100))),
        "{error}"
    );
    assert_eq!(system.world().starts, 0);
}

#[test]
fn guests_are_kept_from_a_dhcp_server_that_cannot_be_turned_off() {
    let host = |identifier| {
        VmnetOptions::new(VmnetMode::Host {
            range: None,
            identifier,
        })
    };
    for (options, networks, services, is_kept) in [
        (shared(), false, false, true),
        (host(None), false, false, true),
        (shared(), true, false, false),
        (shared(), false, true, false),
        (host(Some(NetworkId([7; 16]))), false, false, false),
        (bridged(), false, false, false),
    ] {
        let (vmnet, system) = fake();
        system.world().features = Features {
            networks,
            ..Features::default()
        };
        let options = VmnetOptions { services, ..options };
        let mut port = VmnetPort::start(vmnet, options, START).unwrap();
        port.wait_for_start(START).unwrap();
        let discover = Frame::plain(discover().into());
        let queue = [frame(1, 60), discover, frame(2, 60)].into();
        assert_eq!(
            port.write(START, &queue),
            Written {
                frames: 3,
                blocked: false
            }
        );
        assert_eq!(port.counters().for_dhcp, u64::from(is_kept));
        assert_eq!(system.world().outgoing.len(), if is_kept { 2 } else { 3 });
    }
}

#[test]
fn a_burst_larger_than_the_batch_is_read_to_its_end_on_one_event() {
    let (mut port, system) = running(shared());
    for number in 0..1000_u32 {
        system.send([&[0_u8; 20][..], &number.to_be_bytes()].concat());
    }
    let mut frames = Vec::new();
    assert_eq!(port.read(START, &mut frames), Progress::More);
    assert!(frames.len() < 200, "a turn of {} frames", frames.len());
    frames.extend(read_all(&mut port, START));
    let numbers: Vec<u32> = frames
        .iter()
        .map(|frame| u32::from_be_bytes(frame.bytes[20..].try_into().unwrap()))
        .collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}

#[test]
fn packets_that_come_after_a_read_found_none_are_announced_again() {
    let (mut port, system) = running(shared());
    for turn in 0..5 {
        system.send(vec![turn; 60]);
        assert_eq!(read_all(&mut port, START), [frame(turn, 60)]);
    }
}

#[test]
fn a_batch_is_what_the_interface_takes_in_one_call() {
    for (max_packet_size, read_max_packets) in [
        (FRAME_1500, MAX_PACKETS),
        (9014, 256),
        (65_550, 256),
        (FRAME_1500, 1),
    ] {
        let (vmnet, system) = fake();
        system.world().parameters = Parameters {
            read_max_packets,
            write_max_packets: read_max_packets,
            ..Parameters::new(1500, max_packet_size)
        };
        let mut port = VmnetPort::start(vmnet, shared(), START).unwrap();
        port.wait_for_start(START).unwrap();
        for _ in 0..10 {
            system.send(vec![1; max_packet_size]);
        }
        assert_eq!(read_all(&mut port, START).len(), 10);
        let queue: VecDeque<Frame> = (0..10).map(|byte| frame(byte, max_packet_size)).collect();
        assert_eq!(port.write(START, &queue).frames, 10);
        assert_eq!(system.world().outgoing.len(), 10);
    }
}

#[test]
fn buffers_grow_with_an_interface_that_came_back_larger() {
    let (mut port, system) = running(shared());
    system.send(vec![1; FRAME_1500]);
    assert_eq!(read_all(&mut port, START).len(), 1);
    system.world().parameters = Parameters::new(9000, 9014);
    system.vanish(Status::Failure);
    // The fake panics when a buffer is too short for the new size.
    port.write(START, &queue(1));
    let now = pass(&mut port, START, START + LONG);
    assert!(system.is_running());
    system.send(vec![2; 9014]);
    assert_eq!(read_all(&mut port, now), [frame(2, 9014)]);
}

#[test]
fn a_packet_that_is_no_frame_is_dropped_alone() {
    let (mut port, system) = running(shared());
    for len in [0, 1, 13, FRAME_1500 + 1, 60] {
        system.send(vec![1; len]);
    }
    assert_eq!(read_all(&mut port, START), [frame(1, 60)]);
    assert_eq!(port.counters().bad_packets, 4);
}

#[test]
fn a_size_that_the_interface_cannot_have_is_no_interface() {
    for max_packet_size in [0, 13, usize::MAX] {
        let (vmnet, system) = fake();
        system.world().parameters.max_packet_size = max_packet_size;
        let mut port = VmnetPort::start(vmnet, shared(), START).unwrap();
        port.wait_for_start(START).unwrap_err();
        assert_eq!(port.parameters(), None);
        drop(port);
        assert!(system.is_idle());
    }
}

#[test]
fn frames_are_written_in_order_and_a_turn_is_bounded() {
    let (mut port, system) = running(shared());
    let queue = queue(1000);
    let written = port.write(START, &queue);
    assert!(
        !written.blocked && (100..1000).contains(&written.frames),
        "{written:?}"
    );
    let world = system.world();
    assert!(
        world
            .outgoing
            .iter()
            .eq(queue.iter().take(written.frames).map(|frame| &frame.bytes[..]))
    );
}

#[test]
fn a_frame_of_the_wrong_size_does_not_hold_up_the_others() {
    let (mut port, system) = running(shared());
    let queue: VecDeque<Frame> = [60, 13, FRAME_1500, FRAME_1500 + 1, 0, 61]
        .into_iter()
        .map(|len| frame(1, len))
        .collect();
    assert_eq!(
        port.write(START, &queue),
        Written {
            frames: 6,
            blocked: false
        }
    );
    let lens: Vec<usize> = system.world().outgoing.iter().map(Vec::len).collect();
    assert_eq!(lens, [60, FRAME_1500, 61]);
    assert_eq!(port.counters().bad_size, 3);
}

#[test]
fn a_full_interface_is_tried_again_and_loses_nothing() {
    for is_full_quietly in [false, true] {
        let (mut port, system) = running(shared());
        system.world().room = Some(3);
        system.world().is_full_quietly = is_full_quietly;
        let mut queue = queue(10);
        let written = port.write(START, &queue);
        assert_eq!(
            written,
            Written {
                frames: 3,
                blocked: true
            }
        );
        queue.drain(..written.frames);
        // Too early: not even tried.
        system.world().room = None;
        assert_eq!(
            port.write(START, &queue),
            Written {
                frames: 0,
                blocked: true
            }
        );
        let now = port.deadline().unwrap();
        assert!(now > START && now < START + Duration::from_millis(1));
        assert_eq!(
            port.write(now, &queue),
            Written {
                frames: 7,
                blocked: false
            }
        );
        assert_eq!(system.world().outgoing.len(), 10);
        assert_eq!(port.counters(), VmnetCounters::default());
    }
}

#[test]
fn an_interface_that_takes_nothing_for_too_long_costs_what_waits() {
    let (mut port, system) = running(shared());
    system.world().room = Some(0);
    let queue = queue(50);
    let mut now = START;
    for _ in 0..PATIENCE {
        assert_eq!(
            port.write(now, &queue),
            Written {
                frames: 0,
                blocked: true
            }
        );
        now = port.deadline().unwrap();
    }
    assert_eq!(now, START + LONGEST);
    assert_eq!(
        port.write(now, &queue),
        Written {
            frames: 50,
            blocked: false
        }
    );
    assert_eq!(port.counters().full, 50);
    system.world().room = None;
    assert_eq!(port.write(now, &queue).frames, 50);
}

#[test]
fn what_the_framework_finds_fault_with_is_dropped_and_the_rest_goes_on() {
    let (mut port, system) = running(shared());
    system.world().write_fault = Some(Status::InvalidArgument);
    assert_eq!(
        port.write(START, &queue(3)),
        Written {
            frames: 3,
            blocked: false
        }
    );
    assert_eq!(port.counters().refused, 3);
    assert_eq!(port.write(START, &queue(2)).frames, 2);
    assert_eq!(system.world().outgoing.len(), 2);
}

#[test]
fn an_interface_that_vanishes_is_a_pulled_cable_and_comes_back() {
    for status in [
        Status::Failure,
        Status::InvalidAccess,
        Status::SetupIncomplete,
        Status::Unknown(7),
    ] {
        for is_noticed_by_reading in [false, true] {
            let (mut port, system) = running(shared());
            system.vanish(status);
            if is_noticed_by_reading {
                assert_eq!(port.read(START, &mut Vec::new()), Progress::Drained);
                assert_eq!(port.counters().while_down, 0);
            } else {
                assert_eq!(
                    port.write(START, &queue(5)),
                    Written {
                        frames: 5,
                        blocked: false
                    }
                );
                assert_eq!(port.counters().while_down, 5);
            }
            assert_eq!(
                port.write(START, &queue(7)),
                Written {
                    frames: 7,
                    blocked: false
                }
            );
            let now = pass(&mut port, START, START + Duration::from_millis(251));
            assert!(system.is_running(), "{status}");
            assert_eq!(port.counters().restarts, 1);
            assert_eq!(port.write(now, &queue(3)).frames, 3);
            assert_eq!(system.world().outgoing.len(), 3);
        }
    }
}

#[test]
fn an_interface_that_keeps_vanishing_is_asked_for_less_and_less_often() {
    let (mut port, system) = running(shared());
    let mut starts = Vec::new();
    let mut now = START;
    for _ in 0..12 {
        system.vanish(Status::Failure);
        read_twice(&mut port, now);
        let due = port.deadline().unwrap();
        starts.push((due - now).as_millis());
        now = due;
        port.handle_timeout(now);
        port.read(now, &mut Vec::new());
        assert!(system.is_running());
    }
    assert_eq!(
        starts,
        [
            250, 500, 1000, 2000, 4000, 8000, 8000, 8000, 8000, 8000, 8000, 8000
        ]
    );
    // One that stayed is believed again.
    now += LONG;
    system.vanish(Status::Failure);
    read_twice(&mut port, now);
    assert_eq!(port.deadline().unwrap() - now, Duration::from_millis(250));
}

#[test]
fn a_host_interface_that_went_is_noticed_without_a_call_and_waited_for() {
    let (mut port, system) = running(bridged());
    system.world().interfaces.clear();
    // The framework goes on to take frames, as if somebody had them.
    assert_eq!(port.write(START, &queue(1)).frames, 1);
    let now = pass(&mut port, START, START + LONG);
    assert!(system.is_idle());
    assert_eq!(port.parameters(), None);
    assert_eq!(
        system.world().starts,
        1,
        "nothing is asked for while the host has no such interface"
    );
    system.world().interfaces.push("en0".to_owned());
    pass(&mut port, now, now + Duration::from_secs(3));
    assert!(system.is_running());
}

#[test]
fn a_stop_is_answered_and_nothing_starts_after_it() {
    let (mut port, system) = running(bridged());
    system.world().holds_answers = true;
    port.stop(START);
    assert_eq!(port.read(START, &mut Vec::new()), Progress::Drained);
    system.answer();
    assert_eq!(port.read(START, &mut Vec::new()), Progress::Closed);
    assert_eq!(port.deadline(), None);
    port.handle_wake(START + LONG);
    port.handle_timeout(START + LONG);
    assert_eq!(port.read(START + LONG, &mut Vec::new()), Progress::Closed);
    assert!(system.is_idle());
    assert_eq!(system.world().starts, 1);
}

#[test]
fn a_stop_is_possible_at_any_time() {
    // While starting, and while waiting.
    let (vmnet, system) = fake();
    system.world().holds_answers = true;
    let mut port = VmnetPort::start(vmnet, shared(), START).unwrap();
    port.stop(START);
    system.answer();
    assert_eq!(port.read(START, &mut Vec::new()), Progress::Closed);
    let (mut port, system) = running(shared());
    system.vanish(Status::Failure);
    read_twice(&mut port, START);
    port.stop(START);
    assert_eq!(port.read(START, &mut Vec::new()), Progress::Closed);
    assert!(system.is_idle());
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
    let (mut port, system) = running(shared());
    system.vanish(Status::Failure);
    system.world().holds_answers = true;
    port.read(START, &mut Vec::new());
    // Neither the stop nor the starts are answered.
    let now = pass(&mut port, START, START + LONG);
    assert!(system.world().starts > 1);
    system.world().holds_answers = false;
    system.answer();
    port.read(now, &mut Vec::new());
    let now = pass(&mut port, now, now + LONG);
    assert!(system.is_running());
    assert_eq!(port.write(now, &queue(2)).frames, 2);
}

#[test]
fn an_answer_that_came_while_nobody_looked_is_not_late() {
    let (vmnet, system) = fake();
    system.world().refuses = Some(Status::Failure);
    let mut port = VmnetPort::start(vmnet, shared(), START).unwrap();
    // The fake panics when what was refused is stopped.
    port.handle_timeout(START + LONG);
    let (vmnet, system) = fake();
    let mut port = VmnetPort::start(vmnet, shared(), START).unwrap();
    port.handle_timeout(START + LONG);
    assert!(system.is_running() && port.parameters().is_some());
}

#[test]
fn a_dropped_port_leaves_no_interface() {
    let (port, system) = running(shared());
    drop(port);
    assert!(system.is_idle());
}

#[test]
fn packets_whose_event_was_lost_in_sleep_are_read_after_it() {
    let (mut port, system) = running(bridged());
    system.world().is_asleep = true;
    system.send(vec![1; 60]);
    system.send(vec![2; 60]);
    system.world().is_asleep = false;
    // No event tells of them.
    port.handle_wake(START);
    assert_eq!(read_all(&mut port, START), [frame(1, 60), frame(2, 60)]);
    system.send(vec![3; 60]);
    assert_eq!(read_all(&mut port, START), [frame(3, 60)]);
}

#[test]
fn an_interface_that_did_not_survive_the_sleep_is_back_soon_after_it() {
    let (mut port, system) = running(bridged());
    // Long gone, so that the wait is at its longest; then the host sleeps.
    let mut now = START;
    system.world().refuses = Some(Status::Failure);
    system.vanish(Status::Failure);
    port.read(now, &mut Vec::new());
    now = pass(&mut port, now, now + LONG);
    assert!(!system.is_running());
    system.world().refuses = None;
    port.handle_wake(now);
    port.read(now, &mut Vec::new());
    assert!(system.is_running());
}

#[test]
fn a_host_interface_that_sleep_took_is_noticed_at_waking() {
    let (mut port, system) = running(bridged());
    system.world().interfaces.clear();
    port.handle_wake(START);
    port.read(START, &mut Vec::new());
    assert_eq!(port.parameters(), None);
    assert!(system.is_idle());
}

#[test]
fn frames_with_headers_keep_their_checksums_and_segments() {
    let (vmnet, system) = fake();
    system.world().parameters = Parameters {
        has_header: true,
        ..Parameters::new(1500, 65_550)
    };
    let mut port = VmnetPort::start(vmnet, shared(), START).unwrap();
    port.wait_for_start(START).unwrap();
    assert!(port.offloads().checksum && port.offloads().tcp4 && !port.offloads().udp4);
    let checksum = Checksum::Partial {
        start: 34,
        offset: 16,
    };
    let partial = Frame {
        offload: Offload {
            checksum,
            gso: Gso::None,
        },
        ..frame(7, 60)
    };
    system.send([&vnet::emit(&partial)[..], &partial.bytes].concat());
    system.send([0xff; 70]);
    system.send([0; 12]);
    assert_eq!(read_all(&mut port, START), std::slice::from_ref(&partial));
    assert_eq!(port.counters().bad_packets, 2);
    port.write(START, &[partial.clone(), frame(1, 65_550)].into());
    let world = system.world();
    assert_eq!(
        world.outgoing[0],
        [&vnet::emit(&partial)[..], &partial.bytes].concat()
    );
    assert_eq!(world.outgoing[1].len(), vnet::LEN + 65_550);
}

#[test]
fn without_headers_every_frame_is_to_be_finished() {
    let (port, _system) = running(shared());
    assert_eq!(port.offloads(), Offloads::default());
}
