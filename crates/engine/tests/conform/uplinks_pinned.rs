//! Uplinks that belong to one guest's address, as a macvtap does: asked for when it speaks, given up when it is gone.

use atoll_engine::{Action, Event, Mode, PortId, Side};
use atoll_wire::ArpOperation;

use crate::bench::{A, B, Net};
use crate::uplinks::{A_LAN, LAN, between};

fn pinned() -> Net {
    let mut net = Net::of_strangers(|config| {
        config.mode = Mode::Bridged;
        config.pinned_uplinks = true;
    });
    net.send_arp(A, ArpOperation::Request, A_LAN.ip, LAN.ip);
    assert_eq!(net.action(), Action::OpenUplink(A.mac));
    net.attach_uplink(LAN.port, Side::Pinned(A.mac));
    net
}

#[test]
fn a_guests_first_frame_asks_for_its_uplink_and_its_end_gives_it_up() {
    let mut net = pinned();
    let frame = between(A_LAN, LAN.mac, LAN.ip, b"out");
    net.send_frame(A, &frame);
    assert_eq!(net.frames(LAN), [frame]);
    net.asks_nothing();
    net.event(Event::PortDetached(A.port));
    assert_eq!(net.action(), Action::CloseUplink(A.mac));
}

#[test]
fn an_uplink_that_nobody_wants_any_more_is_given_up() {
    let mut net = pinned();
    net.attach_uplink(PortId(10), Side::Pinned(B.mac));
    assert_eq!(net.action(), Action::CloseUplink(B.mac));
}
