//! Files of several parts: counts, variables, included files, profiles.

use std::collections::BTreeMap;
use std::path::Path;

use atoll_spec::{Choices, Cluster, Context, Diagnostics, Kept, Resolved, Source, UserData, resolve};
use insta::assert_snapshot;
use proptest::prelude::*;

use crate::accepted::FULL;
use crate::{accepted, refused};

/// The text, with these files beside it.
pub(crate) fn read(text: &str, files: &[(&str, &str)], choices: Choices) -> Result<Resolved, Diagnostics> {
    let files: BTreeMap<&Path, &str> = files
        .iter()
        .map(|(path, text)| (Path::new(*path), *text))
        .collect();
    let context = Context {
        choices,
        kept: Vec::new(),
    };
    resolve(&Source::new("atoll.yaml"), text, &context, &mut |path| {
        let text = files.get(path).ok_or("No such file or directory")?;
        Ok((*text).to_owned())
    })
}

pub(crate) fn composed(text: &str, files: &[(&str, &str)]) -> Cluster {
    read(text, files, Choices::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .cluster
}

pub(crate) fn wrong(text: &str, files: &[(&str, &str)]) -> String {
    read(text, files, Choices::default()).unwrap_err().to_string()
}

pub(crate) fn given(variables: &[(&str, &str)]) -> Choices {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Choices {
        variables: variables.iter().map(own).collect(),
        ..Choices::default()
    }
}

fn names(cluster: &Cluster) -> Vec<&str> {
    cluster
        .machines
        .iter()
        .map(|machine| machine.name.as_str())
        .collect()
}

#[test]
fn a_count_makes_machines_in_place() {
    let cluster = accepted(
        "
defaults: {image: debian, append: 'at-${self}', kernel: k}
machines:
  control: {}
  worker:
    count: 3
    memory: 1G
    nics: [{address: '10.77.0.1${index}'}]
    forwards: ['800${index}:80']
    overrides: {2: {memory: 4G}}
  db: {}
  none: {count: 0}
",
    );
    assert_eq!(
        names(&cluster),
        ["control", "worker-1", "worker-2", "worker-3", "db"]
    );
    let worker = cluster.machine("worker-2").unwrap();
    assert_eq!(worker.memory.to_string(), "4G");
    assert_eq!(worker.nics[0].address.unwrap().to_string(), "10.77.0.12");
    assert_eq!(worker.forwards[0].to_string(), "8002:80/tcp");
    assert_eq!(worker.boot.as_ref().unwrap().append, "at-worker-2");
    assert_eq!(cluster.machine("worker-1").unwrap().memory.to_string(), "1G");
}

#[test]
fn variables_come_from_the_command_line_the_environment_and_the_file() {
    let text = "
variables:
  workers: {default: 1, type: number, description: how many}
  memory: 1G
  node-image:
machines:
  worker: {count: \"${workers}\", memory: \"${memory}\", image: \"${node-image}\"}
";
    let environment = [
        ("WORKERS", "3"),
        ("NODE_IMAGE", "debian"),
        ("OTHER", "passed over"),
    ];
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let choices = Choices {
        environment: environment.iter().map(own).collect(),
        ..given(&[("workers", "2")])
    };
    let cluster = read(text, &[], choices).unwrap().cluster;
    assert_eq!(names(&cluster), ["worker-1", "worker-2"]);
    assert_eq!(cluster.machines[0].memory.to_string(), "1G");
    assert_eq!(cluster.machines[0].image.as_ref().unwrap().to_string(), "debian");
}

#[test]
fn user_data_is_left_alone_unless_it_is_a_template() {
    let cluster = accepted(
        "
variables: {role: db}
defaults: {image: debian}
machines:
  plain: {user-data: 'echo ${role} $$ ${HOME:-/}'}
  text: {user-data: {text: 'echo ${role} ${index}', template: true}, count: 1}
  file: {user-data: {file: '${role}.tmpl'}}
  other: {user-data: {file: a.tmpl, template: false}}
",
    );
    let plain = cluster.machine("plain").unwrap();
    assert_eq!(
        plain.user_data,
        Some(UserData::Text("echo ${role} $$ ${HOME:-/}".to_owned()))
    );
    assert_eq!(plain.template, None);
    let values = |name: &str| cluster.machine(name).unwrap().template.clone();
    let expected = [("index", "1"), ("role", "db"), ("self", "text-1")];
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    assert_eq!(values("text-1"), Some(expected.map(own).into()));
    assert_eq!(
        cluster.machine("file").unwrap().user_data,
        Some(UserData::File("db.tmpl".into()))
    );
    assert!(values("file").is_some() && values("other").is_none());
}

#[test]
fn a_file_is_laid_over_what_it_includes() {
    let base = "
variables: {size: 1G}
networks: {lan: {subnet: 10.1.0.0/24, isolate: true}}
defaults: {image: debian, memory: '${size}'}
machines:
  a: {cpus: 2, kernel: ./vmlinuz, forwards: ['1000:1', '1001:1'], ssh: {keys: [key.pub]}}
  b: {user-data: {file: setup.sh}, image: disk.qcow2}
";
    let cluster = composed(
        "
include: base/atoll.yaml
variables: {size: 2G}
networks: {lan: {isolate: false}}
machines:
  a: {cpus: 4, forwards: ['2000:1']}
  c: {}
",
        &[("base/atoll.yaml", base)],
    );
    assert_eq!(names(&cluster), ["a", "b", "c"]);
    let a = cluster.machine("a").unwrap();
    assert_eq!(
        (a.cpus, a.memory.to_string().as_str(), a.forwards.len()),
        (4, "2G", 1)
    );
    assert_eq!(a.boot.as_ref().unwrap().kernel, Path::new("base/vmlinuz"));
    assert!(!cluster.networks[0].isolate);
    assert_eq!(cluster.networks[0].subnet.unwrap().to_string(), "10.1.0.0/24");
    let b = cluster.machine("b").unwrap();
    assert_eq!(b.user_data, Some(UserData::File("base/setup.sh".into())));
    assert_eq!(b.image.as_ref().unwrap().to_string(), "base/disk.qcow2");
}

#[test]
fn includes_go_by_the_folder_they_stand_in() {
    let cluster = composed(
        "include: [../shared/a.yaml]\nmachines: {m: {}}\n",
        &[
            (
                "../shared/a.yaml",
                "include: [more/b.yaml]\ndefaults: {image: ./x.img}\n",
            ),
            ("../shared/more/b.yaml", "defaults: {firmware: ../fw.fd}\n"),
        ],
    );
    assert_eq!(
        cluster.machines[0].image.as_ref().unwrap().to_string(),
        "../shared/x.img"
    );
    assert_eq!(
        cluster.machines[0].firmware.as_deref(),
        Some(Path::new("../shared/fw.fd"))
    );
}

const PROFILES: &str = "
defaults: {image: debian}
machines:
  app: {}
  dev: {profiles: [dev], forwards: ['8080:80']}
  debug: {profiles: [dev, debug], nics: [{address: 10.77.0.9}]}
  prod: {profiles: [prod], forwards: ['8080:80'], nics: [{address: 10.77.0.9}]}
";

fn with_profiles(profiles: &[&str]) -> Result<Resolved, Diagnostics> {
    let choices = Choices {
        profiles: profiles.iter().map(|it| (*it).to_owned()).collect(),
        ..Choices::default()
    };
    read(PROFILES, &[], choices)
}

#[test]
fn machines_with_profiles_are_in_use_with_them_only() {
    let used = |profiles: &[&str]| {
        let cluster = with_profiles(profiles).unwrap().cluster;
        names(&cluster).join(" ")
    };
    assert_eq!(used(&[]), "app");
    assert_eq!(used(&["dev"]), "app dev debug");
    assert_eq!(used(&["prod"]), "app prod");
    assert_eq!(used(&["debug"]), "app debug");
    let moved = |profiles: &[&str]| with_profiles(profiles).unwrap().cluster.machines[0].nics.clone();
    assert_eq!(moved(&[]), moved(&["prod"]));
}

#[test]
fn profiles_that_cannot_be_used() {
    assert_snapshot!(with_profiles(&["dev", "prod"]).unwrap_err(), @r#"
    error: machines "dev" and "prod" both forward host port 8080/tcp
     --> atoll.yaml:7:39
      |
    5 |   dev: {profiles: [dev], forwards: ['8080:80']}
      |                                     --------- forward of "dev"
    6 |   debug: {profiles: [dev, debug], nics: [{address: 10.77.0.9}]}
    7 |   prod: {profiles: [prod], forwards: ['8080:80'], nics: [{address: 10.77.0.9}]}
      |                                       ^^^^^^^^^ forward of "prod"
      |
    hint: give each forward a host port of its own

    error: machines "debug" and "prod" both have the address 10.77.0.9
     --> atoll.yaml:7:68
      |
    6 |   debug: {profiles: [dev, debug], nics: [{address: 10.77.0.9}]}
      |                                                    --------- NIC of "debug"
    7 |   prod: {profiles: [prod], forwards: ['8080:80'], nics: [{address: 10.77.0.9}]}
      |                                                                    ^^^^^^^^^ NIC of "prod"
    "#);
    assert_snapshot!(with_profiles(&["prd"]).unwrap_err(), @r#"
    error: no machine has the profile "prd"
     --> atoll.yaml:3:1
      |
    3 | machines:
      | ^^^^^^^^
      |
    hint: did you mean "prod"?
    "#);
    let all = "machines:\n  a: {image: debian, profiles: [x]}\n";
    assert_snapshot!(read(all, &[], Choices::default()).unwrap_err(), @r#"
    error: every machine has profiles, and none of these is in use
     --> atoll.yaml:1:1
      |
    1 | machines:
      | ^^^^^^^^
      |
    hint: choose with --profile: x
    "#);
    assert_snapshot!(refused("machines: {a: {image: debian, profiles: dev}}"), @r#"
    error: profiles of machine "a" must be a list, not a single value
     --> atoll.yaml:1:41
      |
    1 | machines: {a: {image: debian, profiles: dev}}
      |                                         ^^^
    "#);
}

#[test]
fn what_is_printed_is_the_same_cluster() {
    let composed = "
variables: {size: 1G, text: 'a: b'}
networks: {lan: {subnet: 10.1.0.0/24}, off: {subnet: off, ipv6: 'fd00:1::/64'}, br: {mode: bridged, interface: eth0}}
defaults: {image: debian, memory: '${size}', ssh: {user: me}, nics: [lan]}
machines:
  one: {profiles: [x], nics: [lan, {network: off, model: e1000}, br]}
  two: {count: 2, append: '$${x} $$ ${text} ${index}', kernel: ./k, ssh: {keys: [a.pub]}, disk: 4G}
  three: {user-data: \"#!/bin/sh\\necho ${HOME}\\n\"}
  four: {user-data: {template: true, text: 'echo ${size} $$5 ${machine.two-1.address}'}}
";
    let choices = Choices {
        profiles: ["x".to_owned()].into(),
        ..Choices::default()
    };
    let full = FULL.replace("SHA512", &"aB".repeat(64));
    for text in [composed, &full] {
        let choices = if text == composed {
            choices.clone()
        } else {
            Choices::default()
        };
        let first = read(text, &[], choices).unwrap_or_else(|errors| panic!("{errors}"));
        for printed in [first.to_yaml(), first.to_json()] {
            let again = read(&printed, &[], Choices::default()).unwrap_or_else(|errors| panic!("{errors}"));
            let mut again_cluster = again.cluster.clone();
            let mut cluster = first.cluster.clone();
            // Texts are printed with what was known of them.
            for machine in cluster.machines.iter_mut().chain(&mut again_cluster.machines) {
                if machine.template.is_some() {
                    machine.user_data = None;
                }
            }
            assert_eq!(again_cluster, cluster, "{printed}");
            assert_eq!(again.to_json(), first.to_json());
        }
    }
}

#[test]
fn a_resolved_file_reads_well() {
    let text = "
variables: {workers: 2}
defaults: {image: debian}
machines:
  worker: {count: '${workers}', forwards: ['800${index}:80'], user-data: \"#cloud-config\\nruncmd: [ls]\\n\"}
";
    let resolved = read(text, &[], Choices::default()).unwrap();
    assert_snapshot!(resolved.to_yaml(), @r#"
    name: atoll
    domain: atoll.internal
    networks:
      default:
        subnet: 10.77.0.0/24
        ipv6: fdbe:6cd0:f76a:4f1b::/64
        mtu: 65520
    machines:
      worker-1:
        forwards:
          - "8001:80"
        user-data: |
          #cloud-config
          runcmd: [ls]
        image: debian
        arch: x86_64
        cpus: 1
        memory: 1G
        accel: auto
        nics:
          - network: default
            model: virtio-net-pci
            attach: stream
            mac: "52:54:00:4e:d0:d4"
            address:
              - "10.77.0.182"
              - "fdbe:6cd0:f76a:4f1b:5054:ff:fe4e:d0d4"
      worker-2:
        forwards:
          - "8002:80"
        user-data: |
          #cloud-config
          runcmd: [ls]
        image: debian
        arch: x86_64
        cpus: 1
        memory: 1G
        accel: auto
        nics:
          - network: default
            model: virtio-net-pci
            attach: stream
            mac: "52:54:00:c7:d2:8b"
            address:
              - "10.77.0.132"
              - "fdbe:6cd0:f76a:4f1b:5054:ff:fec7:d28b"
    "#);
}

fn counted(groups: &[(String, u16)]) -> String {
    let machines: String = groups
        .iter()
        .map(|(name, count)| format!("  {name}: {{count: {count}}}\n"))
        .collect();
    format!(
        "networks: {{lan: {{subnet: 10.0.0.0/24}}}}\ndefaults: {{image: debian}}\nmachines:\n  first: {{}}\n{machines}  last: {{}}\n"
    )
}

fn kept(cluster: &Cluster) -> Vec<Kept> {
    let kept = cluster.assignments().map(|it| Kept {
        machine: it.machine.to_string(),
        index: it.index,
        network: it.nic.network.to_string(),
        mac: it.nic.mac,
        address: it.nic.address,
    });
    kept.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn one_more_of_the_only_count_moves_no_other(count in 1u16..60) {
        let of = |count| accepted(&counted(&[("worker".to_owned(), count)]));
        let (before, after) = (of(count), of(count + 1));
        for machine in &before.machines {
            prop_assert_eq!(Some(machine), after.machine(machine.name.as_str()));
        }
    }

    #[test]
    fn a_machine_that_was_brought_up_keeps_its_place(
        before in prop::collection::btree_map("[a-e]", 0u16..30, 0..5),
        after in prop::collection::btree_map("[a-e]", 0u16..30, 0..5),
    ) {
        let text = |groups: BTreeMap<String, u16>| counted(&groups.into_iter().collect::<Vec<_>>());
        let before = composed(&text(before), &[]);
        let context = Context { choices: Choices::default(), kept: kept(&before) };
        let none = &mut |_: &Path| Err(String::new());
        let after = resolve(&Source::new("atoll.yaml"), &text(after), &context, none).unwrap().cluster;
        for machine in &after.machines {
            if let Some(old) = before.machine(machine.name.as_str()) {
                prop_assert_eq!(&old.nics, &machine.nics);
            } else {
                for other in &before.machines {
                    prop_assert_ne!(other.nics[0].address, machine.nics[0].address);
                }
            }
        }
    }
}
