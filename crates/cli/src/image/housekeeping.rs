//! `image ls`, `rm`, `prune`: what is here, who needs it, and what goes.

use std::time::{Duration, SystemTime};

use atoll_control::cluster::image::References;
use atoll_control::cluster::paths::Places;
use atoll_control::cluster::problem::Problem;
use atoll_control::images::image::Origin;
use atoll_control::images::store::Stored;
use atoll_control::images::{Image, Store};
use clap::Args;
use serde::Serialize;

use crate::failure::{Failure, say};
use crate::meter::mebibytes;
use crate::shape::Shape;
use crate::table::{or_dash, print};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Arguments of `image prune`.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Also those that nothing stands in for
    #[arg(long)]
    all: bool,
    /// Only those that came at least so long ago: 90m, 12h, 30d, 8w
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,
    /// Say what would go, and leave it
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// An image as it is listed.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    image: Image,
    current: bool,
    /// Bytes on disk.
    disk_bytes: u64,
    /// Seconds since 1970.
    created: u64,
    /// The machines that need it.
    used_by: &'a [String],
}

fn parse_age(text: &str) -> Result<Duration, String> {
    let unit = text.chars().next_back();
    let seconds = match unit {
        Some('m') => MINUTE,
        Some('h') => HOUR,
        Some('d') => DAY,
        Some('w') => 7 * DAY,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    let age = number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(seconds));
    age.filter(|_| seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "write a number and m, h, d or w: 30d".to_owned())
}

fn age(stored: &Stored) -> Duration {
    SystemTime::now()
        .duration_since(stored.created)
        .unwrap_or_default()
}

/// The largest unit that there is one of.
fn age_in_words(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        DAY.. => format!("{} d", seconds / DAY),
        HOUR.. => format!("{} h", seconds / HOUR),
        _ => format!("{} min", seconds / MINUTE),
    }
}

pub(super) fn list(store: &Store, shape: &Shape, places: &Places) -> Result<(), Failure> {
    let stored = store.list().map_err(Problem::from)?;
    let references = References::of(places, store);
    if shape.is_asked() {
        let listed = stored.into_iter().map(|it| Listed {
            used_by: references.to(&it.image),
            image: it.image,
            current: it.current,
            disk_bytes: it.disk_bytes,
            created: it
                .created
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
        });
        let listed: Vec<_> = listed.collect();
        return shape.print(&listed, &listed).map(drop);
    }
    let rows: Vec<_> = stored.iter().map(|it| row(it, &references)).collect();
    Ok(print(
        &["NAME", "ARCH", "SIZE", "AGE", "USED BY", "ORIGIN", "FROM"],
        &rows,
    )?)
}

fn row(stored: &Stored, references: &References) -> Vec<String> {
    let image = &stored.image;
    let origin = match image.origin {
        Origin::Catalogue => "catalogue",
        Origin::Url => "url",
        Origin::Local => "local",
        Origin::Built => "built",
        Origin::Imported => "imported",
        Origin::Saved => "saved",
    };
    let replaced = if stored.current { "" } else { " (replaced)" };
    let users = match references.to(image) {
        [] => None,
        [one] => Some(one.clone()),
        [one, more @ ..] => Some(format!("{one} +{}", more.len())),
    };
    vec![
        image.name.clone(),
        image.arch.to_string(),
        mebibytes(stored.disk_bytes),
        age_in_words(age(stored)),
        or_dash(users),
        format!("{origin}{replaced}"),
        // What follows a semicolon is detail, which --json shows.
        image.from.split(';').next().unwrap_or_default().to_owned(),
    ]
}

pub(super) fn remove(store: &Store, name: &str, places: &Places) -> Result<(), Failure> {
    let references = References::of(places, store);
    let named = store.named(name).map_err(Problem::from)?;
    let users: Vec<&str> = named
        .iter()
        .flat_map(|it| references.to(&it.image))
        .map(String::as_str)
        .collect();
    if !users.is_empty() {
        let problem = Problem::usage(format!("image {name} is in use by {}", users.join(", ")));
        return Err(problem
            .with_hint("`atoll rm` in the clusters that use it deletes those machines")
            .into());
    }
    for removed in store.remove(name).map_err(Problem::from)? {
        say(&format!("removed {}", in_words(&removed)));
    }
    Ok(())
}

pub(super) fn prune(store: &Store, args: &PruneArgs, places: &Places) -> Result<(), Failure> {
    let references = References::of(places, store);
    let is_kept = |it: &Stored| {
        !references.to(&it.image).is_empty()
            || (it.current && !args.all)
            || args.older_than.is_some_and(|least| age(it) < least)
    };
    let pruned = store.prune(args.dry_run, is_kept).map_err(Problem::from)?;
    let done = if args.dry_run { "would remove" } else { "removed" };
    for stored in &pruned.images {
        say(&format!("{done} {}", in_words(stored)));
    }
    if pruned.leftover_bytes > 0 {
        let size = mebibytes(pruned.leftover_bytes);
        say(&format!("{done} what interrupted work left ({size})"));
    }
    let images: u64 = pruned.images.iter().map(|it| it.disk_bytes).sum();
    let number = pruned.images.len();
    let noun = if number == 1 { "image" } else { "images" };
    let size = mebibytes(images.saturating_add(pruned.leftover_bytes));
    say(&format!("{done} {number} {noun}, {size}"));
    Ok(())
}

fn in_words(stored: &Stored) -> String {
    let Image { name, arch, .. } = &stored.image;
    format!("{name} ({arch}, {})", mebibytes(stored.disk_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_its_unit() {
        assert_eq!(parse_age("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_age("8w"), Ok(Duration::from_secs(56 * DAY)));
        for wrong in [
            "",
            "d",
            "30",
            "-1d",
            "1.5h",
            "99999999999999999999d",
            "9999999999999999999w",
            "1é",
        ] {
            parse_age(wrong).unwrap_err();
        }
    }

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        assert_eq!(age_in_words(Duration::from_secs(59)), "0 min");
        assert_eq!(age_in_words(Duration::from_secs(3 * HOUR + 5)), "3 h");
        assert_eq!(age_in_words(Duration::from_secs(40 * DAY)), "40 d");
    }
}
