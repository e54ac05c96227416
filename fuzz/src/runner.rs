//! Replays seeds and mutations of them, and tells which input broke a target.
//!
//! Bounded by a count, not by time, so that a run does the same on every machine. The generator starts
//! from the run's seed and the target's name. A target that panics ends its own run; the input is
//! handed back to be written down.

use crate::Target;
use crate::mutate::{Random, mutate};
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

/// How much one run does.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where the generator starts.
    pub seed: u64,
    /// How many mutations to try.
    pub count: u64,
    /// When to stop at the latest, for a run by hand.
    pub until: Option<Instant>,
}

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing broke; so many inputs were tried.
    Held {
        /// Seeds and mutations.
        inputs: u64,
    },
    /// The target panicked on this input.
    Broke {
        /// The bytes it panicked on.
        input: Vec<u8>,
    },
}

/// The seeds below `folder`, in the order of their names.
///
/// # Errors
/// When the folder or a seed cannot be read.
pub fn seeds(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(fs::read).collect()
}

/// Runs `target` over `corpus`, then over mutations of it.
#[must_use]
pub fn run(target: &Target, corpus: &[Vec<u8>], plan: Plan) -> Outcome {
    let mut inputs = 0;
    for input in corpus {
        if !holds(target, input) {
            return Outcome::Broke { input: input.clone() };
        }
        inputs += 1;
    }
    let name_hash = target
        .name
        .bytes()
        .fold(plan.seed, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte));
    let mut random = Random::new(name_hash);
    for _ in 0..plan.count {
        if plan.until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let input = mutate(corpus, &mut random);
        if !holds(target, &input) {
            return Outcome::Broke { input };
        }
        inputs += 1;
    }
    Outcome::Held { inputs }
}

/// Whether the target comes back from `input`. It keeps no state, so nothing is left half-done by a panic.
fn holds(target: &Target, input: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Plan, run};
    use crate::Target;

    const PLAN: Plan = Plan {
        seed: 1,
        count: 2000,
        until: None,
    };

    #[test]
    fn a_target_that_panics_on_a_mutation_is_caught_with_the_input() {
        let target = Target {
            name: "planted",
            mutations: 0,
            run: |data| assert!(data.first() != Some(&0x80)),
        };
        let Outcome::Broke { input } = run(&target, &[b"seed".to_vec()], PLAN) else {
            panic!("the planted fault was not found");
        };
        assert_eq!(input.first(), Some(&0x80));
    }

    #[test]
    fn a_target_that_panics_on_a_seed_is_caught_before_any_mutation() {
        let target = Target {
            name: "planted",
            mutations: 0,
            run: |data| assert!(data != b"bad"),
        };
        let corpus = [b"good".to_vec(), b"bad".to_vec()];
        assert_eq!(
            run(&target, &corpus, PLAN),
            Outcome::Broke {
                input: b"bad".to_vec()
            }
        );
    }

    #[test]
    fn a_target_that_holds_has_seen_every_input() {
        let target = Target {
            name: "holds",
            mutations: 0,
            run: |_| {},
        };
        assert_eq!(
            run(&target, &[b"seed".to_vec()], PLAN),
            Outcome::Held { inputs: 2001 }
        );
    }
}
