//! The port over the fake: whatever breaks the contract panics in the fake.

use std::collections::VecDeque;
use std::time::Duration;

use atoll_wire::{Checksum, Frame, Gso, Offload, Offloads, vnet};

use super::backoff::{LONGEST, PATIENCE};
use super::contract::{Features, MAX_PACKETS, Parameters, Status};
use super::fake::{FRAME_1500, FakeSystem, fake};
use super::*;
use crate::stream::{Progress, Written};

mod frames;
mod life;
mod sleep;
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
