//! What guests may do, in the file.

use atoll_spec::{Quantity, Verdict};
use insta::assert_snapshot;

use crate::{accepted, refused};

#[test]
fn a_network_may_have_a_policy() {
    let cluster = accepted(
        "
networks:
  lan:
    policy:
      anti-spoof: true
      rules:
        - {deny: private}
        - {allow: '*.example.com:443/tcp', from: web}
      otherwise: deny
      limits: {bandwidth: 100M, flows: 1000}
      addresses: {10.77.0.100: [web, db]}
  back: {policy: {internal: true}}
machines: {web: {image: debian, nics: [lan]}, db: {image: debian, nics: [lan, back]}}
",
    );
    let policy = &cluster.networks[0].policy;
    assert!(policy.anti_spoof && !policy.internal && cluster.networks[1].policy.internal);
    assert_eq!(policy.otherwise, Verdict::Deny);
    let rules: Vec<String> = policy
        .rules
        .iter()
        .map(|rule| {
            format!(
                "{:?} {} {:?}",
                rule.verdict,
                rule.pattern,
                rule.from.as_ref().map(|it| it.as_str())
            )
        })
        .collect();
    assert_eq!(
        rules,
        ["Deny private None", r#"Allow *.example.com:443/tcp Some("web")"#]
    );
    let limits = policy.limits;
    assert_eq!(
        [limits.upload, limits.download, limits.flows].map(|limit| limit.map(Quantity::get)),
        [Some(100_000_000), Some(100_000_000), Some(1000)]
    );
    let holders: Vec<_> = policy
        .addresses
        .values()
        .flatten()
        .map(|name| name.as_str())
        .collect();
    assert_eq!(holders, ["web", "db"]);
}

#[test]
fn mistakes_of_a_policy_are_shown_in_their_lines() {
    assert_snapshot!(refused("
networks:
  lan:
    policy:
      rules:
        - {deny: 10.0.0.1/8}
        - {allow: a.example, deny: b.example}
        - {from: m}
        - {allow: c.example, from: nobody}
      otherwise: maybe
      limits: {bandwidth: fast, flows: 0}
      addresses: {10.77.0.100: m}
machines: {m: {image: debian}}
"), @r#"
    error: deny of rule 1 of policy of network "lan": "10.0.0.1/8" is no network: the address has bits beyond its prefix
     --> atoll.yaml:6:18
      |
    6 |         - {deny: 10.0.0.1/8}
      |                  ^^^^^^^^^^
      |
    hint: did you mean "10.0.0.0/8"?

    error: rule 2 of policy of network "lan" must have allow or deny, not both
     --> atoll.yaml:7:30
      |
    7 |         - {allow: a.example, deny: b.example}
      |            -----             ^^^^
      |            |
      |            the other one

    error: rule 3 of policy of network "lan" neither allows nor denies
     --> atoll.yaml:8:11
      |
    8 |         - {from: m}
      |           ^
      |
    hint: write {allow: 10.0.0.0/8} or {deny: private}

    error: the policy speaks of a machine "nobody" that is not in the file
     --> atoll.yaml:9:36
      |
    9 |         - {allow: c.example, from: nobody}
      |                                    ^^^^^^
      |
    hint: machines are: m

    error: otherwise of policy of network "lan" must be allow or deny, not "maybe"
      --> atoll.yaml:10:18
       |
    10 |       otherwise: maybe
       |                  ^^^^^

    error: bandwidth of limits of policy of network "lan": "fast" is no quantity
      --> atoll.yaml:11:27
       |
    11 |       limits: {bandwidth: fast, flows: 0}
       |                           ^^^^
       |
    hint: write a whole number, with k, M or G for thousands, millions and billions: 100M

    error: flows of limits of policy of network "lan": a limit of zero is none that a guest could live with
      --> atoll.yaml:11:40
       |
    11 |       limits: {bandwidth: fast, flows: 0}
       |                                        ^
       |
    hint: use internal networks or rules to forbid

    error: address "10.77.0.100" must be a list of machines, not a single value
      --> atoll.yaml:12:32
       |
    12 |       addresses: {10.77.0.100: m}
       |                                ^
"#);
}

#[test]
fn a_policy_speaks_of_machines_of_the_file() {
    assert_snapshot!(refused("
networks:
  lan:
    policy:
      rules:
        - {allow: c.example, from: nobody}
      limits: {bandwidth: 1M, upload: 1M}
      addresses: {10.77.0.100: [m, n]}
machines: {m: {image: debian}}
"), @r#"
    error: the policy speaks of a machine "nobody" that is not in the file
     --> atoll.yaml:6:36
      |
    6 |         - {allow: c.example, from: nobody}
      |                                    ^^^^^^
      |
    hint: machines are: m

    error: limits of policy of network "lan": "upload" is limited twice
     --> atoll.yaml:7:31
      |
    7 |       limits: {bandwidth: 1M, upload: 1M}
      |                               ^^^^^^
      |
    hint: give each once; bandwidth is upload and download

    error: the policy speaks of a machine "n" that is not in the file
     --> atoll.yaml:8:36
      |
    8 |       addresses: {10.77.0.100: [m, n]}
      |                                    ^
      |
    hint: machines are: m
"#);
}
