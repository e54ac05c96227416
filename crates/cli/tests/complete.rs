//! What shells are offered, and manual pages.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

#[expect(dead_code, reason = "other tests use the rest")]
mod home;

use std::path::Path;
use std::process::Command;

use home::{BINARY, Home};

fn home() -> Home {
    let home = Home::with_file("machines: {web: {image: debian}, worker: {image: debian}}\n");
    home.write("webfile", b"");
    home
}

/// What bash offers for the last word.
fn bash(home: &Home, words: &[&str]) -> Vec<String> {
    let script = "eval \"$(atoll completions bash)\"
        COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1))
        _clap_complete_atoll atoll \"${!#}\" \"\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = home.wrapped(&["bash", "-c", script, "bash"]);
    let folder = Path::new(BINARY).parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap();
    let output = command
        .args(words)
        .env("PATH", format!("{folder}:{path}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// What another shell is told: the way of its script, without the shell.
fn told(home: &Home, shell: &str, words: &[&str]) -> Vec<String> {
    let mut command: Command = home.command(&["--"]);
    command.args(words).env("ATOLL_COMPLETE", shell);
    command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
    command.env("_CLAP_IFS", "\n");
    let output = command.output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    let word = |line: &str| line.split(['\t', ':']).next().unwrap_or_default().to_owned();
    words.lines().map(word).collect()
}

#[test]
fn machines_are_completed_by_name_in_each_shell() {
    let home = home();
    assert_eq!(bash(&home, &["atoll", "ssh", "w"]), ["web", "worker"]);
    assert_eq!(bash(&home, &["atoll", "exec", "wo"]), ["worker"]);
    assert_eq!(bash(&home, &["atoll", "cp", "we"]), ["web:", "webfile"]);
    assert!(bash(&home, &["atoll", "screen"]).contains(&"screenshot".to_owned()));
    assert!(bash(&home, &["atoll", "ls", "--fo"]).contains(&"--format".to_owned()));
    for shell in ["zsh", "fish"] {
        assert_eq!(
            told(&home, shell, &["atoll", "ssh", "w"]),
            ["web", "worker"],
            "{shell}"
        );
        let script = home.command(&["completions", shell]).output().unwrap();
        assert!(
            String::from_utf8(script.stdout)
                .unwrap()
                .contains("ATOLL_COMPLETE")
        );
    }
    // A file that cannot be read has no names, and says nothing.
    let wrong = Home::with_file("machines: [\n");
    assert_eq!(told(&wrong, "fish", &["atoll", "ssh", "w"]), [""; 0]);
}

#[test]
fn every_command_has_a_manual_page() {
    let home = home();
    let output = home.command(&["man", "--dir", "man1"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read = |name: &str| std::fs::read_to_string(home.path("demo/man1").join(name)).unwrap();
    assert!(read("atoll.1").contains("atoll\\-cp(1)"));
    assert!(read("atoll-net-run.1").contains(".TH atoll-net-run 1"));
    let one = home.command(&["man", "cp"]).output().unwrap();
    assert_eq!(String::from_utf8(one.stdout).unwrap(), read("atoll-cp.1"));
    let said = home.fails(&["man", "net", "walk"], 2);
    assert!(
        said.starts_with("error: there is no command \"walk\"\nhint: there are: run, exec, "),
        "{said}"
    );
}

#[test]
fn a_template_that_is_none_is_refused_before_anything_is_asked() {
    let home = home();
    let said = home.fails(&["ls", "--format", "{{ name"], 2);
    assert!(
        said.contains("invalid value '{{ name' for '--format <TEMPLATE>'"),
        "{said}"
    );
    insta::assert_snapshot!(home.fails(&["ls", "--format", "{{ nmae }}"], 2), @r"
    error: --format cannot be filled in: undefined value
    hint: there are: image, in_file, name, nics, state; what may be missing is written {{ x | default('-') }}
    ");
}
