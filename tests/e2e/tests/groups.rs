//! Groups as the command line gives them: guests of one reach each other, groups do not.

use atoll_e2e::{Exec, with_namespaces};

#[test]
fn guests_of_one_group_reach_each_other_and_no_others() {
    let Some(atoll) = with_namespaces() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let api = format!("unix:{}", folder.path().join("api.sock").display());
    let first = [
        "--api",
        &api,
        "--name",
        "a",
        "--address",
        "10.77.0.21",
        "--group",
        "red=a",
        "--group",
        "red=b",
        "--group",
        "blue=c",
    ];
    let stay = "echo ready; exec sleep 300";
    let a = Exec::start(atoll, &first, stay);
    let _ = a.says("ready");
    let join = |name, address, script: &str| {
        Exec::start(
            atoll,
            &["--join", &api, "--name", name, "--address", address],
            script,
        )
    };
    let others: Vec<Exec> = [("c", "10.77.0.23"), ("d", "10.77.0.24")]
        .map(|(name, address)| join(name, address, stay))
        .into();
    for other in &others {
        let _ = other.says("ready");
    }
    // c is of another group and d of none; the gateway is in all.
    let script = "reach() { ping -q -c 1 -W $2 10.77.0.$1 | grep -o '[01] received'; }
        reach 21 30; reach 1 30; reach 23 1; reach 24 1";
    let said = join("b", "10.77.0.22", script).ok();
    assert_eq!(said, "1 received\n1 received\n0 received\n0 received\n");
    let said = join(
        "e",
        "10.77.0.25",
        "ping -q -c 1 -W 30 10.77.0.24 | grep -o '[01] received'",
    )
    .ok();
    assert_eq!(said, "1 received\n", "those in no group are one, too");
}
