//! A cluster from a file, by `atoll up`, with a home of its own; only the image cache is the user's.

use crate::{Kit, Lan, Unprivileged, Who};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A cluster file and all that comes of it. Machines and state are removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    root: TempDir,
    atoll: PathBuf,
    /// The network namespace in which its commands run, where that is another one.
    namespace: Option<String>,
    /// Who runs them, where that is not the test itself.
    user: Option<Unprivileged>,
}

impl Cluster {
    /// Writes the cluster file; starts nothing.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn of(kit: &Kit, file: &str) -> Self {
        Self::made(kit, file, None)
    }

    /// The same on the host of a LAN.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn on_lan(kit: &Kit, lan: &Lan, file: &str) -> Self {
        Self::made(kit, file, Some(lan.namespace(Who::Host)))
    }

    /// The same by an ordinary user.
    ///
    /// # Panics
    /// When there is no room for it.
    #[must_use]
    pub fn of_user(kit: &Kit, lan: &Lan, user: Unprivileged, file: &str) -> Self {
        let mut made = Self::on_lan(kit, lan, file);
        crate::user::own(made.root.path());
        made.user = Some(user);
        made
    }

    /// Writes the cluster file anew.
    ///
    /// # Panics
    /// When there is no room for it.
    pub fn rewrite(&self, file: &str) {
        std::fs::write(self.root.path().join("demo/atoll.yaml"), file).expect("the file was there");
    }

    fn made(kit: &Kit, file: &str, namespace: Option<String>) -> Self {
        // Not below a long TMPDIR: the address of a unix socket holds 108 bytes.
        let root = TempDir::with_prefix_in("atoll-e2e-", "/tmp").expect("a folder in /tmp");
        let demo = root.path().join("demo");
        std::fs::create_dir(&demo)
            .and_then(|()| std::fs::write(demo.join("atoll.yaml"), file))
            .expect("a new folder takes a file");
        Self {
            root,
            atoll: kit.atoll.clone(),
            namespace,
            user: None,
        }
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.root.path()
    }

    /// `atoll` with these arguments, in the folder of the cluster file.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match (&self.namespace, &self.user) {
            (None, _) => Command::new(&self.atoll),
            (Some(namespace), Some(user)) => user.command(namespace, &self.atoll),
            (Some(namespace), None) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.atoll);
                command
            }
        };
        command
            .args(arguments)
            .current_dir(self.root.path().join("demo"))
            .env("ATOLL_HOME", self.root.path().join("state"))
            .env("XDG_RUNTIME_DIR", self.root.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `atoll` with these arguments, which must succeed; gives what it wrote to stdout.
    ///
    /// # Panics
    /// With what it said, when it fails.
    #[must_use]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.command(arguments).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "atoll {}: {said}", arguments.join(" "));
        String::from_utf8_lossy(&ended.stdout).trim().to_owned()
    }

    /// The address of a machine that runs.
    ///
    /// # Panics
    /// When `atoll ls` does not tell.
    #[must_use]
    pub fn address(&self, machine: &str) -> Ipv4Addr {
        let nic = self.nic(machine, 0);
        let address = nic["address"].as_str().and_then(|text| text.parse().ok());
        address.unwrap_or_else(|| panic!("{machine} has no address in {nic:#}"))
    }

    /// What `atoll ls` says of a NIC of a machine.
    ///
    /// # Panics
    /// When it says nothing.
    #[must_use]
    pub fn nic(&self, machine: &str, index: usize) -> serde_json::Value {
        let listed = self.listed();
        let mut machines = listed["machines"].as_array().expect("a list of machines").iter();
        let found = machines.find(|it| it["name"] == machine);
        let nic = found.and_then(|it| it["nics"].get(index)).cloned();
        nic.unwrap_or_else(|| panic!("{machine} has no NIC {index} in {listed:#}"))
    }

    /// Where the cluster's daemon answers: beside the sockets of its networks.
    ///
    /// # Panics
    /// When none of its networks has a socket.
    #[must_use]
    pub fn api(&self) -> PathBuf {
        let listed = self.listed();
        let socket = listed["networks"][0]["listeners"][0]["path"].as_str();
        Path::new(socket.expect("a socket of the first network")).with_file_name("api.sock")
    }

    fn listed(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["ls", "--json"])).expect("`--json` means JSON")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A test that failed half-way leaves no machine behind.
        let _ = self.command(&["rm"]).output();
    }
}
