//! The cluster file that people keep: begun, looked at, changed while its machines run. On the real QEMU, with a guest of a few bytes that
//! does nothing.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

#[expect(dead_code, reason = "other tests use the rest")]
mod home;
mod tiny;

use std::fs;
use std::net::{TcpListener, TcpStream};

use home::Home;
use serde_json::Value;
use tiny::{kernel, runs};

const HEAD: &str =
    "variables: {more: ''}\ndefaults: {arch: x86_64, accel: tcg, memory: 16M, kernel: ./vmlinuz}\n";

fn said(home: &Home, arguments: &[&str]) -> String {
    let output = home.command(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// The machines that run, by name, with their process.
fn running(home: &Home) -> Vec<(String, u64)> {
    let listed: Value = serde_json::from_str(&runs(home, &["ls", "--json"])).unwrap();
    let machines = listed["machines"].as_array().unwrap().iter();
    let running = machines.filter_map(|it| Some((it["name"].as_str()?.to_owned(), it["pid"].as_u64()?)));
    running.collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// What `plan` says, which `up --dry-run` says as well, and whether there is something to do.
fn planned(home: &Home, options: &[&str]) -> (String, bool) {
    let with = |first: &[&'static str]| -> Vec<String> {
        first
            .iter()
            .copied()
            .chain(options.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    let as_words = |words: &[String]| -> Vec<String> { words.to_vec() };
    let plan = as_words(&with(&["plan", "--exit-code"]));
    let plan: Vec<&str> = plan.iter().map(String::as_str).collect();
    let output = home.command(&plan).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let dry = with(&["up", "--dry-run"]);
    let dry: Vec<&str> = dry.iter().map(String::as_str).collect();
    assert_eq!(runs(home, &dry), text);
    match output.status.code() {
        Some(0) => (text, false),
        Some(3) => (text, true),
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn a_changed_file_disturbs_no_more_than_it_must() {
    let (first, second) = (free_port(), free_port());
    let home = Home::with_file(&format!(
        "{HEAD}machines:\n  a: {{forwards: ['{first}:80']}}\n  w: {{count: 1}}\n"
    ));
    home.write("vmlinuz", &kernel());
    assert_eq!(planned(&home, &[]), ("a: create\nw-1: create\n".to_owned(), true));
    runs(&home, &["up"]);
    let before = running(&home);
    assert_eq!(before.len(), 2);
    let nothing = "a: runs as the file says\nw-1: runs as the file says\n";
    assert_eq!(planned(&home, &[]), (nothing.to_owned(), false));
    TcpStream::connect(("127.0.0.1", first)).unwrap();

    // A forward moves from one machine to the other, one is new, and so is a machine.
    home.write(
        "atoll.yaml",
        format!("{HEAD}machines:\n  a: {{forwards: ['{second}:80']}}\n  w: {{count: 2, overrides: {{1: {{forwards: ['{first}:80']}}}}}}\n").as_bytes(),
    );
    let (plan, _) = planned(&home, &[]);
    assert!(
        plan.starts_with("a: change while it runs\n  forwards: ["),
        "{plan}"
    );
    assert!(plan.ends_with("w-2: create\n"), "{plan}");
    runs(&home, &["up"]);
    let after = running(&home);
    assert_eq!(after[..2], before[..], "nothing was restarted");
    assert_eq!(after[2].0, "w-2");
    let forwards: Vec<Value> = serde_json::from_str(&runs(&home, &["forward", "ls", "--json"])).unwrap();
    let leads_to = |port: u16| {
        let there = |it: &&Value| it["listen"].as_str() == Some(&format!("127.0.0.1:{port}"));
        forwards.iter().find(there).map(|it| it["machine"].clone())
    };
    assert_eq!(leads_to(first), Some("w-1".into()), "{forwards:#?}");
    assert_eq!(leads_to(second), Some("a".into()), "{forwards:#?}");

    // What takes a restart is refused where nobody can be asked.
    home.write(
        "atoll.yaml",
        format!("{HEAD}machines:\n  a: {{memory: 24M}}\n  w: {{count: 1}}\n").as_bytes(),
    );
    let refused = home.fails(&["up"], 2);
    insta::assert_snapshot!(refused, @r#"
    error: the file changes what takes a restart: machine a (memory: 16M -> 24M)
    hint: `atoll up --restart` restarts for it, `atoll up --no-restart` leaves that as it is
    "#);
    assert_eq!(running(&home), after);
    let told = said(&home, &["up", "--no-restart"]);
    assert!(
        told.contains("a: ready (runs otherwise than the file says"),
        "{told}"
    );
    assert!(told.contains("w-2: ready (not in the file"), "{told}");
    assert_eq!(running(&home), after);
    TcpStream::connect(("127.0.0.1", second)).unwrap_err();

    let (plan, _) = planned(&home, &["--restart", "--prune"]);
    assert!(
        plan.starts_with("a: restart\n") && plan.ends_with("w-2: delete, with its disk\n"),
        "{plan}"
    );
    runs(&home, &["up", "--restart", "--prune"]);
    let last = running(&home);
    assert_eq!(last.len(), 2);
    assert_ne!(last[0].1, before[0].1, "a was restarted");
    assert_eq!(last[1], before[1], "w-1 was not");
    runs(&home, &["rm"]);
}

#[test]
fn what_up_was_told_is_remembered_by_commands_that_look() {
    let home = Home::with_file(
        "variables: {mem: }\ndefaults: {arch: x86_64, accel: tcg, memory: '${mem}', kernel: ./vmlinuz}\nmachines:\n  a: {}\n  b: {profiles: [more]}\n",
    );
    home.write("vmlinuz", &kernel());
    let refused = home.fails(&["up"], 2);
    assert!(
        refused.contains("hint: say --var mem=VALUE, set ATOLL_VAR_MEM, or give it a default"),
        "{refused}"
    );
    let mut up = home.command(&["up", "--profile", "more"]);
    assert!(up.env("ATOLL_VAR_MEM", "16M").output().unwrap().status.success());
    let names: Vec<_> = running(&home).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b"]);
    let (plan, _) = planned(&home, &["--var", "mem=16M"]);
    assert_eq!(
        plan,
        "a: runs as the file says\nb: not in the file; kept, unless --prune\n"
    );
    runs(&home, &["rm"]);
}

#[test]
fn a_file_is_begun_from_a_template_and_never_overwritten() {
    let home = Home::new();
    let listed: Vec<Value> = serde_json::from_str(&runs(&home, &["template", "ls", "--json"])).unwrap();
    for template in &listed {
        let name = template["name"].as_str().unwrap();
        let file = format!("{name}.yaml");
        runs(&home, &["init", name, "-f", &file]);
        let written = fs::read_to_string(home.path("demo").join(&file)).unwrap();
        assert_eq!(written, runs(&home, &["template", "show", name]));
        let printed = runs(&home, &["config", "-f", &file]);
        home.write("printed.yaml", printed.as_bytes());
        let as_json = |file: &str| -> Value {
            serde_json::from_str(&runs(&home, &["config", "--json", "-f", file])).unwrap()
        };
        assert_eq!(as_json("printed.yaml")["machines"], as_json(&file)["machines"]);
    }
    assert!(listed.len() >= 4);
    insta::assert_snapshot!(home.fails(&["init", "-f", "machine.yaml"], 2), @r#"
    error: machine.yaml is there already and is not overwritten
    hint: name another with -f, or print the template: `atoll template show`
    "#);
    let unknown = home.fails(&["init", "clustr"], 2);
    assert!(unknown.contains("there are: machine, cluster"), "{unknown}");
}

#[test]
fn included_files_and_variables_are_resolved_from_the_command_line() {
    let home = Home::with_file("include: base/common.yaml\nmachines: {w: {count: '${n}'}}\n");
    fs::create_dir(home.path("demo/base")).unwrap();
    home.write(
        "base/common.yaml",
        b"variables: {n: 1}\ndefaults: {image: debian}\n",
    );
    let machines = |arguments: &[&str]| {
        let config: Value = serde_json::from_str(&runs(&home, arguments)).unwrap();
        config["machines"].as_object().unwrap().len()
    };
    assert_eq!(machines(&["config", "--json"]), 1);
    assert_eq!(machines(&["config", "--json", "--var", "n=3"]), 3);
    let wrong = home.fails(&["config", "--var", "m=3"], 2);
    assert!(
        wrong.contains("there is no variable \"m\"") && wrong.contains("base/common.yaml:1:"),
        "{wrong}"
    );
    home.write("base/common.yaml", b"defaults: {imag: debian}\n");
    let wrong = home.fails(&["config"], 2);
    assert!(wrong.contains("base/common.yaml:1:12"), "{wrong}");
}
