//! How far a download is: a bar on a terminal, nothing elsewhere, where the last line says all.

use std::io::{self, IsTerminal};
use std::time::Duration;

use atoll_control::images::download::Progress;
use indicatif::{ProgressBar, ProgressStyle};

/// The bar of one download.
#[derive(Debug)]
pub(crate) struct Meter(ProgressBar);

impl Meter {
    /// For standard error as it is.
    pub(crate) fn new(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// Shows how far it is.
    pub(crate) fn tell(&self, progress: Progress) {
        let template = match progress.total {
            Some(_) => "{spinner} {prefix} {bytes} of {total_bytes} {wide_bar} {bytes_per_sec} {eta}",
            None => "{spinner} {prefix} {bytes} {bytes_per_sec}",
        };
        if self.0.length() != progress.total || self.0.position() == 0 {
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.0.set_style(style);
            }
            if let Some(total) = progress.total {
                self.0.set_length(total);
            }
        }
        self.0.set_position(progress.bytes);
    }

    /// Takes it away.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A size for people.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
