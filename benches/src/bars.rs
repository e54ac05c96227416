//! The bars that Atoll is to clear, beside what was measured.
//!
//! A bar compares two series within a round (a ratio, of which the median counts) or bounds one series. Bars whose
//! series were not measured in this run say so.

mod list;

use std::fmt::Write;

use crate::results::Results;

/// What a measured value has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Need {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Need {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {bound}"),
            Self::AtMost(bound) => format!("≤ {bound}"),
            Self::Below(bound) => format!("< {bound}"),
        }
    }
}

/// One bar.
#[derive(Clone, Debug)]
struct Bar {
    path: String,
    what: String,
    need: Need,
    measured: Option<f64>,
}

/// Writes the table of bars of what was measured at all.
pub(crate) fn write(text: &mut String, results: &Results) -> std::fmt::Result {
    let bars = list::bars(results);
    let measured = bars.iter().filter_map(|bar| Some(bar.need.is_met(bar.measured?)));
    let (met, missed): (Vec<bool>, Vec<bool>) = measured.partition(|met| *met);
    if met.is_empty() && missed.is_empty() {
        return Ok(());
    }
    let unmeasured = bars.len() - met.len() - missed.len();
    writeln!(text, "## The bars\n")?;
    writeln!(
        text,
        "{} cleared, {} missed, {unmeasured} not measured in this run (left out below).\n",
        met.len(),
        missed.len()
    )?;
    writeln!(
        text,
        "| path | value | bar | measured | |\n|---|---|---:|---:|---|"
    )?;
    for bar in &bars {
        let Some(value) = bar.measured else {
            continue;
        };
        let verdict = if bar.need.is_met(value) {
            "pass"
        } else {
            "**fail**"
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {verdict} |",
            bar.path,
            bar.what,
            bar.need.words(),
            figure(value)
        )?;
    }
    writeln!(text)
}

/// Three figures or so.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::{Need, write};
    use crate::results::{Results, Sample};

    fn results(rows: &[(&'static str, &str, f64)]) -> Results {
        let mut results = Results::default();
        for (peer, case, gbit) in rows {
            results.add(Sample {
                suite: "tcp-stream",
                case: (*case).to_owned(),
                peer,
                round: 1,
                outcome: Ok(vec![("gbit", *gbit)]),
            });
        }
        results
    }

    #[test]
    fn a_value_at_the_bound_meets_all_but_below() {
        assert!(Need::AtLeast(1.0).is_met(1.0));
        assert!(Need::AtMost(1.0).is_met(1.0));
        assert!(!Need::Below(1.0).is_met(1.0));
    }

    #[test]
    fn cleared_and_missed_bars_are_told_apart_and_others_only_counted() {
        let rows = [
            ("atoll", "1500 up", 13.0),
            ("passt", "1500 up", 10.0),
            ("atoll", "1500 down", 9.0),
            ("passt", "1500 down", 10.0),
        ];
        let mut text = String::new();
        write(&mut text, &results(&rows)).unwrap();
        assert!(text.contains("1 cleared, 1 missed,"), "{text}");
        assert!(text.contains("| ≥ 1.2 | 1.30 | pass |"), "{text}");
        assert!(text.contains("| ≥ 1.2 | 0.90 | **fail** |"), "{text}");
    }

    #[test]
    fn without_measurements_there_is_no_table() {
        let mut text = String::new();
        write(&mut text, &Results::default()).unwrap();
        assert_eq!(text, "");
    }
}
