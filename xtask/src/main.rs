//! Chores of this repository, run as `cargo xtask NAME`.

use std::process::ExitCode;

mod bench;
mod count;
mod walls;

const USAGE: &str = "usage: cargo xtask walls    check the walls between the crates
       cargo xtask count    count the instructions of the engine's hot paths (needs valgrind)
       cargo xtask bench    measure beside other networks (needs root; `cargo xtask bench --help` tells more)";

/// Exit status of a check that cannot run here.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["walls"] => run_walls(),
        ["count"] => run_count(),
        ["bench", rest @ ..] => bench::run(&walls::workspace_root(), rest),
        _ => usage(),
    }
}

#[expect(clippy::print_stdout, reason = "the findings are this command's output")]
fn run_walls() -> ExitCode {
    let findings = match walls::check(&walls::workspace_root()) {
        Ok(findings) => findings,
        Err(error) => {
            println!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    for finding in &findings {
        println!("{finding}");
    }
    println!("walls: {} rules, {} broken", walls::RULES, findings.len());
    if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(clippy::print_stdout, reason = "the counts are this command's output")]
fn run_count() -> ExitCode {
    match count::count(&walls::workspace_root()) {
        Ok(rows) => {
            println!("instructions  path            one frame carries");
            for (path, carries, instructions) in rows {
                println!("{instructions:>12}  {path:<14}  {carries}");
            }
            ExitCode::SUCCESS
        }
        Err(count::CountError::NoValgrind) => {
            println!("skipped: valgrind is not installed");
            ExitCode::from(SKIPPED)
        }
        Err(count::CountError::Failed(why)) => {
            println!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "bad usage is told on stderr")]
fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
