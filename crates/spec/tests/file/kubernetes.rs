//! The clusters that the templates `k3s` and `swarm` are: who waits for whom, and what it is given.

use atoll_spec::insert::mentions;
use atoll_spec::{Cluster, FileTemplate, UserData};

use crate::composed::{given, read};

fn template(name: &str, variables: &[(&str, &str)]) -> Cluster {
    let text = FileTemplate::find(name).unwrap().text;
    let read = read(text, &[], given(variables));
    read.unwrap_or_else(|errors| panic!("{errors}")).cluster
}

/// Each machine with the outputs that its user-data mentions.
fn given_to(cluster: &Cluster) -> Vec<(String, Vec<String>)> {
    let machines = cluster.machines.iter().map(|machine| {
        let Some(UserData::Text(text)) = &machine.user_data else {
            panic!("{} has no user-data", machine.name);
        };
        let mentions = mentions(text, machine.template.is_some()).unwrap();
        let mentions = mentions.iter().map(|it| format!("{}.{}", it.machine, it.output));
        (machine.name.to_string(), mentions.collect())
    });
    machines.collect()
}

fn expected(rows: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    rows.iter()
        .map(|(name, outputs)| {
            (
                (*name).to_owned(),
                outputs.iter().map(|it| (*it).to_owned()).collect(),
            )
        })
        .collect()
}

#[test]
fn a_k3s_cluster_grows_round_its_first_control_plane() {
    let token: &[&str] = &["control-1.join-token"];
    let cluster = template("k3s", &[("control-planes", "3"), ("workers", "2")]);
    let wanted = [
        ("control-1", &[][..]),
        ("control-2", token),
        ("control-3", token),
        ("worker-1", token),
        ("worker-2", token),
    ];
    assert_eq!(given_to(&cluster), expected(&wanted));
    let alone = template("k3s", &[("workers", "0")]);
    assert_eq!(given_to(&alone), expected(&wanted[..1]));
}

#[test]
fn where_k3s_comes_from_is_said_once_for_all_machines() {
    let cluster = template(
        "k3s",
        &[("artefacts", "http://10.82.0.254:8088"), ("release", "v0")],
    );
    for machine in &cluster.machines {
        let Some(UserData::Text(text)) = &machine.user_data else {
            panic!("{} has no user-data", machine.name);
        };
        assert!(text.contains("\"${artefacts}/${release}/$file\""), "{text}");
        let values = machine.template.as_ref().unwrap();
        assert_eq!(values["artefacts"], "http://10.82.0.254:8088");
        assert_eq!(values["release"], "v0");
    }
}

#[test]
fn a_swarms_workers_are_not_given_the_managers_token() {
    let cluster = template("swarm", &[("managers", "3"), ("workers", "1")]);
    let wanted = [
        ("manager-1", &[][..]),
        ("manager-2", &["manager-1.manager-token"]),
        ("manager-3", &["manager-1.manager-token"]),
        ("worker-1", &["manager-1.worker-token"]),
    ];
    assert_eq!(given_to(&cluster), expected(&wanted));
}
