//! What was measured, round by round.

use serde_json::{Value, json};

use crate::stats::{median, median_ratio};
use crate::{PEER_ORDER, suites};

/// What one case came to: metrics by name.
pub(crate) type Values = Vec<(&'static str, f64)>;

/// One case of one peer in one round.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) suite: &'static str,
    pub(crate) case: String,
    pub(crate) peer: &'static str,
    pub(crate) round: u32,
    /// The values, or why there are none.
    pub(crate) outcome: Result<Values, String>,
}

/// Names one series of values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) suite: &'a str,
    pub(crate) case: &'a str,
    pub(crate) peer: &'a str,
    pub(crate) metric: &'a str,
}

/// All samples, in the order in which they were taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    samples: Vec<Sample>,
}

impl Results {
    pub(crate) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    pub(crate) fn of_suite<'a, 'b>(
        &'a self,
        suite: &'b str,
    ) -> impl Iterator<Item = &'a Sample> + use<'a, 'b> {
        self.samples.iter().filter(move |sample| sample.suite == suite)
    }

    /// Round and value of each sample of a series.
    fn series(&self, key: Key<'_>) -> Vec<(u32, f64)> {
        self.of_suite(key.suite)
            .filter(|sample| sample.case == key.case && sample.peer == key.peer)
            .filter_map(|sample| {
                let values = sample.outcome.as_ref().ok()?;
                let (_, value) = values.iter().find(|(metric, _)| *metric == key.metric)?;
                Some((sample.round, *value))
            })
            .collect()
    }

    pub(crate) fn median(&self, key: Key<'_>) -> Option<f64> {
        let values: Vec<f64> = self.series(key).into_iter().map(|(_, value)| value).collect();
        median(&values)
    }

    pub(crate) fn largest(&self, key: Key<'_>) -> Option<f64> {
        self.series(key)
            .into_iter()
            .map(|(_, value)| value)
            .reduce(f64::max)
    }

    /// The median over rounds of one series' value by the other's in the same round.
    pub(crate) fn ratio(&self, above: Key<'_>, below: Key<'_>) -> Option<f64> {
        let below = self.series(below);
        let pair = |(round, value): (u32, f64)| {
            let (_, other) = below.iter().find(|(other, _)| *other == round)?;
            Some((value, *other))
        };
        let pairs: Vec<(f64, f64)> = self.series(above).into_iter().filter_map(pair).collect();
        median_ratio(&pairs)
    }

    /// How many rounds of a case failed, and the first reason.
    pub(crate) fn failures(&self, suite: &str, case: &str, peer: &str) -> (usize, Option<&str>) {
        let of_case = |sample: &&Sample| sample.case == case && sample.peer == peer;
        let failed: Vec<&Sample> = self
            .of_suite(suite)
            .filter(of_case)
            .filter(|sample| sample.outcome.is_err())
            .collect();
        let first = failed.first().and_then(|sample| sample.outcome.as_ref().err());
        (failed.len(), first.map(String::as_str))
    }

    /// Take samples that [`Results::to_json`] gave, but those of suites that are `measured` here. What is wrong, if they are none.
    pub(crate) fn add_earlier(&mut self, earlier: &Value, measured: &[&str]) -> Result<(), String> {
        let samples = earlier.as_array().ok_or("it is no list of samples")?;
        for sample in samples {
            let sample = Sample::from_json(sample).ok_or_else(|| format!("this is no sample: {sample}"))?;
            if !measured.contains(&sample.suite) {
                self.add(sample);
            }
        }
        Ok(())
    }

    /// Everything, for other programs.
    pub(crate) fn to_json(&self) -> Value {
        let sample = |sample: &Sample| {
            let values = sample.outcome.as_ref().ok().map(|values| {
                let members = values
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), json!(value)));
                Value::Object(members.collect())
            });
            json!({
                "suite": sample.suite, "case": sample.case, "peer": sample.peer, "round": sample.round,
                "values": values, "failure": sample.outcome.as_ref().err(),
            })
        };
        self.samples.iter().map(sample).collect()
    }
}

impl Sample {
    fn from_json(sample: &Value) -> Option<Self> {
        let text = |name: &str| sample.get(name).and_then(Value::as_str);
        let suite = suites::ALL
            .iter()
            .find(|suite| text("suite") == Some(suite.name))?;
        let value = |(name, value): (&String, &Value)| {
            let metric = suite.metrics.iter().find(|metric| metric.name == name)?;
            Some((metric.name, value.as_f64()?))
        };
        let outcome = match sample.get("values").and_then(Value::as_object) {
            Some(values) => Ok(values.iter().map(value).collect::<Option<Values>>()?),
            None => Err(text("failure")?.to_owned()),
        };
        Some(Self {
            suite: suite.name,
            case: text("case")?.to_owned(),
            peer: PEER_ORDER.into_iter().find(|peer| text("peer") == Some(*peer))?,
            round: sample.get("round").and_then(Value::as_u64)?.try_into().ok()?,
            outcome,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Results, Sample};

    fn results(rows: &[(&'static str, u32, Option<f64>)]) -> Results {
        let mut results = Results::default();
        for (peer, round, value) in rows {
            results.add(Sample {
                suite: "s",
                case: "c".to_owned(),
                peer,
                round: *round,
                outcome: value
                    .map(|value| vec![("m", value)])
                    .ok_or_else(|| format!("round {round}")),
            });
        }
        results
    }

    fn key(peer: &str) -> Key<'_> {
        Key {
            suite: "s",
            case: "c",
            peer,
            metric: "m",
        }
    }

    #[test]
    fn ratios_pair_values_of_the_same_round_and_leave_out_failed_ones() {
        let rows = [
            ("a", 1, Some(8.0)),
            ("b", 1, Some(2.0)),
            ("a", 2, Some(6.0)),
            ("b", 2, None),
            ("a", 3, Some(2.0)),
            ("b", 3, Some(1.0)),
        ];
        assert_eq!(results(&rows).ratio(key("a"), key("b")), Some(3.0));
    }

    #[test]
    fn what_was_written_is_read_again_but_for_what_is_measured_anew() {
        let mut before = Results::default();
        for (suite, outcome) in [
            ("udp", Ok(vec![("clean", 7.0)])),
            ("rr", Ok(vec![("connects", 2.0), ("p50", 3.0)])),
            ("rr", Err("it broke".to_owned())),
        ] {
            before.add(Sample {
                suite,
                case: "1500".to_owned(),
                peer: "atoll",
                round: 1,
                outcome,
            });
        }
        let mut after = Results::default();
        after.add_earlier(&before.to_json(), &["udp"]).unwrap();
        let both = |suite: &str, results: &Results| {
            results
                .of_suite(suite)
                .map(|sample| format!("{sample:?}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(both("rr", &after), both("rr", &before));
        assert_eq!(both("udp", &after).len(), 0);
        assert!(
            after
                .add_earlier(&serde_json::json!([{"suite": "rr"}]), &[])
                .is_err()
        );
    }

    #[test]
    fn failures_are_counted_with_the_first_reason() {
        let rows = [("a", 1, None), ("a", 2, Some(1.0)), ("a", 3, None)];
        let results = results(&rows);
        assert_eq!(results.failures("s", "c", "a"), (2, Some("round 1")));
        assert_eq!(results.median(key("a")), Some(1.0));
    }
}
