//! A cluster from `up` to `rm` on the real QEMU, with a guest of a few bytes that does nothing.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

#[expect(dead_code, reason = "other tests use the rest")]
mod home;
mod tiny;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use home::Home;
use serde_json::Value;
use tiny::{kernel, runs};

fn cluster() -> Home {
    let home = Home::with_file(
        "defaults: {arch: x86_64, accel: tcg, memory: 16M, kernel: ./vmlinuz}\nmachines:\n  a: {}\n  b: {}\n",
    );
    home.write("vmlinuz", &kernel());
    home
}

fn listed(home: &Home) -> Value {
    serde_json::from_str(&runs(home, &["ls", "--json"])).unwrap()
}

fn kill(pid: &Value) {
    let ended = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()
        .unwrap();
    assert!(ended.success());
    // Until the kernel has taken it down.
    while Command::new("kill")
        .args(["-0", &pid.to_string()])
        .output()
        .unwrap()
        .status
        .success()
    {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The first thread is a zombie before the last one has closed the process's sockets.
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        if stat.contains(") Z") && threads <= 1 {
            break;
        }
        std::thread::yield_now();
    }
}

#[test]
fn machines_outlive_their_daemon_and_down_leaves_nothing() {
    let home = cluster();
    runs(&home, &["up"]);
    let before = listed(&home);
    assert_eq!(before["machines"][0]["state"], "ready", "{before:#}");

    kill(&before["daemon"]);
    let after = listed(&home);
    assert_ne!(after["daemon"], before["daemon"]);
    for place in [0, 1] {
        assert_eq!(after["machines"][place]["pid"], before["machines"][place]["pid"]);
        assert_eq!(
            after["machines"][place]["ssh_port"],
            before["machines"][place]["ssh_port"]
        );
    }

    kill(&after["machines"][0]["pid"]);
    assert_eq!(listed(&home)["machines"][0]["state"], "stopped");
    runs(&home, &["up"]);
    let again = listed(&home);
    assert_eq!(again["machines"][0]["state"], "ready");
    assert_eq!(
        again["machines"][1]["pid"], after["machines"][1]["pid"],
        "the other one was left alone"
    );

    runs(&home, &["down"]);
    assert!(!home.path("atoll").exists(), "a socket folder is left");
    assert_eq!(listed(&home)["machines"][1]["state"], "stopped");
    runs(&home, &["rm"]);
    assert_eq!(
        std::fs::read_dir(home.path("state/clusters")).unwrap().count(),
        0,
        "state is left"
    );
}

#[test]
fn forwards_come_and_go_while_a_machine_runs() {
    let home = cluster();
    runs(&home, &["up", "a"]);
    runs(&home, &["forward", "a", "0:8000"]);
    let forwards =
        || -> Vec<Value> { serde_json::from_str(&runs(&home, &["forward", "ls", "--json"])).unwrap() };
    let added = forwards()
        .into_iter()
        .find(|it| it["guest_port"] == 8000)
        .unwrap();
    assert_eq!(added["machine"], "a");
    kill(&listed(&home)["daemon"]);
    let kept = forwards()
        .into_iter()
        .find(|it| it["guest_port"] == 8000)
        .unwrap();
    assert_eq!(kept["listen"], added["listen"]);
    runs(&home, &["forward", "rm", &kept["id"].to_string()]);
    assert!(forwards().iter().all(|it| it["guest_port"] != 8000));
    runs(&home, &["rm"]);
}

#[test]
fn down_calls_off_the_download_of_an_image() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::with_file(&format!(
        "machines: {{a: {{image: 'http://{}/d.qcow2', arch: x86_64, accel: tcg}}}}\n",
        server.local_addr().unwrap()
    ));
    let up = home.command(&["up"]).stderr(Stdio::piped()).spawn().unwrap();
    // Asked, and never answered.
    let (_silent, _) = server.accept().unwrap();
    runs(&home, &["down"]);
    let up = up.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&up.stderr);
    assert_eq!(up.status.code(), Some(1), "{said}");
    assert!(said.contains("the download was called off"), "{said}");
    runs(&home, &["rm"]);
}

#[test]
fn two_clusters_of_one_name_do_not_meet() {
    let (first, second) = (cluster(), cluster());
    runs(&first, &["up", "a"]);
    assert_eq!(listed(&second)["machines"][0]["state"], "stopped");
    runs(&second, &["up", "a"]);
    runs(&second, &["rm"]);
    assert_eq!(listed(&first)["machines"][0]["state"], "ready");
    runs(&first, &["rm"]);
}
