//! Plans for every situation a machine can be in, and the property that a plan carried out leaves nothing to do.

use proptest::prelude::*;

use super::*;

fn wanted(machine: &str) -> Desired {
    Desired {
        machine: machine.to_owned(),
        has_disk: true,
        fingerprint: "1".to_owned(),
        adjustable: "1".to_owned(),
        waits: Vec::new(),
        outputs: BTreeSet::new(),
    }
}

fn running() -> Observed {
    Observed {
        running: true,
        ready: true,
        paused: false,
        suspended: false,
        disk: true,
        fingerprint: Some("1".to_owned()),
        adjustable: Some("1".to_owned()),
        outputs: BTreeSet::new(),
    }
}

/// A machine that waits for others.
fn after(machine: &str, waits: &[(&str, Condition)]) -> Desired {
    let wait = |(other, condition): &(&str, Condition)| Dependency {
        machine: other.parse().unwrap(),
        condition: condition.clone(),
        interval: None,
        deadline: None,
    };
    Desired {
        waits: waits.iter().map(wait).collect(),
        ..wanted(machine)
    }
}

/// The steps of each row.
fn all_steps(goal: &Goal, desired: &[Desired], observed: &[(&str, Observed)]) -> Vec<(String, Vec<Step>)> {
    let observed = observed.iter().map(|(name, it)| ((*name).to_owned(), it.clone()));
    let rows = plan(goal, desired, &observed.collect()).unwrap();
    rows.into_iter().map(|row| (row.machine, row.steps)).collect()
}

fn only(goal: &Goal, desired: &[Desired], observed: &[(&str, Observed)]) -> Vec<Step> {
    let observed = observed
        .iter()
        .map(|(name, it)| ((*name).to_owned(), it.clone()))
        .collect();
    let mut rows = plan(goal, desired, &observed).unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0).steps
}

fn all() -> BTreeSet<String> {
    BTreeSet::new()
}

/// Restarts nothing, prunes nothing.
fn up(machines: BTreeSet<String>) -> Goal {
    Goal::Up(Up {
        machines,
        ..Up::default()
    })
}

fn named(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_new_machine_takes_every_step() {
    let steps = only(&up(all()), &[wanted("a")], &[]);
    assert_eq!(
        steps,
        [Step::Image, Step::Disk, Step::Join, Step::Start, Step::Await]
    );
}

#[test]
fn a_disk_that_is_there_is_kept() {
    let stopped = Observed {
        disk: true,
        ..Observed::default()
    };
    let steps = only(&up(all()), &[wanted("a")], &[("a", stopped)]);
    assert_eq!(steps, [Step::Image, Step::Join, Step::Start, Step::Await]);
}

#[test]
fn a_machine_without_a_disk_gets_none() {
    let steps = only(
        &up(all()),
        &[Desired {
            has_disk: false,
            ..wanted("a")
        }],
        &[],
    );
    assert!(!steps.contains(&Step::Disk), "{steps:?}");
}

#[test]
fn a_machine_that_runs_as_wanted_is_left_alone() {
    assert_eq!(only(&up(all()), &[wanted("a")], &[("a", running())]), []);
}

#[test]
fn a_machine_that_was_not_ready_is_awaited_again() {
    let booting = Observed {
        ready: false,
        ..running()
    };
    assert_eq!(only(&up(all()), &[wanted("a")], &[("a", booting)]), [Step::Await]);
}

#[test]
fn a_change_to_a_running_machine_is_told_and_not_forced() {
    let other = Observed {
        fingerprint: Some("2".to_owned()),
        ..running()
    };
    assert_eq!(
        only(&up(all()), &[wanted("a")], &[("a", other)]),
        [Step::TellChanged]
    );
}

#[test]
fn a_change_to_a_running_machine_is_made_by_a_restart_where_that_may_be() {
    let other = Observed {
        fingerprint: Some("2".to_owned()),
        ..running()
    };
    let goal = Goal::Up(Up {
        restart: true,
        ..Up::default()
    });
    let steps = only(&goal, &[wanted("a")], &[("a", other)]);
    let expected = [
        Step::Stop,
        Step::Leave,
        Step::Image,
        Step::Join,
        Step::Start,
        Step::Await,
    ];
    assert_eq!(steps, expected);
    assert_eq!(only(&goal, &[wanted("a")], &[("a", running())]), []);
}

#[test]
fn what_needs_no_restart_is_given_to_a_running_machine() {
    let other = Observed {
        adjustable: Some("2".to_owned()),
        ..running()
    };
    for restart in [false, true] {
        let goal = Goal::Up(Up {
            restart,
            ..Up::default()
        });
        assert_eq!(
            only(&goal, &[wanted("a")], &[("a", other.clone())]),
            [Step::Adjust]
        );
    }
}

#[test]
fn a_new_machine_leaves_the_others_alone() {
    let observed = [("a".to_owned(), running())].into_iter().collect();
    let rows = plan(&up(all()), &[wanted("a"), wanted("b")], &observed).unwrap();
    assert_eq!(rows[0].steps, []);
    assert!(rows[1].steps.contains(&Step::Start));
}

#[test]
fn a_machine_that_the_file_lost_is_told_of_and_kept() {
    let steps = only(&up(all()), &[], &[("old", running())]);
    assert_eq!(steps, [Step::TellGone]);
}

#[test]
fn a_machine_that_the_file_lost_is_deleted_where_it_may_be_pruned() {
    let goal = Goal::Up(Up {
        prune: true,
        ..Up::default()
    });
    let steps = only(&goal, &[], &[("old", running())]);
    assert_eq!(steps, [Step::Stop, Step::Leave, Step::Delete]);
}

#[test]
fn naming_machines_leaves_the_others_alone() {
    let rows = plan(&up(named(&["a"])), &[wanted("a"), wanted("b")], &BTreeMap::new()).unwrap();
    assert_eq!(
        rows.iter().map(|row| row.machine.as_str()).collect::<Vec<_>>(),
        ["a"]
    );
}

#[test]
fn a_restart_stops_first_and_takes_the_new_configuration() {
    let other = Observed {
        fingerprint: Some("2".to_owned()),
        ..running()
    };
    let steps = only(&Goal::Restart(named(&["a"])), &[wanted("a")], &[("a", other)]);
    assert_eq!(
        steps,
        [
            Step::Stop,
            Step::Leave,
            Step::Image,
            Step::Join,
            Step::Start,
            Step::Await
        ]
    );
}

#[test]
fn a_removed_machine_is_stopped_before_its_disk_goes() {
    let steps = only(&Goal::Remove(all()), &[wanted("a")], &[("a", running())]);
    assert_eq!(steps, [Step::Stop, Step::Leave, Step::Delete]);
}

#[test]
fn a_machine_waits_before_it_is_started_and_not_when_it_runs() {
    let desired = [after("a", &[("b", Condition::Ready)]), wanted("b")];
    let rows = all_steps(&up(all()), &desired, &[("b", running())]);
    let steps = vec![
        Step::Image,
        Step::Disk,
        Step::Hold,
        Step::Join,
        Step::Start,
        Step::Await,
    ];
    assert_eq!(rows, [("a".to_owned(), steps), ("b".to_owned(), Vec::new())]);
    let booting = Observed {
        ready: false,
        ..running()
    };
    let rows = all_steps(&up(all()), &desired, &[("a", booting), ("b", running())]);
    assert_eq!(rows[0].1, [Step::Await]);
}

#[test]
fn who_is_named_brings_those_it_depends_on() {
    let desired = [
        after("a", &[("b", Condition::Started)]),
        after("b", &[("c", Condition::Port(80))]),
        wanted("c"),
        wanted("d"),
    ];
    let names = |goal: &Goal, observed: &[(&str, Observed)]| -> Vec<String> {
        let rows = all_steps(goal, &desired, observed).into_iter();
        rows.filter(|(_, steps)| !steps.is_empty())
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(names(&up(named(&["a"])), &[]), ["a", "b", "c"]);
    assert_eq!(names(&up(named(&["c"])), &[]), ["c"]);
    // Those that come along are not restarted.
    let up = [("a", running()), ("b", running()), ("c", running())];
    assert_eq!(names(&Goal::Restart(named(&["a"])), &up), ["a"]);
    assert_eq!(names(&Goal::Restart(named(&["a"])), &up[..2]), ["a", "c"]);
    assert_eq!(names(&Goal::Down(named(&["a"])), &up), ["a"]);
}

#[test]
fn what_others_depend_on_is_stopped_last() {
    let desired = [wanted("a"), after("b", &[("a", Condition::Ready)])];
    let up = [("a", running()), ("b", running())];
    let rows = all_steps(&Goal::Down(all()), &desired, &up);
    assert_eq!(rows[0].1, [Step::Yield, Step::Stop, Step::Leave]);
    assert_eq!(rows[1].1, [Step::Stop, Step::Leave]);
    // Nobody yields to what stays, or does not run.
    let rows = all_steps(&Goal::Down(named(&["a"])), &desired, &up);
    assert_eq!(rows[0].1, [Step::Stop, Step::Leave]);
}

#[test]
fn outputs_are_taken_when_they_may_be_new_or_somebody_needs_them() {
    let outputs = || BTreeSet::from(["t".to_owned()]);
    let giver = || Desired {
        outputs: outputs(),
        ..wanted("a")
    };
    let desired = [giver(), after("b", &[("a", Condition::Outputs)])];
    let told = Observed {
        outputs: outputs(),
        ..running()
    };
    let steps = |observed: &[(&str, Observed)]| all_steps(&up(all()), &desired, observed)[0].1.clone();
    assert_eq!(steps(&[]).last(), Some(&Step::Outputs));
    assert_eq!(steps(&[("a", told.clone()), ("b", running())]), []);
    assert_eq!(steps(&[("a", told)]), [Step::Outputs], "b is to be started");
    assert_eq!(steps(&[("a", running()), ("b", running())]), [Step::Outputs]);
}

#[test]
fn each_thing_is_looked_for_once() {
    let port = || ("c", Condition::Port(80));
    let desired = [
        after("a", &[port(), ("c", Condition::Ready)]),
        after("b", &[port()]),
        wanted("c"),
    ];
    let rows = plan(&up(all()), &desired, &BTreeMap::new()).unwrap();
    let looks: Vec<String> = looks(&rows).into_iter().map(ToString::to_string).collect();
    assert_eq!(looks, ["port 80 of c"]);
}

#[test]
fn an_unknown_name_is_refused_with_the_names_there_are() {
    let error = plan(&up(named(&["c"])), &[wanted("a"), wanted("b")], &BTreeMap::new()).unwrap_err();
    assert_eq!(error.to_string(), "there is no machine \"c\" in this cluster");
    assert_eq!(error.hint(), "there are: a, b");
}

/// What a machine is found as after its steps went well.
fn carried_out(steps: &[Step], desired: Option<&Desired>, mut observed: Observed) -> Option<Observed> {
    for step in steps {
        match step {
            Step::Image
            | Step::Hold
            | Step::Join
            | Step::Yield
            | Step::Leave
            | Step::TellChanged
            | Step::TellGone => {}
            Step::Adjust => observed.adjustable = desired.map(|it| it.adjustable.clone()),
            Step::Outputs => {
                assert!(
                    observed.running && !observed.paused,
                    "asked while it stands still"
                );
                observed.outputs.clone_from(&desired.unwrap().outputs);
            }
            Step::Disk => observed.disk = true,
            Step::Start => {
                assert!(!observed.running && !observed.suspended, "started twice");
                assert!(
                    observed.disk || !desired.unwrap().has_disk,
                    "started without its disk"
                );
                observed.running = true;
                observed.fingerprint = desired.map(|it| it.fingerprint.clone());
                observed.adjustable = desired.map(|it| it.adjustable.clone());
            }
            Step::Await => {
                assert!(
                    observed.running && !observed.paused,
                    "awaited while it stands still"
                );
                observed.ready = true;
            }
            Step::Pause => {
                assert!(observed.running && !observed.paused, "paused twice");
                observed.paused = true;
            }
            Step::Continue => {
                assert!(observed.running && observed.paused, "goes on already");
                observed.paused = false;
            }
            Step::Suspend => {
                assert!(observed.running, "suspended while stopped");
                (observed.running, observed.paused, observed.suspended) = (false, false, true);
            }
            Step::Wake => {
                assert!(
                    observed.suspended && !observed.running,
                    "has no memory to go on with"
                );
                (observed.running, observed.suspended) = (true, false);
            }
            Step::Stop => {
                assert!(observed.running, "stopped twice");
                observed.paused = false;
                observed.running = false;
                observed.ready = false;
            }
            Step::Delete => {
                assert!(!observed.running, "deleted while running");
                return None;
            }
        }
    }
    Some(observed)
}

fn any_observed() -> impl Strategy<Value = Observed> {
    (
        0..4_u8,
        any::<bool>(),
        any::<bool>(),
        prop::option::of("[12]"),
        prop::option::of("[12]"),
    )
        .prop_map(|(does, ready, disk, fingerprint, adjustable)| Observed {
            running: matches!(does, 1 | 2),
            ready: does > 0 && ready,
            paused: does == 2,
            suspended: does == 3,
            disk,
            fingerprint,
            adjustable,
            outputs: BTreeSet::new(),
        })
}

fn any_goal() -> impl Strategy<Value = Goal> {
    prop_oneof![
        (any::<bool>(), any::<bool>()).prop_map(|(restart, prune)| Goal::Up(Up {
            machines: all(),
            restart,
            prune
        })),
        Just(Goal::Down(all())),
        Just(Goal::Remove(all())),
        Just(Goal::Restart(all())),
        Just(Goal::Pause(all())),
        Just(Goal::Suspend(all())),
        Just(Goal::Resume(all())),
    ]
}

#[test]
fn what_stands_still_goes_on_before_anything_else_is_done_with_it() {
    let paused = Observed {
        paused: true,
        ..running()
    };
    let suspended = Observed {
        running: false,
        suspended: true,
        ..running()
    };
    let of = |goal: &Goal, found: &Observed| only(goal, &[wanted("a")], &[("a", found.clone())]);
    assert_eq!(of(&up(all()), &paused), [Step::Continue]);
    assert_eq!(of(&up(all()), &suspended), [Step::Wake]);
    assert_eq!(of(&Goal::Resume(all()), &suspended), [Step::Wake]);
    assert_eq!(of(&Goal::Resume(all()), &running()), []);
    let restarted = of(&Goal::Restart(named(&["a"])), &suspended);
    assert_eq!(restarted[..3], [Step::Wake, Step::Stop, Step::Leave]);
    // Its memory stays, and comes back.
    assert_eq!(of(&Goal::Down(all()), &suspended), []);
    assert_eq!(of(&Goal::Suspend(all()), &paused), [Step::Suspend, Step::Leave]);
    assert_eq!(of(&Goal::Remove(all()), &suspended), [Step::Delete]);
}

proptest! {
    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do(
        goal in any_goal(),
        in_file in any::<bool>(),
        has_disk in any::<bool>(),
        has_outputs in any::<bool>(),
        found in prop::option::of(any_observed()),
    ) {
        let outputs = has_outputs.then(|| "t".to_owned()).into_iter().collect();
        let desired = if in_file { vec![Desired { has_disk, outputs, ..wanted("a") }] } else { Vec::new() };
        let observed: BTreeMap<_, _> = found.map(|it| ("a".to_owned(), it)).into_iter().collect();
        let mut after = observed.clone();
        for row in plan(&goal, &desired, &observed).unwrap() {
            let before = after.remove(&row.machine).unwrap_or_default();
            if let Some(observed) = carried_out(&row.steps, desired.first(), before) {
                after.insert(row.machine, observed);
            }
        }
        let again = if matches!(goal, Goal::Restart(_)) { up(all()) } else { goal };
        for row in plan(&again, &desired, &after).unwrap() {
            let rest: Vec<_> = row.steps.iter().filter(|it| !matches!(it, Step::TellChanged | Step::TellGone | Step::Delete)).collect();
            prop_assert!(rest.is_empty(), "{rest:?}");
        }
    }
}
