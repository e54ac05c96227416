//! Anything may happen at any time: the contract is kept (the fake panics otherwise), frames are neither changed, nor doubled, nor
//! out of order, every one that is not delivered is counted, and the interface is back when nothing is wrong any more.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::super::contract::Status;
use super::{START, bridged, fake, frame, pass, queue};
use crate::stream::Progress;
use crate::vmnet::VmnetPort;

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Receive(usize),
    Read,
    Pass(u64),
    Vanish(Status),
    Refuse(Option<Status>),
    RefuseAtOnce(Option<Status>),
    Room(Option<usize>),
    Fault(Status),
    HoldAnswers(bool),
    Answer,
    Interface(bool),
    Sleep(bool),
}

fn status() -> impl Strategy<Value = Status> {
    (1001_u32..1013).prop_map(|number| Status::check(number).unwrap_err())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..400_usize).prop_map(Step::Write),
        4 => (0..400_usize).prop_map(Step::Receive),
        4 => Just(Step::Read),
        4 => (0..20_000_000_u64).prop_map(Step::Pass),
        1 => status().prop_map(Step::Vanish),
        1 => proptest::option::of(status()).prop_map(Step::Refuse),
        1 => proptest::option::of(status()).prop_map(Step::RefuseAtOnce),
        2 => proptest::option::of(0..300_usize).prop_map(Step::Room),
        1 => status().prop_map(Step::Fault),
        1 => any::<bool>().prop_map(Step::HoldAnswers),
        1 => Just(Step::Answer),
        1 => any::<bool>().prop_map(Step::Interface),
        1 => any::<bool>().prop_map(Step::Sleep),
    ]
}

proptest! {
    #[test]
    fn the_contract_is_kept_and_frames_are_accounted_for(steps in proptest::collection::vec(step(), 0..60)) {
        let (vmnet, system) = fake();
        let mut port = VmnetPort::start(vmnet, bridged(), START).unwrap();
        port.wait_for_start(START).unwrap();
        let mut now = START;
        let mut offered = queue(20_000);
        let (mut gone, mut received) = (0, 0_u64);
        let mut last = None;
        for step in steps {
            match step {
                Step::Write(count) => {
                    let waiting: VecDeque<_> = offered.iter().take(count).cloned().collect();
                    let written = port.write(now, &waiting);
                    prop_assert!(written.frames <= waiting.len());
                    prop_assert!(!written.blocked || port.deadline().is_some());
                    offered.drain(..written.frames);
                    gone += written.frames;
                }
                Step::Receive(count) => for _ in 0..count {
                    received += 1;
                    system.send([&[0; 12][..], &received.to_be_bytes()].concat());
                },
                Step::Read => {
                    let mut frames = Vec::new();
                    prop_assert_ne!(port.read(now, &mut frames), Progress::Closed);
                    for frame in frames {
                        let number = u64::from_be_bytes(frame.bytes[12..].try_into().unwrap());
                        prop_assert!(last.replace(number).is_none_or(|last| last < number));
                    }
                }
                Step::Pass(micros) => now = pass(&mut port, now, now + Duration::from_micros(micros)),
                Step::Vanish(status) => system.vanish(status),
                Step::Refuse(status) => system.world().refuses = status,
                Step::RefuseAtOnce(status) => system.world().refuses_at_once = status,
                Step::Room(room) => system.world().room = room,
                Step::Fault(status) => system.world().write_fault = Some(status),
                Step::HoldAnswers(holds) => system.world().holds_answers = holds,
                Step::Answer => system.answer(),
                Step::Interface(is_there) => {
                    let mut world = system.world();
                    world.interfaces.clear();
                    world.interfaces.extend(is_there.then(|| "en0".to_owned()));
                }
                Step::Sleep(is_asleep) => {
                    system.world().is_asleep = is_asleep;
                    if !is_asleep {
                        port.handle_wake(now);
                    }
                }
            }
        }
        let counters = port.counters();
        let delivered = system.world().outgoing.len();
        let lost = counters.while_down + counters.full + counters.refused + counters.bad_size;
        prop_assert_eq!(u64::try_from(gone).unwrap(), u64::try_from(delivered).unwrap() + lost);
        prop_assert!(system.world().outgoing.windows(2).all(|pair| pair[0] < pair[1]), "doubled, or out of order");

        // All is well again.
        {
            let mut world = system.world();
            world.refuses = None;
            world.refuses_at_once = None;
            world.room = None;
            world.write_fault = None;
            world.holds_answers = false;
            world.is_asleep = false;
            world.interfaces = vec!["en0".to_owned()];
        }
        system.answer();
        port.handle_wake(now);
        port.read(now, &mut Vec::new());
        now = pass(&mut port, now, now + Duration::from_secs(60));
        while port.read(now, &mut Vec::new()) == Progress::More {}
        now = pass(&mut port, now, now + Duration::from_secs(60));
        prop_assert!(system.is_running());
        system.send(vec![9; 60]);
        let mut frames = Vec::new();
        port.read(now, &mut frames);
        prop_assert_eq!(frames, [frame(9, 60)]);
    }
}
