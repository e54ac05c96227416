//! Starting, stopping, vanishing, coming back.

use super::*;

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
