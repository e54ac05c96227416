//! A host that slept.

use super::*;

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
