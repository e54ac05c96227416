//! The back end of vhost-user against a front end that says anything and a driver that writes anything into its rings.
//!
//! Beside having no panic, work is bounded (a run that does not end is found by who waits for it), frames have a length that frames can have, and
//! another guest's port goes on as if nothing were.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;

use atoll_ports::vhost_user::VhostUserPort;
use atoll_ports::vhost_user::front_end::{ALL_FEATURES, FrontEnd, FrontEndOptions};
use atoll_ports::{MAX_FRAME, MIN_FRAME};
use atoll_wire::Frame;

use super::bytes::Choices;

const SIZE: u16 = 32;

/// Where the transmit ring is in the front end's memory; the receive ring is at its start.
const TRANSMIT: usize = 64 << 10;

fn pair(features: u64) -> Option<(VhostUserPort, FrontEnd)> {
    let (ours, theirs) = UnixStream::pair().ok()?;
    ours.set_nonblocking(true).ok()?;
    theirs.set_nonblocking(true).ok()?;
    let options = FrontEndOptions {
        features,
        size: SIZE,
        buffer: 600,
    };
    let front_end = FrontEnd::new(theirs, options).ok()?;
    Some((VhostUserPort::new(ours), front_end))
}

/// One turn at both rings; `false` when the connection is to be closed.
fn turn(port: &mut VhostUserPort) -> bool {
    let mut frames = Vec::new();
    let read = port.read(1, &mut frames);
    for frame in &frames {
        assert!(
            (MIN_FRAME..=MAX_FRAME).contains(&frame.len()),
            "a frame of {} bytes",
            frame.len()
        );
    }
    let queue: VecDeque<Frame> = [60, 1514, 60_000]
        .map(|len| Frame::plain(vec![7; len].into()))
        .into();
    let written = port.write(&queue);
    assert!(written.as_ref().map_or(0, |written| written.frames) <= queue.len());
    read.is_ok() && written.is_ok()
}

/// Any messages. The first byte says whether the device is set up before.
pub(super) fn messages(input: &[u8]) {
    let Some((mut port, mut front_end)) = pair(ALL_FEATURES) else {
        return;
    };
    let mut choices = Choices::new(input);
    let is_set_up = choices.byte() & 1 != 0;
    if is_set_up {
        assert!(port.handle_messages().is_ok(), "it is set up as it should be");
    }
    while !choices.is_empty() {
        let (request, descriptors) = (choices.byte().into(), usize::from(choices.byte() % 4));
        let payload = choices.chunk();
        let files = vec![front_end.file(); descriptors];
        if front_end.say(request, payload, &files).is_err() || port.handle_messages().is_err() {
            break;
        }
        while port.poll_watch().is_some() {}
        if !turn(&mut port) {
            break;
        }
        let _ = front_end.answer();
    }
    port.close();
    while port.poll_watch().is_some() {}
}

/// Any contents of rings. The first byte chooses features; then come places and what is written there.
pub(super) fn rings(input: &[u8]) {
    const EVENT_IDX: u64 = 1 << 29;
    const MRG_RXBUF: u64 = 1 << 15;
    let mut choices = Choices::new(input);
    let features = [ALL_FEATURES, ALL_FEATURES & !EVENT_IDX, MRG_RXBUF, 0];
    let (Some((mut port, mut front_end)), Some((mut other, mut other_end))) =
        (pair(choices.one_of(&features)), pair(ALL_FEATURES))
    else {
        return;
    };
    for port in [&mut port, &mut other] {
        assert!(port.handle_messages().is_ok(), "it is set up as it should be");
    }
    while !choices.is_empty() {
        let ring = usize::from(choices.byte() % 2) * TRANSMIT;
        let at = usize::from(choices.number() % 2048);
        front_end.poke(ring + at, choices.chunk());
        assert!(turn(&mut port), "rings end no connection");
        let _ = front_end.receive();
    }
    assert!(
        other_end.send(&[0; 72]).unwrap_or(false),
        "the other guest has buffers"
    );
    let mut frames = Vec::new();
    assert!(
        other.read(1, &mut frames).is_ok() && frames.len() == 1,
        "the other guest goes on"
    );
}
