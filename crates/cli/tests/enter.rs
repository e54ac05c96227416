//! `exec` and `cp` with machines that run, and a program that stands in for `ssh`: it gives the line to a shell, as sshd does, in a folder that
//! is the machine's home.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

mod home;
mod tiny;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use home::Home;
use tiny::{kernel, runs};

const STAND_IN: &str = "#!/bin/sh
while [ \"$1\" != -- ]; do shift; done
cd \"$HOME/../$2\" || exit 255
shift 2
exec env --default-signal setsid -w sh -c \"$*\"
";

fn cluster() -> Home {
    let home = Home::with_file(
        "defaults: {arch: x86_64, accel: tcg, memory: 16M, kernel: ./vmlinuz}\nmachines:\n  a: {}\n  bee: {}\n  off: {}\n",
    );
    home.write("vmlinuz", &kernel());
    for name in ["home", "bin", "a", "bee"] {
        home.make_folder(name);
    }
    fs::write(home.path("bin/ssh"), STAND_IN).unwrap();
    fs::set_permissions(home.path("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    runs(&home, &["up", "a", "bee"]);
    home
}

/// With the stand-in first among all programs.
fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.command(arguments);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", home.path("bin").display()));
    command
}

fn run(home: &Home, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(home, arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_command_has_its_words_streams_status_and_signals() {
    let home = cluster();
    let both = "echo out; echo err >&2; exit 7";
    let said = run(&home, &["exec", "a", "--", "sh", "-c", both]);
    assert_eq!(said, (Some(7), "out\n".to_owned(), "err\n".to_owned()));
    let said = run(
        &home,
        &["exec", "a", "--", "printf", "%s|", "a  b", "$x", "'", ""],
    );
    assert_eq!(said, (Some(0), "a  b|$x|'||".to_owned(), String::new()));
    assert_eq!(run(&home, &["exec", "a", "--", "no-such-command"]).0, Some(127));

    let mut child = command(&home, &["exec", "a", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"in\0").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"in\0");

    let waits = "trap 'echo got; exit 9' INT; echo up; while :; do sleep 0.05; done";
    let mut child = command(&home, &["exec", "a", "--", "sh", "-c", waits])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(lines.next().unwrap().unwrap(), "got");
    assert_eq!(child.wait().unwrap().code(), Some(9));

    let own = "basename \"$PWD\"; [ ! -e mark ] || { echo no >&2; exit 3; }";
    fs::write(home.path("bee/mark"), "").unwrap();
    let (code, stdout, stderr) = run(&home, &["exec", "a", "bee", "--", "sh", "-c", own]);
    let mut lines: Vec<&str> = stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a   | a", "bee | bee"]);
    assert_eq!((code, stderr.as_str()), (Some(3), "bee | no\n"));
    let (_, stdout, _) = run(&home, &["exec", "--all", "--", "echo", "x"]);
    assert_eq!(stdout.lines().count(), 2, "{stdout}");

    insta::assert_snapshot!(home.fails(&["exec", "off", "--", "true"], 1), @r"
    error: machine off does not run
    hint: `atoll up off` starts it
    ");
    insta::assert_snapshot!(home.fails(&["exec", "c", "--", "true"], 2), @r#"
    error: there is no machine "c" in this cluster
    hint: there are: a, bee, off
    "#);
    runs(&home, &["rm"]);
    home.leaves_nothing_running();
}

#[test]
fn files_go_to_machines_between_them_and_back() {
    let home = cluster();
    fs::create_dir_all(home.path("demo/site/sub")).unwrap();
    home.write("site/sub/page", b"hello");
    home.write("one", b"1");
    for arguments in [
        &["cp", "site", "one", "a:"][..],
        &["cp", "a:site", "bee:"],
        &["cp", "bee:site/sub/page", "a:one", "."],
    ] {
        let (code, stdout, stderr) = run(&home, arguments);
        assert_eq!(
            (code, stdout, stderr),
            (Some(0), String::new(), String::new()),
            "{arguments:?}"
        );
    }
    assert_eq!(fs::read_to_string(home.path("demo/page")).unwrap(), "hello");
    assert_eq!(
        fs::read_to_string(home.path("bee/site/sub/page")).unwrap(),
        "hello"
    );

    insta::assert_snapshot!(home.fails(&["cp", "one", "two"], 2), @r"
    error: neither side of the copy is in a machine
    hint: write a machine's side as MACHINE:PATH; `cp` copies on this host
    ");
    insta::assert_snapshot!(home.fails(&["cp", "one", "off:"], 1), @r"
    error: machine off does not run
    hint: `atoll up off` starts it
    ");
    insta::assert_snapshot!(home.fails_with(command(&home, &["cp", "none", "a:"]), 1), @"error: cannot read none: No such file or directory (os error 2)");
    insta::assert_snapshot!(home.fails_with(command(&home, &["cp", "a:none", "."]), 1), @"error: a: there is no none in .");
    insta::assert_snapshot!(home.fails_with(command(&home, &["cp", "one", "a:no/such"]), 1), @"error: a: there is no folder no");
    runs(&home, &["rm"]);
    home.leaves_nothing_running();
}
