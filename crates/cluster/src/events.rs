//! What happened to a cluster: a journal that outlives the commands and the daemon.
//!
//! One JSON object a line in `events.jsonl` of the state folder: a time, and what commands are told as [`Progress`]. Of a stage only its beginning is
//! written, not what a guest says in it; so a start of a machine is about eight lines. At `FILE_MAX` bytes the file becomes `events.jsonl.1`, in the
//! place of an older one: a journal is at most two such files. It is not synced: what a crash of the host takes away nobody relies on.
//!
//! Nobody watches a machine between commands, so one that ends by itself is no event.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::paths::ClusterPaths;
use crate::progress::{Progress, Sink, Stage};

/// About five thousand events.
const FILE_MAX: u64 = 512 << 10;

/// An event with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When it was, as RFC 3339 has it, in UTC with milliseconds.
    pub time: String,
    /// What it was.
    #[serde(flatten)]
    pub what: Progress,
}

impl Event {
    /// The machine that it is about, if it is one.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        match &self.what {
            Progress::Stage { machine, .. } | Progress::Failed { machine, .. } => Some(machine),
            Progress::Error { .. } | Progress::Done { .. } => None,
        }
    }

    /// The event of a line; none for one that was broken off by a crash.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// Where a cluster's journal is, the older file first.
#[must_use]
pub fn files(paths: &ClusterPaths) -> [PathBuf; 2] {
    ["events.jsonl.1", "events.jsonl"].map(|name| paths.state.join(name))
}

/// A sink that also writes what it is told into the journal.
pub(crate) struct Journal<'a> {
    path: PathBuf,
    sink: &'a dyn Sink,
    stages: Mutex<BTreeMap<String, Stage>>,
}

impl<'a> Journal<'a> {
    /// Before this sink.
    pub(crate) fn new(paths: &ClusterPaths, sink: &'a dyn Sink) -> Self {
        let [_, path] = files(paths);
        Self {
            path,
            sink,
            stages: Mutex::default(),
        }
    }

    /// Whether it is more than a word about what is known.
    fn is_news(stages: &mut BTreeMap<String, Stage>, event: &Progress) -> bool {
        match event {
            Progress::Stage { machine, stage, .. } => stages.insert(machine.clone(), *stage) != Some(*stage),
            _ => true,
        }
    }
}

impl Sink for Journal<'_> {
    fn tell(&self, event: Progress) {
        {
            // Held while it is written, so that lines stand in the order of their times.
            let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
            if Self::is_news(&mut stages, &event)
                && let Err(error) = append(&self.path, SystemTime::now(), &event)
            {
                tracing::warn!(%error, path = %self.path.display(), "an event could not be written down");
            }
        }
        self.sink.tell(event);
    }
}

fn append(path: &Path, now: SystemTime, event: &Progress) -> io::Result<()> {
    // A guest's own words belong to its console.
    let what = match event.clone() {
        Progress::Stage {
            machine,
            stage,
            percent,
            ..
        } if stage == Stage::Boot => Progress::Stage {
            machine,
            stage,
            detail: String::new(),
            percent,
        },
        Progress::Failed {
            machine,
            stage,
            problem,
            console_of,
            ..
        } => Progress::Failed {
            machine,
            stage,
            problem,
            console: Vec::new(),
            console_of,
        },
        other => other,
    };
    let event = Event {
        time: rfc3339(now),
        what,
    };
    let mut line = serde_json::to_vec(&event)?;
    line.push(b'\n');
    if fs::metadata(path).is_ok_and(|file| file.len() >= FILE_MAX) {
        fs::rename(path, path.with_extension("jsonl.1"))?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&line)
}

/// A time as RFC 3339 has it. Times before 1970 are none of ours.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let milliseconds = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// The date so many days after 1970-01-01, in the Gregorian calendar. Years begin with March, so that the leap day is their last.
fn date(days: u64) -> (u64, u64, u64) {
    const FROM_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days + FROM_MARCH_OF_YEAR_0;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problem;

    #[test]
    fn times_are_those_that_date_says() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    fn world() -> (tempfile::TempDir, ClusterPaths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = ClusterPaths {
            state: folder.path().to_owned(),
            run: folder.path().join("run"),
            images: folder.path().join("images"),
        };
        (folder, paths)
    }

    fn read(paths: &ClusterPaths) -> Vec<Event> {
        let [_, file] = files(paths);
        let text = fs::read(file).unwrap();
        text.split(|byte| *byte == b'\n')
            .filter_map(Event::parse)
            .collect()
    }

    #[test]
    fn a_stage_is_written_once_and_without_the_guests_words() {
        let (_folder, paths) = world();
        let told = std::sync::atomic::AtomicUsize::new(0);
        let sink = |_| _ = told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let journal = Journal::new(&paths, &sink);
        for event in [
            Progress::stage("a", Stage::Boot, "secret"),
            Progress::stage("a", Stage::Boot, "more"),
            Progress::stage("b", Stage::Boot, ""),
            Progress::Failed {
                machine: "a".to_owned(),
                stage: Stage::Boot,
                problem: Problem::environment("no"),
                console: vec!["secret".to_owned()],
                console_of: None,
            },
        ] {
            journal.tell(event);
        }
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 4);
        let read = read(&paths);
        assert_eq!(
            read.iter().map(Event::machine).collect::<Vec<_>>(),
            [Some("a"), Some("b"), Some("a")]
        );
        assert!(!fs::read_to_string(&files(&paths)[1]).unwrap().contains("secret"));
    }

    #[test]
    fn a_journal_is_bounded() {
        let (_folder, paths) = world();
        let [old, new] = files(&paths);
        let event = Progress::stage("a", Stage::Start, "x".repeat(1000));
        for _ in 0..1200 {
            append(&new, SystemTime::now(), &event).unwrap();
        }
        for file in [old, new] {
            assert!(fs::metadata(file).unwrap().len() < FILE_MAX + 2000);
        }
    }
}
