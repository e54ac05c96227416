//! Files of several parts: counts, variables, included files, profiles.

use std::collections::BTreeMap;
use std::path::Path;

use atoll_spec::{Choices, Cluster, Context, Diagnostics, Kept, Resolved, Source, UserData, resolve};
use insta::assert_snapshot;
use proptest::prelude::*;

use crate::accepted::FULL;
use crate::{accepted, refused};

/// The text, with these files beside it.
fn read(text: &str, files: &[(&str, &str)], choices: Choices) -> Result<Resolved, Diagnostics> {
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

fn composed(text: &str, files: &[(&str, &str)]) -> Cluster {
    read(text, files, Choices::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
        .cluster
}

fn wrong(text: &str, files: &[(&str, &str)]) -> String {
    read(text, files, Choices::default()).unwrap_err().to_string()
}

fn given(variables: &[(&str, &str)]) -> Choices {
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
    assert_eq!(worker.forwards[0].to_string(), "127.0.0.1:8002:80/tcp");
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

#[test]
fn files_that_include_themselves() {
    assert_snapshot!(wrong(
        "include: a.yaml\nmachines: {a: {image: debian}}\n",
        &[("a.yaml", "include:\n  - b/b.yaml\n"), ("b/b.yaml", "include: [../a.yaml]\n")],
    ), @r#"
    error: a.yaml includes itself: atoll.yaml -> a.yaml -> b/b.yaml -> a.yaml
     --> b/b.yaml:1:11
      |
    1 | include: [../a.yaml]
      |           ^^^^^^^^^
    "#);
    assert_snapshot!(wrong("include: ./atoll.yaml\n", &[]), @r#"
    error: atoll.yaml includes itself: atoll.yaml -> atoll.yaml
     --> atoll.yaml:1:10
      |
    1 | include: ./atoll.yaml
      |          ^^^^^^^^^^^^
    "#);
}

#[test]
fn a_file_that_cannot_be_included() {
    assert_snapshot!(wrong("include: [gone.yaml]\nmachines: {a: {image: debian}}\n", &[]), @r#"
    error: cannot read the included file gone.yaml: No such file or directory
     --> atoll.yaml:1:11
      |
    1 | include: [gone.yaml]
      |           ^^^^^^^^^
      |
    hint: paths start at the folder of the file that they stand in
    "#);
    assert_snapshot!(wrong("include: {a: b}\nmachines: {a: {image: debian}}\n", &[]), @r#"
    error: include must be a path or a list of paths, not a mapping
     --> atoll.yaml:1:10
      |
    1 | include: {a: b}
      |          ^
    "#);
    assert_snapshot!(wrong("include: [a.yaml]\n", &[("a.yaml", "machines:\n\ta: {}\n")]), @r#"
    error: this is not YAML: tabs disallowed within this context (block indentation)
     --> a.yaml:2:2
      |
    2 |     a: {}
      |     ^
      |
    hint: indent with spaces, YAML takes no tabs there
    "#);
}

#[test]
fn a_mistake_in_an_included_file_is_shown_there() {
    assert_snapshot!(wrong(
        "include: net/lan.yaml\nmachines:\n  a: {image: debian, nics: [{address: 10.1.0.5}]}\n",
        &[("net/lan.yaml", "networks: {lan: {subnet: 10.1.0.0/24}}\nmachines:\n  b: {image: debian, memry: 1G, nics: [{address: 10.1.0.5}]}\n")],
    ), @r#"
    error: machines "b" and "a" both have the address 10.1.0.5
     --> atoll.yaml:3:39
      |
    3 |   a: {image: debian, nics: [{address: 10.1.0.5}]}
      |                                       ^^^^^^^^ NIC of "a"
      |
     ::: net/lan.yaml:3:50
      |
    3 |   b: {image: debian, memry: 1G, nics: [{address: 10.1.0.5}]}
      |                                                  -------- NIC of "b"

    error: unknown key "memry" in machine "b"
     --> net/lan.yaml:3:22
      |
    3 |   b: {image: debian, memry: 1G, nics: [{address: 10.1.0.5}]}
      |                      ^^^^^ unknown key
      |
    hint: did you mean "memory"?
    "#);
}

#[test]
fn references_to_nothing() {
    let text = |value: &str| {
        format!(
            "variables: {{workers: 3, token: }}\nmachines:\n  a: {{image: debian, append: '{value}', kernel: k}}\n"
        )
    };
    assert_snapshot!(refused(&text("x ${wokers}")), @r#"
    error: there is no variable "wokers"
     --> atoll.yaml:3:33
      |
    3 |   a: {image: debian, append: 'x ${wokers}', kernel: k}
      |                                 ^^^^^^^^^
      |
    hint: did you mean "workers"?
    "#);
    assert_snapshot!(refused(&text("${completely-else}")), @r#"
    error: there is no variable "completely-else"
     --> atoll.yaml:3:31
      |
    3 |   a: {image: debian, append: '${completely-else}', kernel: k}
      |                               ^^^^^^^^^^^^^^^^^^
      |
    hint: there are: token, workers
    "#);
    assert_snapshot!(refused(&text("${workers} ${token}")), @r#"
    error: variable "token" has no value
     --> atoll.yaml:3:42
      |
    3 |   a: {image: debian, append: '${workers} ${token}', kernel: k}
      |                                          ^^^^^^^^
      |
    hint: say --var token=VALUE, set ATOLL_VAR_TOKEN, or give it a default
    "#);
    assert_snapshot!(refused(&text("n=${index}")), @r#"
    error: ${index} has no value here
     --> atoll.yaml:3:33
      |
    3 |   a: {image: debian, append: 'n=${index}', kernel: k}
      |                                 ^^^^^^^^
      |
    hint: only a machine with a count has a number: count: 3
    "#);
    assert_snapshot!(refused(&text("${machine.a.address}")), @r#"
    error: "machine.a.address" is not known here
     --> atoll.yaml:3:31
      |
    3 |   a: {image: debian, append: '${machine.a.address}', kernel: k}
      |                               ^^^^^^^^^^^^^^^^^^^^
      |
    hint: outside of user-data that is a template, there are variables, ${index} and ${self}
    "#);
    assert_snapshot!(refused(&text("${HOME:-/root}")), @r#"
    error: "${HOME:" is no reference
     --> atoll.yaml:3:31
      |
    3 |   a: {image: debian, append: '${HOME:-/root}', kernel: k}
      |                               ^^^^^^^
      |
    hint: write ${name} for a value, or $${ for the two characters ${
    "#);
    assert_snapshot!(refused("name: ${self}\nmachines: {a: {image: '${x}'}}\n"), @r#"
    error: ${self} has no value outside of a machine
     --> atoll.yaml:1:7
      |
    1 | name: ${self}
      |       ^^^^^^^

    error: there is no variable "x"
     --> atoll.yaml:2:24
      |
    2 | machines: {a: {image: '${x}'}}
      |                        ^^^^
      |
    hint: the file has no variables; begin with:  variables: {x: VALUE}
    "#);
    assert_snapshot!(refused("
variables: {a: 1}
machines:
  a:
    image: debian
    user-data:
      template: true
      text: |
        echo $HOME ${a}
        echo ${b} ${machine.b.address}
"), @r#"
    error: there is no variable "b"
      --> atoll.yaml:10:14
       |
    10 |         echo ${b} ${machine.b.address}
       |              ^^^^
       |
    hint: did you mean "a"?
    "#);
}

#[test]
fn a_value_that_is_put_in_is_checked_where_it_is_put() {
    assert_snapshot!(refused("variables: {size: big}\nmachines: {a: {image: debian, memory: '${size}'}}\n"), @r#"
    error: memory of machine "a": "big" is no size
     --> atoll.yaml:2:39
      |
    2 | machines: {a: {image: debian, memory: '${size}'}}
      |                                       ^^^^^^^^^
      |
    hint: write a whole number and a unit: 512M, 2G, 10GiB
    "#);
    assert_snapshot!(refused("variables: {n: many}\nmachines: {a: {image: debian, count: '${n}'}}\n"), @r#"
    error: count of machine "a": "many" is no number from 0 to 1000
     --> atoll.yaml:2:38
      |
    2 | machines: {a: {image: debian, count: '${n}'}}
      |                                      ^^^^^^
    "#);
}

#[test]
fn variables_that_are_none() {
    assert_snapshot!(refused("
variables:
  3x: 1
  index: 1
  a: [1]
  b: {defalt: 1}
  c: {type: integer}
  d: {default: '${a}'}
  e: {default: many, type: number}
machines: {a: {image: debian}}
"), @r#"
    error: the name of a variable: "3x" is no name of a variable
     --> atoll.yaml:3:3
      |
    3 |   3x: 1
      |   ^^
      |
    hint: begin with a letter, go on with letters, digits, '_' and '-'

    error: the name of a variable: a variable cannot be called "index", which means something else
     --> atoll.yaml:4:3
      |
    4 |   index: 1
      |   ^^^^^
      |
    hint: these are taken: index, self, machine, network, cluster

    error: variable "a" must be a value or a mapping, not a list
     --> atoll.yaml:5:6
      |
    5 |   a: [1]
      |      ^

    error: unknown key "defalt" in variable "b"
     --> atoll.yaml:6:7
      |
    6 |   b: {defalt: 1}
      |       ^^^^^^ unknown key
      |
    hint: did you mean "default"?

    error: type of variable "c": there is no type of variable "integer"
     --> atoll.yaml:7:13
      |
    7 |   c: {type: integer}
      |             ^^^^^^^
      |
    hint: known are: text, number, boolean, size

    error: the default of variable "d" cannot refer to others
     --> atoll.yaml:8:16
      |
    8 |   d: {default: '${a}'}
      |                ^^^^^^

    error: variable "e" must be a number, not "many"
     --> atoll.yaml:9:16
      |
    9 |   e: {default: many, type: number}
      |                ^^^^
    "#);
}

#[test]
fn values_for_variables_that_are_none() {
    let text = "variables: {workers: {type: number}}\nmachines: {a: {image: debian}}\n";
    let told = |variables| read(text, &[], given(variables)).unwrap_err().to_string();
    assert_snapshot!(told(&[("worker", "3")]), @r#"
    error: there is no variable "worker" to give a value to
     --> atoll.yaml:1:12
      |
    1 | variables: {workers: {type: number}}
      |            ^
      |
    hint: did you mean "workers"?
    "#);
    assert_snapshot!(told(&[("workers", "three")]), @r#"
    error: variable "workers" must be a number, not "three" (from --var workers)
     --> atoll.yaml:1:13
      |
    1 | variables: {workers: {type: number}}
      |             ^^^^^^^
    "#);
    let none = read("machines: {a: {image: debian}}\n", &[], given(&[("x", "1")]));
    assert_snapshot!(none.unwrap_err(), @r#"
    error: there is no variable "x" to give a value to
     --> atoll.yaml:1:1
      |
    1 | machines: {a: {image: debian}}
      | ^
      |
    hint: the file has no variables; begin with:  variables: {x: VALUE}
    "#);
}

#[test]
fn counts_and_overrides_that_are_wrong() {
    assert_snapshot!(refused("
machines:
  worker-2: {image: debian}
  worker: {image: debian, count: 3}
"), @r#"
    error: "worker-2" is given twice in machines
     --> atoll.yaml:4:3
      |
    3 |   worker-2: {image: debian}
      |   -------- first given
    4 |   worker: {image: debian, count: 3}
      |   ^^^^^^ given again
    "#);
    assert_snapshot!(refused("
defaults: {count: 2}
machines:
  a: {image: debian, count: 1001}
  b: {image: debian, count: 2, overrides: {0: {}, 3: {memory: 2G}, 1: big, x: {}}}
  c: {image: debian, overrides: {1: {memory: 2G}}}
  d: {image: debian, count: 2, overrides: []}
"), @r#"
    error: defaults cannot have count
     --> atoll.yaml:2:12
      |
    2 | defaults: {count: 2}
      |            ^^^^^
      |
    hint: a machine has a count, and with it overrides for single ones by their number

    error: count of machine "a": "1001" is no number from 0 to 1000
     --> atoll.yaml:4:29
      |
    4 |   a: {image: debian, count: 1001}
      |                             ^^^^

    error: overrides of machine "b": a machine is meant by its number, from 1
     --> atoll.yaml:5:44
      |
    5 |   b: {image: debian, count: 2, overrides: {0: {}, 3: {memory: 2G}, 1: big, x: {}}}
      |                                            ^

    error: overrides of machine "b": there is no number 3, its count is 2
     --> atoll.yaml:5:51
      |
    5 |   b: {image: debian, count: 2, overrides: {0: {}, 3: {memory: 2G}, 1: big, x: {}}}
      |                                                   ^

    error: number 1 of machine "b" must be a mapping, not a single value
     --> atoll.yaml:5:71
      |
    5 |   b: {image: debian, count: 2, overrides: {0: {}, 3: {memory: 2G}, 1: big, x: {}}}
      |                                                                       ^^^

    error: overrides of machine "b": a machine is meant by its number, from 1
     --> atoll.yaml:5:76
      |
    5 |   b: {image: debian, count: 2, overrides: {0: {}, 3: {memory: 2G}, 1: big, x: {}}}
      |                                                                            ^

    error: machine "c" cannot have overrides
     --> atoll.yaml:6:22
      |
    6 |   c: {image: debian, overrides: {1: {memory: 2G}}}
      |                      ^^^^^^^^^
      |
    hint: a machine has a count, and with it overrides for single ones by their number

    error: overrides of machine "d" must be a mapping from numbers, not a list
     --> atoll.yaml:7:43
      |
    7 |   d: {image: debian, count: 2, overrides: []}
      |                                           ^
    "#);
    assert_snapshot!(refused("machines:\n  w: {count: 3, memory: 1.5G, memry: 1G}\n"), @r#"
    error: memory of machine "w-1": "1.5G" is no size
     --> atoll.yaml:2:25
      |
    2 |   w: {count: 3, memory: 1.5G, memry: 1G}
      |                         ^^^^
      |
    hint: write a whole number and a unit: 512M, 2G, 10GiB

    error: unknown key "memry" in machine "w-1"
     --> atoll.yaml:2:31
      |
    2 |   w: {count: 3, memory: 1.5G, memry: 1G}
      |                               ^^^^^ unknown key
      |
    hint: did you mean "memory"?
    "#);
    let many = |keys: &str| {
        refused(&format!(
            "defaults: {{image: debian}}\nmachines:\n  a: {{count: 900, {keys}}}\n  b: {{count: 101}}\n"
        ))
    };
    assert_snapshot!(many(""), @r#"
    error: machine "a-153" gets no address on network "default": 10.77.0.0/24 has room for 252 guests
     --> atoll.yaml:3:3
      |
    3 |   a: {count: 900, }
      |   ^
      |
    hint: give the network a larger subnet

    error: counts make more than 1000 machines
     --> atoll.yaml:4:14
      |
    4 |   b: {count: 101}
      |              ^^^
    "#);
    assert_snapshot!(many(&format!("qemu-args: [{}]", "a, ".repeat(30))), @r#"
    error: machine "a-239" gets no address on network "default": 10.77.0.0/24 has room for 252 guests
     --> atoll.yaml:3:3
      |
    3 |   a: {count: 900, qemu-args: [a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, ]}
      |   ^
      |
    hint: give the network a larger subnet

    error: the file has more than 20000 values with what counts and defaults make of it
     --> atoll.yaml:3:14
      |
    3 |   a: {count: 900, qemu-args: [a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, ]}
      |              ^^^

    error: the file has more than 20000 values with what counts and defaults make of it
     --> atoll.yaml:4:14
      |
    4 |   b: {count: 101}
      |              ^^^
    "#);
    assert_snapshot!(refused("machines: {a: {image: debian, append: ${self}, kernel: k}}\n"), @r#"
    error: this is not YAML: while parsing a flow mapping, did not find expected ',' or '}'
     --> atoll.yaml:1:40
      |
    1 | machines: {a: {image: debian, append: ${self}, kernel: k}}
      |                                        ^
      |
    hint: between { and } quote what has ${…} in it
    "#);
}

#[test]
fn a_value_that_grows_without_end() {
    let long = "x".repeat(500_000);
    let many = "'${long}', ".repeat(9);
    let text = format!("machines: {{a: {{image: debian, qemu-args: [{many}]}}}}\n");
    let choices = given(&[("long", &long)]);
    let text = format!("variables: {{long: }}\n{text}");
    assert_snapshot!(read(&text, &[], choices).unwrap_err().iter().next().unwrap().title(), @"the values of variables make the file longer than 4 MiB");
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
