//! A vmnet port over the fake, which panics when its contract is broken, while anything happens to the interface and any bytes come
//! from it; and the words that name an isolated network.

use std::collections::VecDeque;
use std::time::Duration;

use atoll_ports::vmnet::fake::{FakeSystem, fake};
use atoll_ports::vmnet::{NetworkId, Parameters, Status, VmnetMode, VmnetOptions, VmnetPort};
use atoll_ports::{MAX_FRAME, MIN_FRAME};
use atoll_wire::{Frame, vnet};

use super::bytes::Choices;

/// Steps of one run.
const STEPS: usize = 200;

/// The first byte says what kind of interface it is; the others what happens to it.
pub(super) fn port(input: &[u8]) {
    let mut choices = Choices::new(input);
    let kind = choices.byte();
    let (vmnet, system) = fake();
    system.world().parameters = Parameters {
        has_header: kind & 1 != 0,
        read_max_packets: usize::from(kind >> 2) + 1,
        write_max_packets: usize::from(kind >> 2) + 1,
        ..Parameters::new(1500, if kind & 2 != 0 { 65_550 } else { 1514 })
    };
    let options = VmnetOptions::new(VmnetMode::Bridged {
        interface: "en0".to_owned(),
    });
    let mut now = Duration::from_secs(1);
    let Ok(mut port) = VmnetPort::start(vmnet, options, now) else {
        return;
    };
    let mut frames = Vec::new();
    for _ in 0..STEPS {
        if choices.is_empty() {
            break;
        }
        if step(&mut choices, &mut port, &system, now) {
            port.read(now, &mut frames);
        }
        assert!(
            frames
                .iter()
                .all(|frame| (MIN_FRAME..=MAX_FRAME).contains(&frame.len()))
        );
        frames.clear();
        now += Duration::from_micros(u64::from(choices.byte()).pow(3));
        port.handle_timeout(now);
    }
}

/// One thing that happens. Whether to read after it.
fn step(choices: &mut Choices<'_>, port: &mut VmnetPort, system: &FakeSystem, now: Duration) -> bool {
    let status = |byte: u8| Status::check(1001 + u32::from(byte % 12)).err();
    match choices.byte() % 10 {
        0 => {
            let len = usize::from(choices.byte());
            system.send(choices.take(len));
        }
        1 => {
            let header = choices.take(vnet::LEN);
            let body = vec![choices.byte(); usize::from(choices.byte()) * 300];
            system.send([header, &body].concat());
        }
        2 => {
            let len = usize::from(choices.byte()) * 270;
            let queue: VecDeque<Frame> = (0..choices.byte())
                .map(|byte| Frame::plain(vec![byte; len].into()))
                .collect();
            let written = port.write(now, &queue);
            assert!(written.frames <= queue.len());
            assert!(!written.blocked || port.deadline().is_some());
        }
        3 => system.vanish(status(choices.byte()).unwrap_or(Status::Failure)),
        4 => system.world().room = Some(usize::from(choices.byte())),
        5 => system.world().room = None,
        6 => system.world().refuses = status(choices.byte()),
        7 => system.world().holds_answers = choices.byte() & 1 != 0,
        8 => system.answer(),
        _ => port.handle_wake(now),
    }
    choices.byte() & 1 != 0
}

/// A UUID, as somebody writes it.
pub(super) fn network_id(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(id) = text.parse::<NetworkId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
