//! `logs`, `events`, `top` and `screenshot` with machines that run.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

mod home;
mod tiny;

use std::fs;

use home::Home;
use serde_json::Value;
use tiny::{kernel, runs};

fn cluster() -> Home {
    let home = Home::with_file(
        "defaults: {arch: x86_64, accel: tcg, memory: 16M, kernel: ./vmlinuz}\nmachines:\n  a: {}\n  bee: {}\n",
    );
    home.write("vmlinuz", &kernel());
    home
}

/// Writes as if a machine had, after what its firmware did.
fn wrote(home: &Home, machine: &str, text: &str) {
    let status: Value = serde_json::from_str(&runs(home, &["status", "--json"])).unwrap();
    let log = format!(
        "{}/machines/{machine}/console.log",
        status["state"].as_str().unwrap()
    );
    fs::write(log, text).unwrap();
}

#[test]
fn what_machines_write_do_take_and_show_can_be_seen() {
    let home = cluster();
    runs(&home, &["up"]);

    wrote(&home, "a", "one\r\ntwo\r\n\x1b[31mthree\x1b[0m");
    wrote(&home, "bee", "x\n");
    assert_eq!(
        runs(&home, &["logs", "a", "-n", "2"]),
        "two\r\n\x1b[31mthree\x1b[0m"
    );
    let all = "a   | one\na   | two\nbee | x\na   | three\n";
    assert_eq!(runs(&home, &["logs"]), all);

    let events: Vec<Value> = runs(&home, &["events", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let stages = events.iter().filter(|event| event["machine"] == "a");
    let stages: Vec<&str> = stages.map(|event| event["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["network", "start", "ready"]);
    assert!(events.is_sorted_by_key(|event| event["time"].as_str().unwrap()));
    assert_eq!(events.last().unwrap()["event"], "done");
    assert_eq!(runs(&home, &["events", "--since", "2100"]), "");
    let of_bee = runs(&home, &["events", "bee"]);
    assert!(of_bee.lines().all(|line| line.contains("Z  bee ")), "{of_bee}");

    let usages: Vec<Value> =
        serde_json::from_str(&runs(&home, &["top", "--json", "--interval", "100"])).unwrap();
    assert_eq!(usages.len(), 2);
    for usage in usages {
        assert!(usage["memory_bytes"].as_u64().unwrap() > 1 << 20, "{usage:#}");
        assert!(usage["cpu_percent"].as_f64().is_some(), "{usage:#}");
        assert_eq!(usage["disk_read_per_second"], 0, "{usage:#}");
    }

    let by_template = runs(
        &home,
        &["ls", "--format", "{{ name }}={{ state }} {{ nics[0].network }}"],
    );
    assert_eq!(by_template, "a=ready default\nbee=ready default\n");
    let stages = runs(&home, &["events", "a", "--format", "{{ stage }}"]);
    assert_eq!(stages, "network\nstart\nready\n");

    assert_eq!(runs(&home, &["screenshot", "a", "a.png"]), "");
    let picture = fs::read(home.path("demo/a.png")).unwrap();
    assert_eq!(&picture[..8], b"\x89PNG\r\n\x1a\n");
    insta::assert_snapshot!(home.fails(&["logs", "c"], 2), @r#"
    error: there is no machine "c" in this cluster
    hint: there are: a, bee
    "#);
    runs(&home, &["rm"]);
    home.leaves_nothing_running();
}
