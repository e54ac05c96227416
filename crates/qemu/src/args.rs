//! From a [`Launch`] and the [`Capabilities`] of a QEMU to the command line, and nothing else.
//!
//! Pure: the same input gives the same words in the same order, so the command line can be shown, compared and
//! tested. What it decides:
//!
//! * `-nodefaults -no-user-config`: nothing is there that was not asked for, in particular no user-mode network.
//! * Disks are `-blockdev` nodes, not `-drive`, because `file=` of the latter takes `a:b` for a protocol.
//! * QEMU connects to the network's socket and connects again after a restart of the network, in the spelling its
//!   version knows ([`Reconnect`]).
//! * Where a network shares the guest's memory (vhost-user), that is a memfd, which QEMU seals and others can map; where the host
//!   has none (macOS), POSIX shared memory without a name, which QEMU has from 9.1.
//! * Where a card is on a TAP, QEMU gets the open descriptor by its number: opening one is a privilege that it does not have. A
//!   virtio card's frames are moved by the kernel (vhost-net) where that can be had.
//! * The seed is a folder behind QEMU's `vvfat` driver, which makes a FAT file system of it as it is read: nothing is written twice.
//! * Everything that comes from outside is a value with its commas doubled; extra arguments come last and raw.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::launch::{Attach, Console, Disk, Firmware, Kernel, Launch, Nic, SEED_LABEL};
use crate::options::{OptionArg, shell_line};
use crate::{Arch, Capabilities, Reconnect};

/// How long QEMU waits before it connects again to a network that went away.
const RECONNECT_MS: u32 = 250;

/// The guest's memory, where it is shared.
const MEMORY: &str = "ram0";

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    program: PathBuf,
    args: Vec<OsString>,
}

impl CommandLine {
    /// The command line that runs `launch` on the QEMU described by `capabilities`.
    #[must_use]
    pub fn build(launch: &Launch, capabilities: &Capabilities) -> Self {
        let mut builder = Builder { args: Vec::new() };
        builder.base(launch);
        builder.firmware(launch.firmware.as_ref());
        builder.kernel(launch.kernel.as_ref());
        for (index, disk) in launch.disks.iter().enumerate() {
            // QEMU gives a kernel of its own the first place, and refuses two of one number.
            builder.disk((index, disk), launch.kernel.is_none());
        }
        builder.seed(launch.seed.as_deref());
        for nic in &launch.nics {
            builder.nic(nic, capabilities.reconnect());
        }
        builder.identity(launch.smbios_serial.as_deref());
        builder.console(launch.console.as_ref());
        builder.control(launch);
        builder.args.extend(launch.extra.iter().cloned());
        Self {
            program: capabilities.binary.clone(),
            args: builder.args,
        }
    }

    /// The binary.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its arguments, without the program itself.
    #[must_use]
    pub fn args(&self) -> &[OsString] {
        &self.args
    }

    /// The whole as one line that a POSIX shell reads back word for word.
    #[must_use]
    pub fn to_shell(&self) -> OsString {
        let words = std::iter::once(self.program.as_os_str());
        shell_line(words.chain(self.args.iter().map(OsString::as_os_str)))
    }
}

/// The name by which QMP knows a disk, counted from 0.
#[must_use]
pub fn disk_node(index: usize) -> String {
    format!("disk{index}")
}

struct Builder {
    args: Vec<OsString>,
}

impl Builder {
    fn flag(&mut self, flag: &str) {
        self.args.push(flag.into());
    }

    fn option(&mut self, flag: &str, value: impl Into<OsString>) {
        self.args.push(flag.into());
        self.args.push(value.into());
    }

    fn base(&mut self, launch: &Launch) {
        self.flag("-nodefaults");
        self.flag("-no-user-config");
        self.option("-name", OptionArg::new("").set("guest", &launch.name).finish());
        self.option("-machine", machine(launch).finish());
        self.option("-accel", launch.accel.to_string());
        let cpu = launch.cpu.as_deref();
        self.option("-cpu", cpu.unwrap_or(launch.accel.default_cpu(launch.arch)));
        self.option("-smp", launch.cpus.to_string());
        self.option("-m", size(launch.memory));
        if launch.shares_memory() {
            let memory = OptionArg::new(shareable(std::env::consts::OS)).set("id", MEMORY);
            self.option(
                "-object",
                memory
                    .set("size", size(launch.memory))
                    .set("share", "on")
                    .finish(),
            );
        }
        self.option("-display", "none");
        if launch.arch == Arch::X86_64 {
            // Boot loaders of cloud images draw on it before they find the serial port.
            self.option("-vga", "std");
        }
        self.option("-device", "virtio-rng-pci");
    }

    fn firmware(&mut self, firmware: Option<&Firmware>) {
        let Some(firmware) = firmware else { return };
        let flash = |node: &str, path: &Path, read_only: &str| {
            let arg = OptionArg::new("").set("driver", "raw").set("node-name", node);
            arg.set("read-only", read_only)
                .set("file.driver", "file")
                .set("file.filename", path)
                .finish()
        };
        self.option("-blockdev", flash("flash0", &firmware.code, "on"));
        if let Some(vars) = &firmware.vars {
            self.option("-blockdev", flash("flash1", vars, "off"));
        }
    }

    fn kernel(&mut self, kernel: Option<&Kernel>) {
        let Some(kernel) = kernel else { return };
        // These three take plain strings, not option syntax: nothing is doubled.
        self.option("-kernel", kernel.image.as_os_str());
        if let Some(initrd) = &kernel.initrd {
            self.option("-initrd", initrd.as_os_str());
        }
        if !kernel.append.is_empty() {
            self.option("-append", &kernel.append);
        }
    }

    fn disk(&mut self, (index, disk): (usize, &Disk), boots: bool) {
        let node = disk_node(index);
        let block = OptionArg::new("")
            .set("driver", disk.format.driver())
            .set("node-name", &node);
        let block = block.set("read-only", if disk.read_only { "on" } else { "off" });
        // The guest's trim gives the space back to the host, through both layers.
        let block = block.set("discard", "unmap").set("file.driver", "file");
        let block = block
            .set("file.filename", &disk.path)
            .set("file.discard", "unmap");
        self.option("-blockdev", block.finish());
        let mut device = OptionArg::new("virtio-blk-pci").set("drive", &node);
        if boots {
            device = device.set("bootindex", index.to_string());
        }
        self.option("-device", device.finish());
    }

    fn seed(&mut self, seed: Option<&Path>) {
        let Some(folder) = seed else { return };
        let block = OptionArg::new("").set("driver", "vvfat").set("node-name", "seed");
        let block = block.set("dir", folder).set("label", SEED_LABEL);
        self.option("-blockdev", block.set("read-only", "on").finish());
        self.option(
            "-device",
            OptionArg::new("virtio-blk-pci").set("drive", "seed").finish(),
        );
    }

    fn nic(&mut self, nic: &Nic, reconnect: Reconnect) {
        if let Attach::VhostUser { path } = &nic.attach {
            self.option(
                "-chardev",
                connecting_socket(&socket_id(nic), path, reconnect).finish(),
            );
        }
        self.option("-netdev", netdev(nic, reconnect));
        let mut device = OptionArg::new("")
            .set("driver", &nic.model)
            .set("netdev", &nic.id);
        device = device.set("mac", mac(nic.mac));
        if let Some(mtu) = nic.host_mtu.filter(|_| nic.model.starts_with("virtio-net")) {
            device = device.set("host_mtu", mtu.to_string());
        }
        if !nic.network_boot && has_option_rom(&nic.model) {
            device = device.set("romfile", "");
        }
        self.option("-device", device.finish());
    }

    fn identity(&mut self, serial: Option<&str>) {
        if let Some(serial) = serial {
            let arg = OptionArg::new("").set("type", "1").set("serial", serial);
            self.option("-smbios", arg.finish());
        }
    }

    fn console(&mut self, console: Option<&Console>) {
        let Some(console) = console else { return };
        let mut arg = listening_socket("console", &console.socket);
        if let Some(log) = &console.log {
            arg = arg.set("logfile", log).set("logappend", "on");
        }
        self.option("-chardev", arg.finish());
        self.option("-serial", "chardev:console");
    }

    fn control(&mut self, launch: &Launch) {
        if let Some(qmp) = &launch.qmp {
            self.option("-chardev", listening_socket("qmp", qmp).finish());
            self.option("-mon", "chardev=qmp,mode=control");
        }
        if let Some(pidfile) = &launch.pidfile {
            self.option("-pidfile", pidfile.as_os_str());
        }
        if launch.waits_for_memory {
            // With -S its CPUs stand still when all is loaded.
            self.flag("-S");
            self.option("-incoming", "defer");
        }
        if launch.daemonize {
            self.flag("-daemonize");
        }
    }
}

fn machine(launch: &Launch) -> OptionArg {
    // The type may carry options of its own (`virt,gic-version=3`), so it is taken as option syntax.
    let machine = launch.machine.as_deref().unwrap_or(launch.arch.default_machine());
    let mut arg = OptionArg::new(machine);
    if launch.shares_memory() {
        arg = arg.set("memory-backend", MEMORY);
    }
    if let Some(firmware) = &launch.firmware {
        arg = arg.set("pflash0", "flash0");
        if firmware.vars.is_some() {
            arg = arg.set("pflash1", "flash1");
        }
    }
    arg
}

/// The memory of a guest that others can map, on this host.
///
/// Source: QEMU `docs/system/devices/vhost-user.rst`; `backends/hostmem-shm.c` takes no other value than `share=on`.
fn shareable(os: &str) -> &'static str {
    if os == "linux" {
        "memory-backend-memfd"
    } else {
        "memory-backend-shm"
    }
}

fn netdev(nic: &Nic, reconnect: Reconnect) -> OsString {
    let arg = match &nic.attach {
        Attach::Vmnet(vmnet) => return vmnet.netdev(&nic.id),
        Attach::Tap { descriptor, vhost } => {
            let arg = OptionArg::new("tap").set("id", &nic.id);
            let arg = arg.set("fd", descriptor.to_string());
            // Without it QEMU says "off", too, but the reader of the line should know.
            arg.set("vhost", if *vhost { "on" } else { "off" })
        }
        Attach::Stream { path } => {
            let arg = OptionArg::new("stream").set("id", &nic.id).set("server", "off");
            let arg = arg.set("addr.type", "unix").set("addr.path", path);
            match reconnect {
                Reconnect::Unsupported => arg,
                Reconnect::Seconds => arg.set("reconnect", RECONNECT_MS.div_ceil(1000).to_string()),
                Reconnect::Milliseconds => arg.set("reconnect-ms", RECONNECT_MS.to_string()),
            }
        }
        Attach::VhostUser { .. } => OptionArg::new("vhost-user")
            .set("id", &nic.id)
            .set("chardev", socket_id(nic)),
        Attach::Dgram { local, remote } => {
            let arg = OptionArg::new("dgram").set("id", &nic.id);
            let arg = arg.set("local.type", "unix").set("local.path", local);
            arg.set("remote.type", "unix").set("remote.path", remote)
        }
    };
    arg.finish()
}

/// The socket of a network card that is attached by vhost-user.
fn socket_id(nic: &Nic) -> String {
    format!("{}-socket", nic.id)
}

/// A character device that connects, and again when the other end went away. It could before `-netdev stream` could.
fn connecting_socket(id: &str, path: &Path, reconnect: Reconnect) -> OptionArg {
    let arg = OptionArg::new("socket").set("id", id).set("path", path);
    match reconnect {
        Reconnect::Unsupported | Reconnect::Seconds => {
            arg.set("reconnect", RECONNECT_MS.div_ceil(1000).to_string())
        }
        Reconnect::Milliseconds => arg.set("reconnect-ms", RECONNECT_MS.to_string()),
    }
}

fn listening_socket(id: &str, path: impl AsRef<OsStr>) -> OptionArg {
    let arg = OptionArg::new("socket").set("id", id).set("path", path);
    arg.set("server", "on").set("wait", "off")
}

/// PCI cards: they look for an option ROM and refuse to exist when their package left it out, unless told not to.
fn has_option_rom(model: &str) -> bool {
    const PCI: [&str; 8] = [
        "virtio-net-pci",
        "e1000",
        "rtl8139",
        "ne2k_pci",
        "pcnet",
        "vmxnet3",
        "i825",
        "igb",
    ];
    PCI.iter().any(|prefix| model.starts_with(prefix))
}

fn mac(bytes: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = bytes;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// A size in the largest unit that says it exactly.
fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 20) => format!("{}M", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}K", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_others_map_is_of_the_hosts_kind() {
        assert_eq!(shareable("linux"), "memory-backend-memfd");
        assert_eq!(shareable("macos"), "memory-backend-shm");
    }
}
