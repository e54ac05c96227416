//! A record of what passes on a LAN.

use crate::PATIENCE;
use crate::lan::{Lan, Who};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A record of frames. It ends when dropped.
#[derive(Debug)]
pub struct Frames {
    child: Child,
    file: String,
    _folder: TempDir,
}

impl Frames {
    /// Record every frame that passes between the host and the LAN's switch from now on.
    ///
    /// # Panics
    /// When tcpdump does not start.
    #[must_use]
    pub fn of_host(lan: &Lan) -> Self {
        let folder = TempDir::with_prefix_in("atoll-frames-", "/tmp").expect("a folder in /tmp");
        let path = folder.path().join("frames.pcap");
        let file = path.display().to_string();
        let mut command = lan.command(Who::Router, "tcpdump");
        command
            .args([
                "-i",
                "host",
                "-p",
                "-U",
                "--immediate-mode",
                "-s",
                "0",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let frames = Self {
            child: child.expect("ip was found"),
            file,
            _folder: folder,
        };
        let deadline = Instant::now() + PATIENCE;
        // The header of the file.
        while fs::metadata(&path).map_or(0, |metadata| metadata.len()) < 24 {
            assert!(Instant::now() < deadline, "tcpdump does not record");
            thread::sleep(Duration::from_millis(20));
        }
        frames
    }

    /// The frames so far that a filter takes, as tcpdump tells them (pcap-filter(7)).
    ///
    /// # Panics
    /// When tcpdump does not understand the filter.
    #[must_use]
    pub fn taken_by(&self, filter: &str) -> Vec<String> {
        let told = Command::new("tcpdump")
            .args(["-r", &self.file, "-nn", "-e", filter])
            .output()
            .expect("tcpdump records already");
        let words = String::from_utf8_lossy(&told.stderr);
        let is_read = told.status.success() || words.contains("truncated");
        assert!(is_read, "{filter}: {words}");
        let frames = String::from_utf8_lossy(&told.stdout);
        frames.lines().map(str::to_owned).collect()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // It has ended already when these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
