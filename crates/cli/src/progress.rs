//! Progress of a command: a line a machine on a terminal, one short line a stage elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use atoll_control::cluster::problem::Problem;
use atoll_control::cluster::progress::{Progress, Stage};
use atoll_control::{Client, Method};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use serde::Serialize;

use crate::failure::{Failure, say, tell_problem};

/// What the command is called in its last line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    Up,
    Down,
    Remove,
    Pause,
    Suspend,
    Resume,
    Snapshot,
    Restore,
    Forget,
}

/// Renders the events of one command.
#[derive(Debug)]
pub(crate) struct Renderer {
    verb: Verb,
    bars: Option<MultiProgress>,
    lines: BTreeMap<String, ProgressBar>,
    stages: BTreeMap<String, Stage>,
    status: u8,
    failed: usize,
    shown: String,
    text: String,
}

impl Renderer {
    /// For standard error as it is.
    pub(crate) fn new(verb: Verb) -> Self {
        let bars = io::stderr().is_terminal().then(MultiProgress::new);
        Self {
            verb,
            bars,
            lines: BTreeMap::new(),
            stages: BTreeMap::new(),
            status: 0,
            failed: 0,
            shown: String::new(),
            text: String::new(),
        }
    }

    /// With the cluster file's text, so that failures can point into it; `shown` is what messages call it.
    pub(crate) fn pointing_into(self, shown: &str, text: &str) -> Self {
        Self {
            shown: shown.to_owned(),
            text: text.to_owned(),
            ..self
        }
    }

    /// Shows one event.
    fn tell(&mut self, event: Progress) {
        match event {
            Progress::Stage {
                machine,
                stage,
                detail,
                percent,
            } => self.stage(&machine, stage, &detail, percent),
            Progress::Failed {
                machine,
                stage,
                problem,
                console,
                console_of,
            } => {
                self.close(&machine);
                self.failed += 1;
                self.status = self.status.max(problem.kind.exit_status());
                let place = format!("machine {machine}: {stage}: ");
                // Some sentences name the machine themselves.
                let message = problem.message.strip_prefix(&format!("machine {machine}: "));
                let problem = Problem {
                    message: message.unwrap_or(&problem.message).to_owned(),
                    ..problem
                };
                let line = machine_line(&self.text, &machine);
                self.aside(|| {
                    if !console.is_empty() {
                        let owner = console_of.as_ref().unwrap_or(&machine);
                        say(&format!("{owner}: the last lines of its console:"));
                        console.iter().for_each(|line| say(&format!("  | {line}")));
                    }
                    tell_problem(
                        &problem,
                        &place,
                        line.map(|line| format!("{}:{line}", self.shown)),
                    );
                });
            }
            Progress::Error { problem } => {
                self.status = self.status.max(problem.kind.exit_status());
                self.aside(|| tell_problem(&problem, "", None));
            }
            Progress::Done { machines, seconds } => self.done(&machines, seconds),
        }
    }

    /// Asks for something that takes its time, and tells how it goes.
    pub(crate) fn follow(self, client: &Client, path: &str, request: &impl Serialize) -> Result<(), Failure> {
        self.follow_by(&Method::POST, client, path, request)
    }

    /// The same by a method that is not POST.
    pub(crate) fn follow_by(
        mut self,
        method: &Method,
        client: &Client,
        path: &str,
        request: &impl Serialize,
    ) -> Result<(), Failure> {
        client.follow(method, path, request, |event| self.tell(event))?;
        self.finish()
    }

    /// The command's end: its exit status.
    fn finish(self) -> Result<(), Failure> {
        Failure::of_status(self.status)
    }

    fn stage(&mut self, machine: &str, stage: Stage, detail: &str, percent: Option<u8>) {
        let is_new = self.stages.insert(machine.to_owned(), stage) != Some(stage);
        if self.bars.is_none() {
            // What a machine writes while it boots, how far a download is, and what is still waited for belong on a terminal only.
            let is_noise = matches!(stage, Stage::Boot) || percent.is_some();
            let is_again = is_noise || stage == Stage::Wait || detail.is_empty();
            if is_new || !is_again {
                let detail = if detail.is_empty() || is_noise {
                    String::new()
                } else {
                    format!(" ({detail})")
                };
                say(&format!("{machine}: {stage}{detail}"));
            }
            return;
        }
        let line = self.line(machine);
        let percent = percent.map(|percent| format!(" {percent} %")).unwrap_or_default();
        line.set_message(format!("{stage:<10}{percent} {detail}"));
        if stage == Stage::Ready {
            self.close(machine);
        }
    }

    fn line(&mut self, machine: &str) -> ProgressBar {
        let Some(bars) = &self.bars else {
            return ProgressBar::hidden();
        };
        let line = self.lines.entry(machine.to_owned()).or_insert_with(|| {
            let line = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}") {
                line.set_style(style);
            }
            line.set_prefix(machine.to_owned());
            line.enable_steady_tick(Duration::from_millis(120));
            line
        });
        line.clone()
    }

    fn close(&mut self, machine: &str) {
        if let Some(line) = self.lines.remove(machine) {
            line.finish();
        }
    }

    /// Runs `tell` while no line moves.
    fn aside(&self, tell: impl FnOnce()) {
        match &self.bars {
            Some(bars) => bars.suspend(tell),
            None => tell(),
        }
    }

    fn done(&mut self, machines: &[String], seconds: u64) {
        for line in std::mem::take(&mut self.lines).into_values() {
            line.finish();
        }
        let well = machines.len().saturating_sub(self.failed);
        let what = match self.verb {
            Verb::Up => "ready",
            Verb::Down => "down",
            Verb::Remove => "removed",
            Verb::Pause => "paused",
            Verb::Suspend => "suspended",
            Verb::Resume => "resumed",
            Verb::Snapshot => "saved",
            Verb::Restore => "as they were then",
            Verb::Forget => "without that snapshot",
        };
        let noun = if machines.len() == 1 {
            "machine"
        } else {
            "machines"
        };
        let line = match self.failed {
            0 => format!("{well} {noun} {what} in {seconds} s"),
            _ => format!("{well} of {} {noun} {what} after {seconds} s", machines.len()),
        };
        self.aside(|| say(&line));
    }
}

/// The line of the cluster file, from 1, on which a machine begins; that of all machines when they are written in one.
fn machine_line(text: &str, machine: &str) -> Option<usize> {
    let mut lines = text.lines().zip(1..);
    let (_, all) = lines.by_ref().find(|(line, _)| line.starts_with("machines:"))?;
    let content = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let indent = |line: &str| line.len() - line.trim_start().len();
    let below = lines
        .filter(|(line, _)| content(line))
        .take_while(|(line, _)| indent(line) > 0);
    let below: Vec<_> = below.collect();
    let level = below.first().map(|(line, _)| indent(line));
    let is_it = |line: &str| {
        let key = line.trim_start().split(':').next().unwrap_or_default();
        Some(indent(line)) == level && key.trim_matches(['"', '\'', ' ']) == machine
    };
    let found = below.into_iter().find(|(line, _)| is_it(line));
    Some(found.map_or(all, |(_, number)| number))
}

#[cfg(test)]
mod tests {
    use super::machine_line;

    #[test]
    fn a_machine_is_found_by_its_key_and_not_by_its_name_elsewhere() {
        let text =
            "name: b\nmachines:\n  a: # first\n    user-data: |\n      b: no\n\n  \"b\":\n    image: x\n";
        assert_eq!(machine_line(text, "a"), Some(3));
        assert_eq!(machine_line(text, "b"), Some(7));
        assert_eq!(machine_line("machines: {a: {}, b: {}}", "b"), Some(1));
        assert_eq!(machine_line("name: x", "b"), None);
    }
}
