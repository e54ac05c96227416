//! One test a rule, and what holds whatever a guest says.

use proptest::prelude::*;

use super::*;

const WATCH: WatchId = WatchId(1);
const PORT: PortId = PortId(4);

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn watches() -> Watches {
    let mut watches = Watches::default();
    watches.add(WATCH, ForwardTarget::Name("web".to_owned()));
    watches
}

fn report(watches: &mut Watches, ms: u64, ports: &[u16]) {
    let ports = ports.iter().copied().map(Listening::Tcp).collect();
    watches.handle_report(at(ms), PORT, &ports, |_| true);
}

/// When each change is told until then, and how many ports it has.
fn run(watches: &mut Watches, until: u64) -> Vec<(u128, usize)> {
    let mut told = Vec::new();
    while let Some(now) = watches.poll_timeout().filter(|now| *now <= at(until)) {
        for (_, ports) in watches.handle_timeout(now) {
            told.push((now.elapsed().as_millis(), ports.len()));
        }
    }
    told
}

#[test]
fn a_change_is_told_at_once_and_a_repetition_is_none() {
    let mut watches = watches();
    report(&mut watches, 1000, &[80]);
    assert_eq!(run(&mut watches, 2000), [(1050, 1)]);
    report(&mut watches, 11_000, &[80]);
    assert!(run(&mut watches, 12_000).is_empty());
    report(&mut watches, 21_000, &[]);
    assert_eq!(run(&mut watches, 22_000), [(21_050, 0)]);
}

#[test]
fn ports_that_open_together_are_one_change() {
    let mut watches = watches();
    report(&mut watches, 1000, &[80]);
    report(&mut watches, 1020, &[80, 443]);
    assert_eq!(run(&mut watches, 2000), [(1050, 2)]);
}

#[test]
fn what_a_guest_said_goes_with_it_or_expires() {
    let mut watches = watches();
    report(&mut watches, 0, &[80]);
    assert_eq!(run(&mut watches, 10_000), [(50, 1)]);
    watches.handle_detached(at(20_000), PortId(9));
    assert!(run(&mut watches, 21_000).is_empty());
    watches.handle_detached(at(22_000), PORT);
    assert_eq!(run(&mut watches, 23_000), [(22_050, 0)]);
    report(&mut watches, 30_000, &[80]);
    assert_eq!(run(&mut watches, 120_000), [(30_050, 1), (75_050, 0)]);
    assert_eq!(watches.poll_timeout(), None);
}

#[test]
fn a_report_of_another_guest_changes_nothing() {
    let mut watches = watches();
    watches.handle_report(at(0), PORT, &[Listening::Tcp(80)].into(), |_| false);
    assert_eq!(watches.poll_timeout(), None);
}

#[test]
fn a_guest_that_never_rests_is_told_of_once_a_second() {
    let mut watches = watches();
    let mut told = Vec::new();
    for ms in 0..20_000 {
        let port = 80 + u16::try_from(ms % 7).unwrap();
        report(&mut watches, ms, &[port]);
        told.extend(run(&mut watches, ms));
    }
    assert!((10..=25).contains(&told.len()), "{told:?}");
}

proptest! {
    /// The last thing told is the last thing heard, and not much is told on the way.
    #[test]
    fn what_is_told_at_last_is_what_was_heard_at_last(
        reports in prop::collection::vec((0..3000u64, prop::collection::btree_set(1..9u16, 0..5)), 1..60),
    ) {
        let mut watches = watches();
        let (mut now, mut told) = (0, Vec::new());
        for (wait, ports) in &reports {
            now += wait;
            told.extend(run(&mut watches, now));
            report(&mut watches, now, &ports.iter().copied().collect::<Vec<_>>());
        }
        told.extend(run(&mut watches, now + 5000));
        let expected = reports.last().map_or(0, |(_, ports)| ports.len());
        prop_assert_eq!(told.last().map_or(0, |(_, count)| *count), expected);
        let most = u128::from(now) / 100 + 3;
        prop_assert!(told.len() as u128 <= most);
    }
}
