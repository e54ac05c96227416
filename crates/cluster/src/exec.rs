//! Commands in a machine, word for word.
//!
//! ssh joins the words of a command with spaces and gives the line to the user's shell there. Here every word arrives as it was given, the exit
//! status is the command's own (128 and the signal's number when a signal ended it, as in a shell; ssh would say 255), and a signal can be sent after
//! it: the command runs below a small shell whose text bears a mark, which `signal` looks for.
//!
//! What is left out: a command outlives an `atoll exec` that is killed by SIGKILL, or whose connection breaks, until it reads or writes.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::look::shell_quoted;

/// A command in one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    mark: String,
    line: String,
}

impl Exec {
    /// Of these words, of which there must be one at least.
    #[must_use]
    pub fn new(words: &[String]) -> Self {
        // The keys of std's hash tables are the system's randomness.
        let mark = format!("atoll-{:016x}", RandomState::new().build_hasher().finish());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // A trap that does nothing keeps the shell until the command has ended, and is not inherited by it.
        let text = format!(": {mark}; trap : HUP INT QUIT TERM; \"$@\"; exit $?");
        Self {
            line: script(&text, &words),
            mark,
        }
    }

    /// What ssh is given to run.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What ssh is given to run to send a signal, such as `INT`, to the command and what it started.
    #[must_use]
    pub fn signal(&self, name: &str) -> String {
        // The brackets keep the pattern from finding itself. A session of ssh leads a process group of its own.
        let pattern = format!(": [a]{}; trap", &self.mark[1..]);
        script(
            "grep -l -e \"$1\" /proc/[0-9]*/cmdline 2>/dev/null | while read -r file; do
                pid=${file#/proc/} pid=${pid%/cmdline}
                kill -s \"$2\" -- \"-$pid\" 2>/dev/null || kill -s \"$2\" \"$pid\"
            done",
            &[&pattern, name],
        )
    }
}

/// A line for any shell that has POSIX's quotes, by which `sh` runs a text with these words.
pub(crate) fn script(text: &str, words: &[&str]) -> String {
    let mut line = format!("exec sh -c {} atoll", shell_quoted(text));
    for word in words {
        line.push(' ');
        line.push_str(&shell_quoted(word));
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// As sshd runs it: by the user's shell, in a process group of its own.
    fn there(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(line).process_group(0);
        command
    }

    fn exec(words: &[&str]) -> Exec {
        Exec::new(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_status_is_the_commands_own() {
        let status = |words: &[&str]| {
            let output = there(exec(words).line()).output().unwrap();
            output.status.code()
        };
        assert_eq!(status(&["true"]), Some(0));
        assert_eq!(status(&["sh", "-c", "exit 7"]), Some(7));
        assert_eq!(status(&["sh", "-c", "exit 255"]), Some(255));
        assert_eq!(status(&["sh", "-c", "kill -KILL $$"]), Some(137));
        assert_eq!(status(&["no-such-command"]), Some(127));
    }

    #[test]
    fn input_goes_through() {
        let mut child = there(exec(&["cat"]).line())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"a\0b").unwrap();
        assert_eq!(child.wait_with_output().unwrap().stdout, b"a\0b");
    }

    #[test]
    fn a_signal_reaches_the_command_and_nobody_else() {
        let waits = "trap 'echo got; exit 9' INT; echo up; while :; do sleep 0.05; done";
        let (meant, other) = (exec(&["sh", "-c", waits]), exec(&["sh", "-c", waits]));
        let start = |exec: &Exec| {
            let child = there(exec.line()).stdout(Stdio::piped()).spawn();
            let mut child = child.unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "up");
            (child, lines)
        };
        let ((mut child, mut lines), (mut untouched, _)) = (start(&meant), start(&other));
        assert!(there(&meant.signal("INT")).status().unwrap().success());
        assert_eq!(lines.next().unwrap().unwrap(), "got");
        assert_eq!(child.wait().unwrap().code(), Some(9));
        assert_eq!(untouched.try_wait().unwrap(), None);
        assert!(there(&other.signal("KILL")).status().unwrap().success());
        untouched.wait().unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn words_arrive_as_they_are(words in proptest::collection::vec("[ -~\n\t\u{e4}]{0,12}", 0..5)) {
            let mut all = vec!["printf".to_owned(), "%s\\0".to_owned()];
            all.extend(words.clone());
            let output = there(Exec::new(&all).line()).output().unwrap();
            let mut expected: Vec<u8> = words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
            if words.is_empty() {
                expected.push(0);
            }
            prop_assert_eq!(output.stdout, expected);
        }
    }
}
