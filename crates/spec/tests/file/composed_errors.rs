//! What is wrong with files of several parts, each mistake shown at its place.

use insta::assert_snapshot;

use crate::composed::{given, read, wrong};
use crate::refused;

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
    error: variable "workers" must be a number, unlike what --var workers gives
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
