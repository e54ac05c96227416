//! What a machine should be, before it is a command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::{Accel, Arch, QemuError, Vmnet};

/// One machine to run.
///
/// Paths are given to QEMU as they are. `-daemonize` makes `/` its folder once all is set up, so the paths that it needs
/// later (to connect again, to remove at its end) must be absolute then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The machine's name; QMP repeats it, which is how a process is recognised.
    pub name: String,
    /// Guest architecture.
    pub arch: Arch,
    /// Machine type; [`Arch::default_machine`] when absent.
    pub machine: Option<String>,
    /// What executes the guest.
    pub accel: Accel,
    /// CPU model, in QEMU's option syntax; [`Accel::default_cpu`] when absent.
    pub cpu: Option<String>,
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// Disks in boot order.
    pub disks: Vec<Disk>,
    /// A folder that the guest sees as a small FAT drive named [`SEED_LABEL`], read-only: cloud-init's documents for a machine that
    /// no network of ours serves.
    pub seed: Option<PathBuf>,
    /// A kernel to boot directly, without firmware and boot loader.
    pub kernel: Option<Kernel>,
    /// UEFI firmware in flash; absent means the machine type's own (SeaBIOS on x86; none on aarch64).
    pub firmware: Option<Firmware>,
    /// Network cards in order.
    pub nics: Vec<Nic>,
    /// SMBIOS type 1 serial number: where cloud-init finds `ds=nocloud;s=http://…/`.
    pub smbios_serial: Option<String>,
    /// The first serial port.
    pub console: Option<Console>,
    /// Where QEMU listens for QMP.
    pub qmp: Option<PathBuf>,
    /// Where QEMU writes its process id.
    pub pidfile: Option<PathBuf>,
    /// Whether QEMU goes to the background once the guest is set up.
    pub daemonize: bool,
    /// Whether QEMU waits for memory that was saved ([`crate::memory`]) in place of booting.
    pub waits_for_memory: bool,
    /// The user's own arguments; last, so that they win.
    pub extra: Vec<OsString>,
}

/// A virtio disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The image file.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// Whether the guest may not write to it.
    pub read_only: bool,
}

/// Format of a disk image; always stated, because a probed raw image can pose as another format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// QEMU's copy-on-write format.
    Qcow2,
    /// Plain bytes.
    Raw,
}

impl DiskFormat {
    /// QEMU's name of the block driver.
    #[must_use]
    pub fn driver(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// A kernel that QEMU loads itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The kernel image.
    pub image: PathBuf,
    /// The initial RAM file system.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub append: String,
}

/// UEFI firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The code, mapped read-only.
    pub code: PathBuf,
    /// This machine's own copy of the variable store, written by the guest.
    pub vars: Option<PathBuf>,
}

/// A network card and where its frames go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Name of the back end within this machine, unique, such as `net0`.
    pub id: String,
    /// QEMU's device model, such as `virtio-net-pci` or `e1000`.
    pub model: String,
    /// Hardware address.
    pub mac: [u8; 6],
    /// The back end.
    pub attach: Attach,
    /// The MTU a virtio card tells its guest; other models cannot and ignore it.
    pub host_mtu: Option<u16>,
    /// Whether the firmware may boot from this card; needs the option ROMs that some packages leave out.
    pub network_boot: bool,
}

/// How a network card reaches its network. QEMU connects; the network listens, but for a TAP or vmnet, which are the host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attach {
    /// `-netdev stream` to a unix socket.
    Stream {
        /// The network's listening socket.
        path: PathBuf,
    },
    /// `-netdev vhost-user`: the guest's memory is shared with the network. Linux, virtio cards.
    VhostUser {
        /// The network's listening socket.
        path: PathBuf,
    },
    /// `-netdev dgram` between two unix sockets.
    Dgram {
        /// The socket QEMU binds.
        local: PathBuf,
        /// The network's socket.
        remote: PathBuf,
    },
    /// `-netdev tap` on a TAP or macvtap that somebody else opened: frames go from QEMU to the host's kernel.
    Tap {
        /// The number of the descriptor that QEMU inherits; see [`Process::start`](crate::Process::start).
        descriptor: i32,
        /// Whether the kernel itself moves the frames of a virtio card (vhost-net).
        vhost: bool,
    },
    /// QEMU's own `-netdev vmnet-…`: macOS.
    Vmnet(Vmnet),
}

/// A serial console on a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Where QEMU listens; one client at a time.
    pub socket: PathBuf,
    /// Where everything the guest writes is appended, whether or not anyone is connected.
    pub log: Option<PathBuf>,
}

impl Launch {
    /// A machine with nothing attached to it.
    #[must_use]
    pub fn new(name: impl Into<String>, arch: Arch, accel: Accel) -> Self {
        Self {
            name: name.into(),
            arch,
            machine: None,
            accel,
            cpu: None,
            cpus: 1,
            memory: 512 << 20,
            disks: Vec::new(),
            seed: None,
            kernel: None,
            firmware: None,
            nics: Vec::new(),
            smbios_serial: None,
            console: None,
            qmp: None,
            pidfile: None,
            daemonize: false,
            waits_for_memory: false,
            extra: Vec::new(),
        }
    }

    /// Refuses what QEMU would only fail on with words of its own making.
    ///
    /// # Errors
    ///
    /// [`QemuError::BadLaunch`] naming the field.
    pub fn check(&self) -> Result<(), QemuError> {
        let bad = |field, value: String, reason| {
            Err(QemuError::BadLaunch {
                name: self.name.clone(),
                field,
                value,
                reason,
            })
        };
        if self.name.is_empty() || self.name.contains('\0') {
            return bad("name", format!("{:?}", self.name), "it must be text");
        }
        if self.cpus == 0 {
            return bad("cpus", "0".to_owned(), "a machine has at least one");
        }
        if self.memory < 1 << 20 {
            return bad(
                "memory",
                format!("{} bytes", self.memory),
                "a machine has at least 1 MiB",
            );
        }
        self.check_paths()
    }

    fn check_paths(&self) -> Result<(), QemuError> {
        let bad = |path: &Path, reason| {
            let (name, value) = (self.name.clone(), path.display().to_string());
            QemuError::BadLaunch {
                name,
                field: "path",
                value,
                reason,
            }
        };
        let sockets = || self.bound_sockets().chain(self.network_sockets());
        if let Some(path) = sockets().find(|path| path.as_os_str().as_bytes().len() > SOCKET_PATH_MAX) {
            return Err(bad(path, "it is too long for a unix socket"));
        }
        let mut needed_later = sockets().chain(self.pidfile.as_deref());
        match needed_later.find(|path| self.daemonize && !path.is_absolute()) {
            Some(path) => Err(bad(path, "in the background it must be absolute")),
            None => Ok(()),
        }
    }

    /// Every unix socket that QEMU is to bind.
    pub(crate) fn bound_sockets(&self) -> impl Iterator<Item = &Path> {
        let nics = self.nics.iter().filter_map(|nic| match &nic.attach {
            Attach::Stream { .. } | Attach::VhostUser { .. } | Attach::Tap { .. } | Attach::Vmnet(_) => None,
            Attach::Dgram { local, .. } => Some(local.as_path()),
        });
        let console = self.console.iter().map(|console| console.socket.as_path());
        nics.chain(console).chain(self.qmp.as_deref())
    }

    /// Whether a network shares the guest's memory.
    pub(crate) fn shares_memory(&self) -> bool {
        self.nics
            .iter()
            .any(|nic| matches!(nic.attach, Attach::VhostUser { .. }))
    }

    /// Every unix socket that the network is to bind.
    fn network_sockets(&self) -> impl Iterator<Item = &Path> {
        self.nics.iter().filter_map(|nic| match &nic.attach {
            Attach::Stream { path } | Attach::VhostUser { path } => Some(path.as_path()),
            Attach::Dgram { remote, .. } => Some(remote.as_path()),
            Attach::Tap { .. } | Attach::Vmnet(_) => None,
        })
    }
}

/// The name by which cloud-init knows a drive with its documents (NoCloud).
pub const SEED_LABEL: &str = "cidata";

/// The shorter of the limits of `sun_path` less its NUL: 104 bytes on macOS, 108 on Linux.
const SOCKET_PATH_MAX: usize = 103;
