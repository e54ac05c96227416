//! Machines that wait for each other and pass values on, by `atoll up`.
//!
//! The guests are micro ones, which have no ssh server: a program stands in for `ssh`. `examples/etcd` runs with the real one.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{BOOT_PATIENCE, Cluster, Kit, stand_in};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

/// What would be YAML if it were not kept from it, and a shell's if it came into one.
const TOKEN: &str = "a: \"b\" # 'c'\n- $HOME ${x}";

fn file(kit: &Kit) -> String {
    let idle = kit.scripted_machine(stand_in::SHELL);
    let token = TOKEN.replace('\'', r"'\''");
    let control = kit.scripted_machine(&format!(
        "printf '%s\\n' '{token}' >/token; nc -ll -p 9000 -e /bin/true & {}",
        stand_in::SHELL
    ));
    format!(
        r##"
defaults: {{accel: tcg, memory: 96M, arch: x86_64}}
machines:
  last: {{{idle}, depends-on: [broken]}}
  broken: {{{idle}, depends-on: [{{machine: control, file: /never, interval: 100ms, deadline: 1s}}]}}
  worker:
    {worker}
    depends-on: [{{machine: control, port: 9000}}]
    user-data: |
      #cloud-config
      kept: ${{HOME:-x}}
      said: [1, "${{machine.control.outputs.token}}!"]
  control: {{{control}, outputs: {{token: {{command: cat /token}}, name: {{file: /proc/sys/kernel/hostname}}}}}}
"##,
        worker = idle
            .replace(", initrd:", "\n    initrd:")
            .replace(", append:", "\n    append:"),
    )
}

/// Exit status, standard output, standard error.
fn run(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = stand_in::command(cluster, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn ok(cluster: &Cluster, arguments: &[&str]) -> String {
    let (status, stdout, stderr) = run(cluster, arguments);
    assert_eq!(status, Some(0), "atoll {}: {stderr}", arguments.join(" "));
    stdout
}

fn status(cluster: &Cluster) -> serde_json::Value {
    serde_json::from_str(&ok(cluster, &["status", "--json"])).unwrap()
}

fn machine(status: &serde_json::Value, name: &str) -> serde_json::Value {
    let machines = status["machines"].as_array().unwrap();
    machines.iter().find(|it| it["name"] == name).cloned().unwrap()
}

/// The place of a line in what a command said.
fn line(said: &str, wanted: &str) -> usize {
    let found = said.lines().position(|line| line.starts_with(wanted));
    found.unwrap_or_else(|| panic!("no line {wanted:?} in:\n{said}"))
}

#[test]
fn machines_start_in_order_with_each_others_values_and_a_failure_stops_only_what_waits_for_it() {
    let Some(kit) = Kit::find() else { return };
    let cluster = Cluster::of(kit, &file(kit));
    stand_in::install(&cluster);

    let (code, _, said) = run(&cluster, &["up"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        line(&said, "control: start") < line(&said, "worker: start"),
        "{said}"
    );
    assert!(
        line(&said, "worker: wait (port 9000 of control, outputs of control)")
            < line(&said, "worker: network"),
        "{said}"
    );
    line(
        &said,
        "error: machine broken: wait: waits for file /never on control: not so within 1 s",
    );
    line(&said, "error: machine last: wait: waits for broken, which failed");
    line(&said, "2 of 4 machines ready after");
    let before = status(&cluster);
    let state =
        |status: &serde_json::Value, name: &str| machine(status, name)["state"].as_str().unwrap().to_owned();
    assert_eq!(
        [state(&before, "control"), state(&before, "worker")],
        ["ready", "ready"]
    );
    assert_eq!(
        [state(&before, "broken"), state(&before, "last")],
        ["failed", "failed"]
    );

    values_are_kept_and_put_in_as_text(&cluster);

    // What was missing comes, and `up` goes on where it stopped.
    ok(&cluster, &["ssh", "control", "--", "touch /never"]);
    let _ = ok(&cluster, &["up"]);
    let after = status(&cluster);
    for name in ["control", "worker"] {
        assert_eq!(
            machine(&after, name)["pid"],
            machine(&before, name)["pid"],
            "{name} was left alone"
        );
    }
    assert_eq!(
        [state(&after, "broken"), state(&after, "last")],
        ["ready", "ready"]
    );

    // What others depend on is stopped after them.
    let (code, _, said) = run(&cluster, &["down"]);
    assert_eq!(code, Some(0), "{said}");
    let stopped = |name: &str| {
        let is_last = |line: &&str| line.starts_with(&format!("{name}: stop ("));
        let last = said.lines().collect::<Vec<_>>().iter().rposition(is_last);
        last.unwrap_or_else(|| panic!("{name} was not stopped:\n{said}"))
    };
    assert!(
        stopped("worker") < stopped("control") && stopped("last") < stopped("broken"),
        "{said}"
    );
}

fn values_are_kept_and_put_in_as_text(cluster: &Cluster) {
    assert_eq!(ok(cluster, &["output", "control", "token"]), format!("{TOKEN}\n"));
    let listed = ok(cluster, &["output"]);
    assert!(listed.contains("token") && !listed.contains("HOME"), "{listed}");
    let all: serde_json::Value = serde_json::from_str(&ok(cluster, &["output", "--json"])).unwrap();
    assert_eq!(all["control"]["token"], TOKEN);
    let state = std::path::PathBuf::from(status(cluster)["state"].as_str().unwrap());
    let mode = |file: &str| fs::metadata(state.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("machines/control/outputs.json"), 0o600);
    assert_eq!(mode("machines/worker/given.json"), 0o600);

    let address = "$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')";
    let ask = format!("wget -q -O - http://{address}/user-data");
    let served = || {
        let deadline = Instant::now() + BOOT_PATIENCE;
        loop {
            // Nothing tells when its shell is there, and when its NIC has found the new daemon.
            let (status, stdout, stderr) = run(cluster, &["ssh", "worker", "--", &ask]);
            if status == Some(0) {
                return stdout;
            }
            assert!(Instant::now() < deadline, "{stderr}");
            thread::sleep(Duration::from_millis(100));
        }
    };
    let expected = "#cloud-config\nkept: ${HOME:-x}\nsaid: [1, \"a: \\\"b\\\" # 'c'\\n- $HOME ${x}!\"]";
    assert_eq!(served().trim_end(), expected);
    // A new daemon serves what the machine was given.
    let daemon = status(cluster)["daemon"].as_i64().unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &daemon.to_string()])
        .status();
    assert!(killed.unwrap().success());
    assert_eq!(served().trim_end(), expected);
}
