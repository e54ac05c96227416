//! `events`: what happened to the cluster.

use std::io::{self, Write};
use std::time::SystemTime;

use atoll_control::cluster::console::printable;
use atoll_control::cluster::events::{Event, files, rfc3339};
use atoll_control::cluster::follow::{Follow, PAUSE};
use atoll_control::cluster::progress::Progress;
use atoll_control::spec::Period;
use clap::Args;

use crate::failure::Failure;
use crate::project::LongFileArgs;
use crate::shape::Shape;

/// Arguments of `events`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll events --since 10m           what happened in the last ten minutes\n  atoll events -f --json web | jq -r .stage\n\nStages of machines, failures and ends of commands, each with its time in UTC; in JSON one object a line. The newest few thousand are kept until `atoll rm`."
)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    file: LongFileArgs,
    /// Only what is about these machines
    #[arg(value_name = "MACHINE", add = crate::complete::machines())]
    machines: Vec<String>,
    /// Go on with what happens
    #[arg(short, long)]
    follow: bool,
    /// Only what is newer: a length of time such as 10m, or a date and time such as 2026-11-24T16:00 in UTC
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
    #[command(flatten)]
    shape: Shape,
}

/// As a time that can be compared with those of events.
fn since(word: &str) -> Result<String, String> {
    if let Ok(period) = word.parse::<Period>() {
        let then = SystemTime::now().checked_sub(period.duration());
        return Ok(rfc3339(then.unwrap_or(SystemTime::UNIX_EPOCH)));
    }
    // The beginning of a time is less than the time itself.
    let shape = "0000-00-00T00:00:00.000Z";
    let is_time = word.len() >= 4 && word.len() <= shape.len();
    let fits = |(c, shape): (char, char)| {
        if shape == '0' {
            c.is_ascii_digit()
        } else {
            c == shape
        }
    };
    if is_time && word.chars().zip(shape.chars()).all(fits) {
        return Ok(word.to_owned());
    }
    Err("write a length of time such as 10m, or a date such as 2026-11-24T16:00".to_owned())
}

pub(crate) fn events(args: &EventsArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let [old, new] = files(&project.paths).map(|path| Follow::new(&path, None));
    let mut pending = Vec::new();
    let mut old = Some(old);
    let mut new = new;
    loop {
        let read = match &mut old {
            Some(file) => file.look()?,
            None => new.look()?,
        };
        if read.is_empty() {
            // The older file does not grow.
            if old.take().is_none() {
                if !args.follow {
                    return Ok(());
                }
                std::thread::sleep(PAUSE);
            }
            continue;
        }
        pending.extend_from_slice(&read);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if let Some(event) = Event::parse(&line).filter(|event| is_meant(args, event)) {
                print(args, &event)?;
            }
        }
    }
}

fn is_meant(args: &EventsArgs, event: &Event) -> bool {
    let is_new = args.since.as_ref().is_none_or(|since| event.time >= *since);
    let about = event.machine();
    is_new
        && (args.machines.is_empty() || about.is_some_and(|name| args.machines.iter().any(|it| it == name)))
}

fn print(args: &EventsArgs, event: &Event) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if args.shape.json {
        serde_json::to_writer(&mut out, event).map_err(io::Error::from)?;
        writeln!(out)?;
    } else if !args.shape.print(&(), std::slice::from_ref(event))? {
        writeln!(out, "{}", line(event))?;
    }
    Ok(out.flush()?)
}

fn line(event: &Event) -> String {
    let (who, what) = match &event.what {
        Progress::Stage {
            machine,
            stage,
            detail,
            ..
        } => (machine.as_str(), format!("{stage} {detail}")),
        Progress::Failed {
            machine,
            stage,
            problem,
            ..
        } => (
            machine.as_str(),
            format!("failed at {stage}: {}", problem.message),
        ),
        Progress::Error { problem } => ("-", format!("failed: {}", problem.message)),
        Progress::Done { machines, seconds } => {
            ("-", format!("done in {seconds} s: {}", machines.join(", ")))
        }
    };
    printable(&format!("{}  {who:<12}  {what}", event.time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_length_or_the_beginning_of_a_date() {
        for good in [
            "2026",
            "2026-11-24",
            "2026-11-24T16:00",
            "2026-11-24T16:00:00.123Z",
        ] {
            assert_eq!(since(good).as_deref(), Ok(good));
        }
        assert!(since("10m").unwrap().as_str() > "2026");
        for bad in ["", "10", "26-11-24", "2026-11-24 16:00", "yesterday"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
