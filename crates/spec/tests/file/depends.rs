//! What machines wait for, and what they tell each other.

use atoll_spec::Condition;
use insta::assert_snapshot;
use proptest::prelude::*;

use crate::{accepted, read, refused};

/// What a machine waits for, in words.
fn waits(text: &str, machine: &str) -> Vec<String> {
    let cluster = accepted(text);
    let found = cluster.machine(machine).unwrap().depends_on.iter();
    found.map(ToString::to_string).collect()
}

#[test]
fn every_condition_has_its_form() {
    let text = r#"
defaults: {image: debian}
machines:
  control: {outputs: {t: {command: cat /t}}}
  worker:
    depends-on:
      - control
      - {machine: control}
      - {machine: control, condition: started}
      - {machine: control, condition: ssh, interval: 500ms, deadline: 5m}
      - {machine: control, condition: cloud-init}
      - {machine: control, condition: outputs}
      - {machine: control, port: 6443, deadline: 10m}
      - {machine: control, command: kubectl get nodes | grep -q Ready && test -e /some/long/path}
      - {machine: control, file: /etc/kubernetes/admin.conf}
"#;
    assert_eq!(
        waits(text, "worker"),
        [
            "control",
            "control to start",
            "ssh of control",
            "cloud-init of control",
            "outputs of control",
            "port 6443 of control",
            "\"kubectl get nodes | grep -q Ready && tes…\" on control",
            "file /etc/kubernetes/admin.conf on control",
        ]
    );
    let cluster = accepted(text);
    let ssh = &cluster.machines[1].depends_on[2];
    assert_eq!(ssh.interval.unwrap().to_string(), "500ms");
    assert_eq!(ssh.deadline.unwrap().to_string(), "5m");
    assert_eq!(ssh.condition, Condition::Ssh);
}

#[test]
fn a_mention_of_an_output_is_a_dependency() {
    let text = r##"
defaults: {image: debian}
machines:
  worker: {user-data: "#cloud-config\nruncmd: [[join, '${machine.control.outputs.token}', '${machine.control.outputs.ca.base64}']]\n"}
  control: {outputs: {token: {command: cat /t}, ca: {file: /ca.crt}}}
"##;
    assert_eq!(waits(text, "worker"), ["outputs of control"]);
    assert_eq!(waits(text, "control"), [""; 0]);
}

#[test]
fn a_machine_with_a_count_stands_for_all_of_them() {
    let text = "
defaults: {image: debian}
machines:
  db: {count: 2}
  db-x: {}
  web: {count: 2, depends-on: [{machine: db, port: 5432}, db-2]}
";
    for web in ["web-1", "web-2"] {
        assert_eq!(
            waits(text, web),
            ["port 5432 of db-1", "port 5432 of db-2", "db-2"]
        );
    }
}

#[test]
fn what_is_in_use_depends_on_nothing_that_is_not() {
    assert_snapshot!(refused(
        "
defaults: {image: debian}
machines:
  extra: {profiles: [more]}
  also: {profiles: [more], depends-on: [extra]}
  a: {depends-on: [extra]}
"
    ));
}

#[test]
fn machines_that_wait_for_each_other() {
    assert_snapshot!(refused(
        "
defaults: {image: debian}
machines:
  z: {depends-on: [a]}
  a: {depends-on: [b]}
  b:
    depends-on:
      - {machine: c, port: 80}
  c: {depends-on: [d, a]}
  d: {}
  e: {depends-on: [e]}
"
    ));
}

#[test]
fn a_circle_by_way_of_an_output() {
    assert_snapshot!(refused(
        r#"
defaults: {image: debian}
machines:
  a: {depends-on: [b], outputs: {t: {command: hostname}}}
  b: {user-data: "x ${machine.a.outputs.t}"}
"#
    ));
}

#[test]
fn machines_and_outputs_that_are_not_there() {
    assert_snapshot!(refused(
        r#"
defaults: {image: debian}
machines:
  control: {outputs: {token: {command: hostname}}}
  a: {depends-on: [contrl]}
  b: {depends-on: [{machine: qqqqqqq, port: 1}]}
  c: {user-data: "x ${machine.control.outputs.tokn}"}
  d: {user-data: "x ${machine.contol.outputs.token}"}
  e: {user-data: "x ${machine.a.outputs.token} ${HOME:-x}"}
  f: {user-data: "x ${machine.a.outputs.token}"}
"#
    ));
}

#[test]
fn entries_that_are_none() {
    assert_snapshot!(refused(
        "
defaults: {image: debian}
machines:
  a:
    outputs:
      none: {}
      both: {command: hostname, file: /etc/hostname}
      relative: {file: etc/hostname}
      Bad_Name: {command: ''}
  b:
    depends-on:
      - {port: 80}
      - {machine: a, port: 80, command: hostname}
      - {machine: a, port: 0}
      - {machine: a, condition: healthy}
      - {machine: a, condition: redy}
      - {machine: a, port: 80, interval: 5, deadline: 2d}
      - {machine: a, deadline: 5m}
      - {machine: a, file: x, until: y}
"
    ));
}

#[test]
fn what_no_network_of_ours_leads_to_cannot_be_looked_at() {
    assert_snapshot!(refused(
        "
networks: {lan: {mode: bridged, interface: eth0}, own: {}}
defaults: {image: debian}
machines:
  a: {nics: [{network: lan, attach: tap}], outputs: {t: {command: hostname}}}
  b: {nics: [own], depends-on: [a, {machine: a, port: 80}]}
"
    ));
}

/// A cluster in which machine `n` waits for those of its set.
fn file(edges: &[Vec<usize>]) -> String {
    let mut text = "defaults: {image: debian}\nmachines:\n".to_owned();
    for (machine, others) in edges.iter().enumerate() {
        let names: Vec<String> = others.iter().map(|other| format!("m{other}")).collect();
        text += &format!("  m{machine}: {{depends-on: [{}]}}\n", names.join(", "));
    }
    text
}

/// Whether all can be started one after the other.
fn can_be_ordered(edges: &[Vec<usize>]) -> bool {
    let mut started = vec![false; edges.len()];
    for _ in 0..edges.len() {
        for (machine, others) in edges.iter().enumerate() {
            started[machine] |= others.iter().all(|other| started[*other]);
        }
    }
    started.into_iter().all(|it| it)
}

proptest! {
    #[test]
    fn a_file_is_refused_exactly_when_no_order_would_do(
        edges in (1..7_usize).prop_flat_map(|count| prop::collection::vec(prop::collection::vec(0..count, 0..3), count)),
    ) {
        let outcome = read(&file(&edges));
        prop_assert_eq!(outcome.is_ok(), can_be_ordered(&edges), "{:?}", outcome);
        if let Err(errors) = outcome {
            for error in errors.iter() {
                prop_assert!(error.title().contains(" wait"), "{}", error.title());
            }
        }
    }
}
