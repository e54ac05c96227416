//! Where things lie: state, image cache, sockets.
//!
//! | what | where |
//! |---|---|
//! | state | `$ATOLL_HOME`, or `$XDG_STATE_HOME/atoll`, or `~/.local/state/atoll`; below it `clusters/NAME-HASH/` |
//! | images | `$XDG_CACHE_HOME/atoll/images`, or `~/.cache/atoll/images` |
//! | sockets | `$XDG_RUNTIME_DIR/atoll/HASH/`, or `/tmp/atoll-UID/HASH/` |
//!
//! The hash is of the state folder, the cluster file's canonical path and the name, so that two clusters of one name in different
//! folders, and two homes, never meet. Sockets lie apart from the state since a socket address holds 108 bytes on
//! Linux (unix(7)) and 104 on macOS, less than many a home folder's path: with a runtime folder of at most
//! [`RUNTIME_DIR_MAX`] bytes, the longest machine name still fits.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The longest `XDG_RUNTIME_DIR` that leaves room for `/atoll/HASH/` and `NAME.tty` with a name of 63 bytes.
pub const RUNTIME_DIR_MAX: usize = 16;

/// The roots of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The root of the clusters' state.
    pub state: PathBuf,
    /// The folder of the image cache.
    pub images: PathBuf,
    /// The root of the socket folders.
    pub runtime: PathBuf,
}

/// Why no place could be found.
#[derive(Debug, thiserror::Error)]
pub enum NoPlace {
    /// Nothing says where.
    #[error("neither HOME nor {0} is set to an absolute path")]
    Unset(&'static str),
    /// Our own variable holds a relative path, which would mean another folder in each process.
    #[error("ATOLL_HOME is set to {0:?}, which is no absolute path")]
    Relative(PathBuf),
}

impl NoPlace {
    /// What can be done about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unset(variable) => format!("set HOME, or {variable} to a folder of your own"),
            Self::Relative(path) => format!("did you mean \"$PWD/{}\"?", path.display()),
        }
    }
}

impl Places {
    /// The roots that these environment variables and this user mean.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>, uid: u32) -> Result<Self, NoPlace> {
        let folder = |name: &str| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        // Relative XDG paths are to be ignored (XDG Base Directory Specification); one of ours is a mistake.
        if let Some(path) = variable("ATOLL_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_relative())
        {
            return Err(NoPlace::Relative(path));
        }
        let home = folder("HOME");
        let below = |xdg: Option<PathBuf>, usual: &str| {
            let root = xdg.or_else(|| home.as_ref().map(|home| home.join(usual)));
            root.map(|root| root.join("atoll"))
        };
        let state = folder("ATOLL_HOME").or_else(|| below(folder("XDG_STATE_HOME"), ".local/state"));
        let cache = below(folder("XDG_CACHE_HOME"), ".cache");
        let runtime = folder("XDG_RUNTIME_DIR").filter(|path| path.as_os_str().len() <= RUNTIME_DIR_MAX);
        Ok(Self {
            state: state.ok_or(NoPlace::Unset("ATOLL_HOME"))?,
            images: cache.ok_or(NoPlace::Unset("XDG_CACHE_HOME"))?.join("images"),
            runtime: runtime.map_or_else(
                || PathBuf::from(format!("/tmp/atoll-{uid}")),
                |path| path.join("atoll"),
            ),
        })
    }

    /// The roots of this process.
    pub fn of_process() -> Result<Self, NoPlace> {
        Self::of(|name| std::env::var_os(name), rustix::process::geteuid().as_raw())
    }

    /// The folders of the cluster with this name, described by the file with this canonical path.
    pub fn cluster(&self, name: &str, file: &Path) -> ClusterPaths {
        let mut hash = Sha256::new();
        hash.update(self.state.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(name);
        let hash: String = hash.finalize()[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        ClusterPaths {
            state: self.state.join("clusters").join(format!("{name}-{hash}")),
            run: self.runtime.join(hash),
            images: self.images.clone(),
        }
    }

    /// Every cluster that has state, in the order of their folders' names. Of what runs of them nothing is said.
    pub fn clusters(&self) -> Vec<ClusterPaths> {
        let folders = std::fs::read_dir(self.state.join("clusters"))
            .into_iter()
            .flatten();
        let mut states: Vec<PathBuf> = folders.filter_map(|entry| Some(entry.ok()?.path())).collect();
        states.sort();
        let paths = states.into_iter().map(|state| {
            let hash = state.file_name().unwrap_or_default().to_string_lossy();
            let hash = hash.rsplit('-').next().unwrap_or_default().to_owned();
            ClusterPaths {
                run: self.runtime.join(hash),
                images: self.images.clone(),
                state,
            }
        });
        paths.collect()
    }
}

/// The folders of one cluster, and the names of the files in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPaths {
    /// What outlives the daemon: state, disks, console logs, keys.
    pub state: PathBuf,
    /// Sockets and process ids; gone after `down`.
    pub run: PathBuf,
    /// The image cache, which all clusters share.
    pub images: PathBuf,
}

impl ClusterPaths {
    /// What the daemon knows, as JSON.
    pub fn state_file(&self) -> PathBuf {
        self.state.join("state.json")
    }

    /// The file whose lock the daemon holds.
    pub fn lock_file(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// What the daemon has to say.
    pub fn daemon_log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    /// The API.
    pub fn api_socket(&self) -> PathBuf {
        self.run.join("api.sock")
    }

    /// Where a machine's NIC, counted from 0, attaches to its network. A socket a NIC: the network tells guests apart by it.
    pub fn nic_socket(&self, machine: &str, nic: usize) -> PathBuf {
        self.run.join(format!("{machine}.n{nic}"))
    }

    /// Leases and other state that a network keeps itself.
    pub fn network_state(&self, network: &str) -> PathBuf {
        self.state.join("networks").join(network)
    }

    /// The private key for ssh.
    pub fn ssh_key(&self) -> PathBuf {
        self.state.join("ssh").join("id_ed25519")
    }

    /// The configuration for the system's ssh.
    pub fn ssh_config(&self) -> PathBuf {
        self.state.join("ssh").join("config")
    }

    /// The machines' host keys, as first seen.
    pub fn known_hosts(&self) -> PathBuf {
        self.state.join("ssh").join("known_hosts")
    }

    /// A machine's folder.
    pub fn machine(&self, machine: &str) -> PathBuf {
        self.state.join("machines").join(machine)
    }

    /// A machine's disk: an overlay on its image.
    pub fn disk(&self, machine: &str) -> PathBuf {
        self.machine(machine).join("disk.qcow2")
    }

    /// The memory of a machine that is suspended.
    pub fn memory(&self, machine: &str) -> PathBuf {
        self.machine(machine).join("memory")
    }

    /// The documents of a machine that reads them from a drive.
    pub fn seed(&self, machine: &str) -> PathBuf {
        self.machine(machine).join("seed")
    }

    /// What a machine gave for others.
    pub fn outputs(&self, machine: &str) -> PathBuf {
        self.machine(machine).join("outputs.json")
    }

    /// What a machine was given of others.
    pub fn given(&self, machine: &str) -> PathBuf {
        self.machine(machine).join("given.json")
    }

    /// What a machine wrote to its serial console.
    pub fn console_log(&self, machine: &str) -> PathBuf {
        self.machine(machine).join("console.log")
    }

    /// What a machine's QEMU wrote to its standard error.
    pub fn qemu_log(&self, machine: &str) -> PathBuf {
        self.machine(machine).join("qemu.log")
    }

    /// A machine's QMP socket.
    pub fn qmp_socket(&self, machine: &str) -> PathBuf {
        self.run.join(format!("{machine}.qmp"))
    }

    /// A machine's serial console.
    pub fn console_socket(&self, machine: &str) -> PathBuf {
        self.run.join(format!("{machine}.tty"))
    }

    /// The process id of a machine's QEMU.
    pub fn pid_file(&self, machine: &str) -> PathBuf {
        self.run.join(format!("{machine}.pid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sun_path` on macOS, the shorter one, with its terminating zero.
    const SUN_PATH: usize = 104;

    fn places(variables: &[(&str, &str)]) -> Result<Places, NoPlace> {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        };
        Places::of(find, 1000)
    }

    #[test]
    fn xdg_folders_are_taken_and_home_stands_in_for_them() {
        let usual = places(&[("HOME", "/home/u")]).unwrap();
        assert_eq!(usual.state, Path::new("/home/u/.local/state/atoll"));
        assert_eq!(usual.images, Path::new("/home/u/.cache/atoll/images"));
        assert_eq!(usual.runtime, Path::new("/tmp/atoll-1000"));
        let own = [
            ("HOME", "/home/u"),
            ("ATOLL_HOME", "/a"),
            ("XDG_CACHE_HOME", "/c"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
        ];
        let own = places(&own).unwrap();
        assert_eq!((own.state, own.images), ("/a".into(), "/c/atoll/images".into()));
        assert_eq!(own.runtime, Path::new("/run/user/1000/atoll"));
    }

    #[test]
    fn a_relative_home_of_ours_is_refused() {
        let error = places(&[("HOME", "/h"), ("ATOLL_HOME", "state")]).unwrap_err();
        assert_eq!(error.hint(), "did you mean \"$PWD/state\"?");
    }

    #[test]
    fn without_any_folder_the_variable_is_named() {
        assert!(
            places(&[("HOME", "relative")])
                .unwrap_err()
                .to_string()
                .contains("ATOLL_HOME")
        );
    }

    #[test]
    fn the_longest_name_fits_a_socket_address() {
        let name = "m".repeat(63);
        for runtime in ["/run/user/123456", "/a/very/long/folder/for/runtime/files"] {
            let places = places(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", runtime)]).unwrap();
            let paths = places.cluster(&name, Path::new("/w/atoll.yaml"));
            for socket in [
                paths.console_socket(&name),
                paths.nic_socket(&name, 99),
                paths.qmp_socket(&name),
            ] {
                assert!(socket.as_os_str().len() < SUN_PATH, "{}", socket.display());
            }
        }
    }

    #[test]
    fn clusters_of_one_name_in_two_folders_or_homes_do_not_meet() {
        let first = places(&[("HOME", "/h1")]).unwrap();
        let second = places(&[("HOME", "/h2")]).unwrap();
        let all = [
            first.cluster("demo", Path::new("/a/atoll.yaml")),
            first.cluster("demo", Path::new("/b/atoll.yaml")),
            second.cluster("demo", Path::new("/a/atoll.yaml")),
        ];
        assert!(all[0].state != all[1].state && all[0].run != all[1].run);
        assert!(all[0].state != all[2].state && all[0].run != all[2].run);
    }
}
