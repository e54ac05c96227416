//! Debian guests by hand: the image from the store, an overlay by `qemu-img`, QEMU as people type it, ssh through a
//! forward. Nothing here is Atoll's launcher.

use crate::net::wait;
use crate::output::Output;
use crate::{Answer, BOOT_PATIENCE, Kit, PATIENCE};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output as Ended, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Between two tries to log in while the guest boots: each costs the host a process.
const RETRY: Duration = Duration::from_secs(2);

/// The disk of the store's Debian image, of this machine's release or of another, which is built when it is not there, or was built without
/// packages that the test `needs`: a minute or two, once.
///
/// # Panics
/// With what the binary said, when it cannot be built.
#[must_use]
pub fn debian_disk(kit: &Kit, release: Option<&str>, needs: &[&str]) -> PathBuf {
    let name = release.map_or("debian".to_owned(), |release| format!("debian-{release}"));
    let has = |image: &serde_json::Value, needed: &str| {
        let packages = image["packages"].as_array().into_iter().flatten();
        packages
            .filter_map(serde_json::Value::as_str)
            .any(|package| package.contains(needed))
    };
    let there = kit.image(&name, "x86_64");
    let there = there.filter(|image| needs.iter().all(|needed| has(image, needed)));
    let image = there.unwrap_or_else(|| {
        let mut arguments = vec!["image", "build", "debian"];
        arguments.extend(release.iter().flat_map(|release| ["--release", *release]));
        ok(Command::new(&kit.atoll).args(arguments));
        let built = kit.image(&name, "x86_64");
        built.expect("`atoll image ls` shows the Debian image that was built")
    });
    let path = image["boot"]["disk"]["path"].as_str();
    path.expect("a Debian image is a disk").into()
}

/// What one person types to get one guest.
#[derive(Debug)]
pub struct ByHand<'a> {
    /// The guest's name, for messages and for its files.
    pub name: &'a str,
    /// Where its overlay and its keys lie.
    pub folder: &'a Path,
    /// The disk below the overlay.
    pub disk: &'a Path,
    /// The socket of `atoll net run --qemu`.
    pub socket: &'a Path,
    /// What `-device` is given, `netdev=net0` apart.
    pub device: &'a str,
    /// The URL of its seed, which ends in `/`.
    pub seed: &'a str,
    /// Where its port 22 is on the host.
    pub ssh: SocketAddr,
}

/// A running Debian guest. Killed when dropped.
#[derive(Debug)]
pub struct Debian {
    name: String,
    child: Child,
    console: Output,
    key: PathBuf,
    ssh: SocketAddr,
}

impl Debian {
    /// Makes a key pair for logins in `folder`; gives the public half.
    ///
    /// # Panics
    /// When ssh-keygen cannot.
    #[must_use]
    pub fn make_key(folder: &Path) -> String {
        let key = key_in(folder);
        ok(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "by-hand", "-f"])
            .arg(&key));
        let public = std::fs::read_to_string(key.with_extension("pub"));
        public.expect("ssh-keygen writes both halves").trim().to_owned()
    }

    /// Makes the overlay and starts QEMU; does not wait for the guest.
    ///
    /// # Panics
    /// When qemu-img or QEMU cannot be run.
    #[must_use]
    pub fn start(typed: &ByHand<'_>) -> Self {
        let overlay = typed.folder.join(format!("{}.qcow2", typed.name));
        ok(Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
            .args([typed.disk, &overlay]));
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-machine", "q35", "-m", "1024", "-nographic", "-hda"])
            .arg(&overlay)
            .args(["-smbios", &format!("type=1,serial=ds=nocloud;s={}", typed.seed)])
            .arg("-netdev")
            .arg(format!(
                "stream,id=net0,addr.type=unix,addr.path={}",
                typed.socket.display()
            ))
            .args(["-device", &format!("{},netdev=net0", typed.device)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("QEMU was found when the kit was put together");
        let console = Output::collect(child.stdout.take().expect("stdout is piped"));
        Self {
            name: typed.name.to_owned(),
            child,
            console,
            key: key_in(typed.folder),
            ssh: typed.ssh,
        }
    }

    /// Waits until cloud-init has done all it was told and ssh answers.
    ///
    /// # Panics
    /// With the console's text, when that takes too long, QEMU ends, or cloud-init says that something failed.
    pub fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + BOOT_PATIENCE;
        loop {
            let answer = self.run("cloud-init status --wait");
            if answer.status == 0 {
                assert!(
                    answer.text.contains("status: done"),
                    "{}: {}",
                    self.name,
                    answer.text
                );
                return;
            }
            let ended = self.child.try_wait().expect("QEMU is a child of ours");
            // 255 is ssh's own failure; anything else is the guest's answer.
            assert!(
                answer.status == 255 && ended.is_none() && Instant::now() < deadline,
                "guest {} does not become ready: {}; QEMU {ended:?}; its console:\n{}",
                self.name,
                answer.text,
                self.console.text()
            );
            thread::sleep(RETRY);
        }
    }

    /// Runs a command in the guest, over ssh.
    ///
    /// # Panics
    /// When ssh cannot be run.
    #[must_use]
    pub fn run(&self, command: &str) -> Answer {
        let ended = Command::new("ssh")
            .arg("-i")
            .arg(&self.key)
            .args(["-p", &self.ssh.port().to_string(), "-F", "/dev/null"])
            .args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            .args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20"])
            .args(["-o", "ServerAliveInterval=20", "-o", "ServerAliveCountMax=6"])
            .args([&format!("debian@{}", self.ssh.ip()), command])
            .stdin(Stdio::null())
            .output()
            .expect("ssh can be run");
        Answer {
            status: ended.status.code().unwrap_or(255),
            text: words(&ended),
        }
    }

    /// Runs a command that must succeed; gives what it wrote.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ok(&self, command: &str) -> String {
        let answer = self.run(command);
        assert_eq!(
            answer.status, 0,
            "guest {}: `{command}` failed:\n{}",
            self.name, answer.text
        );
        answer.text
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        // It has ended already when these fail.
        let _ = self.child.kill();
        let _ = wait(&mut self.child, PATIENCE);
    }
}

fn key_in(folder: &Path) -> PathBuf {
    folder.join("id_ed25519")
}

/// What a command that must succeed wrote to stdout.
fn ok(command: &mut Command) -> String {
    let ended = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(ended.status.success(), "{command:?} failed: {}", words(&ended));
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

fn words(ended: &Ended) -> String {
    let both = [ended.stdout.as_slice(), ended.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}
