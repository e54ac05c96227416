//! Reading and writing: bursts, batches, sizes, back-pressure.

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

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
fn packets_make_the_port_readable_until_they_are_read() {
    let is_readable = |port: &VmnetPort| {
        let mut fds = [PollFd::new(port, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())) == Ok(1)
    };
    let (mut port, system) = running(shared());
    assert!(!is_readable(&port));
    system.send(vec![1; 60]);
    system.send(vec![2; 60]);
    assert!(is_readable(&port));
    read_all(&mut port, START);
    assert!(!is_readable(&port));
    // An interface that came back is listened to as well.
    system.vanish(Status::Failure);
    port.read(START, &mut Vec::new());
    let now = pass(&mut port, START, START + LONG);
    port.read(now, &mut Vec::new());
    system.send(vec![3; 60]);
    assert!(is_readable(&port));
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
