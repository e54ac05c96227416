//! The tables, as Markdown.

use std::fmt::Write;

use crate::bars;
use crate::bench::Metric;
use crate::probe::machine::Machine;
use crate::results::{Key, Results};
use crate::suites::{self, Suite};

/// What the report says of the run as a whole.
#[derive(Debug)]
pub(crate) struct Heading {
    pub(crate) machine: Machine,
    /// Peers with their versions, or with why they are left out.
    pub(crate) peers: Vec<(&'static str, String)>,
    /// Congestion control that was set, and what the senders said they used.
    pub(crate) congestion: (String, Vec<String>),
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    /// Samples of earlier runs are among the results.
    pub(crate) has_earlier: bool,
}

/// The whole report.
pub(crate) fn markdown(heading: &Heading, results: &Results) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_heading(&mut text, heading);
    let _ = bars::write(&mut text, results);
    let is_measured = |suite: &&Suite| results.of_suite(suite.name).next().is_some();
    for suite in suites::ALL.iter().filter(is_measured) {
        let _ = write_suite(&mut text, suite, results);
    }
    text
}

fn write_heading(text: &mut String, heading: &Heading) -> std::fmt::Result {
    let machine = &heading.machine;
    let (set, seen) = &heading.congestion;
    let seen = if seen.is_empty() {
        "none".to_owned()
    } else {
        seen.join(", ")
    };
    writeln!(text, "# Benchmarks\n")?;
    writeln!(
        text,
        "Written by `cargo xtask bench` on {}: {} ({} cores, {}), Linux {}.\n",
        machine.date, machine.processor, machine.cores, machine.memory, machine.kernel
    )?;
    writeln!(
        text,
        "Medians of {} interleaved rounds of {} s; ratios are taken within a round, then their median. Everything \
         shares the machine's cores: client, server, shim and back end. Congestion control: {set} by route in every \
         namespace (senders reported: {seen}; the machine's own default is {}).\n",
        heading.rounds, heading.seconds, machine.congestion
    )?;
    if heading.has_earlier {
        writeln!(
            text,
            "Some measurements are of earlier runs on the same machine, whose rounds may be fewer.\n"
        )?;
    }
    writeln!(text, "| peer | version |\n|---|---|")?;
    for (name, version) in &heading.peers {
        writeln!(text, "| {name} | {version} |")?;
    }
    writeln!(text)
}

fn write_suite(text: &mut String, suite: &Suite, results: &Results) -> std::fmt::Result {
    let (mut peers, mut cases) = (Vec::new(), Vec::new());
    for sample in results.of_suite(suite.name) {
        if !peers.contains(&sample.peer) {
            peers.push(sample.peer);
        }
        if !cases.contains(&sample.case.as_str()) {
            cases.push(sample.case.as_str());
        }
    }
    if peers.is_empty() {
        return Ok(());
    }
    peers.sort_by_key(|peer| crate::PEER_ORDER.iter().position(|name| name == peer));
    writeln!(text, "## {}\n\n{}\n", suite.title, suite.about)?;
    let table = Table {
        suite,
        results,
        peers,
    };
    if let [case] = cases.as_slice() {
        table.metrics_across(text, case)?;
    } else {
        sort_cases(&mut cases);
        for metric in suite.metrics {
            table.cases_across(text, *metric, &cases)?;
        }
    }
    table.failures(text, &cases)
}

/// By leading number and then as they came, so that rounds which begin elsewhere do not shuffle columns.
fn sort_cases(cases: &mut [&str]) {
    let number = |case: &str| {
        let digits: String = case.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    };
    cases.sort_by_key(|case| number(case));
}

struct Table<'a> {
    suite: &'a Suite,
    results: &'a Results,
    peers: Vec<&'a str>,
}

impl Table<'_> {
    fn cell(&self, peer: &str, case: &str, metric: Metric) -> String {
        let key = Key {
            suite: self.suite.name,
            case,
            peer,
            metric: metric.name,
        };
        let value = self
            .results
            .median(key)
            .map(|value| format!("{value:.*}", metric.decimals));
        let (failed, _) = self.results.failures(self.suite.name, case, peer);
        match (value, failed) {
            (Some(value), 0) => value,
            (Some(value), failed) => format!("{value} ({failed} failed)"),
            (None, 0) => "–".to_owned(),
            (None, _) => "failed".to_owned(),
        }
    }

    fn metrics_across(&self, text: &mut String, case: &str) -> std::fmt::Result {
        let headings: Vec<&str> = self.suite.metrics.iter().map(|metric| metric.heading).collect();
        head(text, &headings)?;
        for peer in &self.peers {
            let cells = self
                .suite
                .metrics
                .iter()
                .map(|metric| self.cell(peer, case, *metric));
            row(text, peer, cells)?;
        }
        writeln!(text)
    }

    fn cases_across(&self, text: &mut String, metric: Metric, cases: &[&str]) -> std::fmt::Result {
        writeln!(text, "{}:\n", capital(metric.heading))?;
        head(text, cases)?;
        for peer in &self.peers {
            row(text, peer, cases.iter().map(|case| self.cell(peer, case, metric)))?;
        }
        writeln!(text)
    }

    fn failures(&self, text: &mut String, cases: &[&str]) -> std::fmt::Result {
        let mut any = false;
        for peer in &self.peers {
            for case in cases {
                let (failed, reason) = self.results.failures(self.suite.name, case, peer);
                if let Some(reason) = reason {
                    any = true;
                    writeln!(text, "- {peer}, {case}: failed in {failed} rounds: {reason}")?;
                }
            }
        }
        if any { writeln!(text) } else { Ok(()) }
    }
}

fn head(text: &mut String, headings: &[&str]) -> std::fmt::Result {
    writeln!(text, "| | {} |", headings.join(" | "))?;
    writeln!(text, "|---|{}", "---:|".repeat(headings.len()))
}

fn row(text: &mut String, name: &str, cells: impl Iterator<Item = String>) -> std::fmt::Result {
    let cells: Vec<String> = cells.collect();
    writeln!(text, "| {name} | {} |", cells.join(" | "))
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
