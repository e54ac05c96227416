//! `cargo run -p atoll-fuzz -- [--count N] [--seconds N] [--seed N] [--input FILE] [TARGET…]`
//!
//! Replays the seeds of every target (or of those named) and mutations of them. `--input` runs one file
//! through the named target, panic and all. Exit status 1 when a target broke, 2 for bad usage.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool prints"
)]

use atoll_fuzz::runner::{Outcome, Plan, run, seeds};
use atoll_fuzz::{TARGETS, Target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str =
    "usage: atoll-fuzz [--count MUTATIONS] [--seconds LIMIT] [--seed NUMBER] [--input FILE] [TARGET…]";

#[derive(Debug, Default)]
struct Options {
    count: Option<u64>,
    seconds: Option<u64>,
    seed: u64,
    input: Option<PathBuf>,
    targets: Vec<&'static Target>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            eprintln!("error: {problem}\n{USAGE}\ntargets: {}", names.join(" "));
            return ExitCode::from(2);
        }
    };
    if let Some(path) = &options.input {
        return run_one(path, &options.targets);
    }
    let held = options
        .targets
        .iter()
        .filter(|target| run_target(target, &options))
        .count();
    let broke = options.targets.len() - held;
    println!("{held} passed, {broke} failed");
    if broke == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--count" => options.count = Some(number(&value()?)?),
            "--seconds" => options.seconds = Some(number(&value()?)?),
            "--seed" => options.seed = number(&value()?)?,
            "--input" => options.input = Some(value()?.into()),
            name => {
                let target = TARGETS.iter().find(|target| target.name == name);
                options
                    .targets
                    .push(target.ok_or(format!("there is no target {name}"))?);
            }
        }
    }
    if options.input.is_some() && options.targets.len() != 1 {
        return Err("--input needs exactly one target".to_owned());
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is not a number"))
}

fn run_one(path: &Path, targets: &[&Target]) -> ExitCode {
    match fs::read(path) {
        Ok(input) => targets.iter().for_each(|target| (target.run)(&input)),
        Err(error) => {
            eprintln!("error: cannot read {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs one target and prints a line about it. Without a count, a limit in seconds is the only limit.
fn run_target(target: &Target, options: &Options) -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = match seeds(&folder.join("seeds").join(target.name)) {
        Ok(corpus) if !corpus.is_empty() => corpus,
        Ok(_) => {
            println!("{}: no seeds", target.name);
            return false;
        }
        Err(error) => {
            println!("{}: cannot read its seeds: {error}", target.name);
            return false;
        }
    };
    let limit = options.seconds.map(Duration::from_secs);
    let unlimited = if limit.is_some() {
        u64::MAX
    } else {
        target.mutations
    };
    let plan = Plan {
        seed: options.seed,
        count: options.count.unwrap_or(unlimited),
        until: limit.map(|limit| Instant::now() + limit),
    };
    match run(target, &corpus, plan) {
        Outcome::Held { inputs } => {
            println!("{}: held, {} seeds, {inputs} inputs", target.name, corpus.len());
            true
        }
        Outcome::Broke { input } => {
            println!(
                "{}: BROKE on {}",
                target.name,
                keep(&folder.join("artifacts"), target.name, &input)
            );
            false
        }
    }
}

/// Writes `input` down and says how to run it again.
fn keep(folder: &Path, name: &str, input: &[u8]) -> String {
    let path = folder.join(format!("{name}-{}", input.len()));
    match fs::create_dir_all(folder).and_then(|()| fs::write(&path, input)) {
        Ok(()) => format!(
            "{0}\n  again: cargo run -p atoll-fuzz -- --input {0} {name}",
            path.display()
        ),
        Err(error) => format!("{input:02x?} (not written: {error})"),
    }
}
