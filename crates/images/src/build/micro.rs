//! The micro guest: Debian's kernel and an initramfs that holds busybox and NIC drivers, nothing else.
//!
//! It takes an address by DHCP on every NIC, and of what a router announces; where no DHCP answers, that is all it has. Then it says
//! `atoll-micro: ready ADDRESS NIC` on the serial console, and offers a root shell there. What else it does is told on the
//! kernel command line; `init.sh` opens with the list. The full kernel package is taken, not the cloud one: that has no driver
//! for e1000, e1000e and rtl8139.
//!
//! Nothing of the packages is executed, so any architecture can be built anywhere.
//!
//! Of a PC's two kernel files `vmlinux` is the same kernel unpacked, which QEMU starts by its PVH entry: without acceleration
//! unpacking it in the guest is half of the boot (measured with TCG: ready after 3.1 s instead of 6.3 s). `vmlinuz` is
//! for other hypervisors. Arm kernels are started as they are.

use crate::arch::Arch;
use crate::build::modules::{Module, Modules};
use crate::build::packages::{self, Packages};
use crate::build::{BuildError, Progress, Target, kernel, read, write};
use crate::cpio;
use crate::image::{Boot, Image, Origin};
use crate::tool;
use std::io;
use std::path::{Path, PathBuf};

/// Where packages put a file: Debian moved all of them below `/usr` in release 13.
const PREFIXES: [&str; 2] = ["", "usr"];

/// Drivers a guest of QEMU may need, in the order they load; what they depend on is found out. Those that a kernel has
/// built in or does not have are skipped.
const WANTED: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_net",
    "virtio_rng",
    "virtio_blk",
    "virtio_console",
    "e1000",
    "e1000e",
    "igb",
    "8139cp",
    "8139too",
    "pcnet32",
    "ne2k_pci",
    "vmxnet3",
    "button",
    "gpio_keys",
    "evdev",
    "af_packet",
];

const FOLDERS: &[&str] = &[
    "bin",
    "dev",
    "etc",
    "etc/acpi",
    "etc/acpi/PWRF",
    "lib",
    "lib/modules",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "usr/share",
    "var",
    "var/log",
    "var/run",
];

const PACKED_KERNEL: &str = "vmlinuz";
const UNPACKED_KERNEL: &str = "vmlinux";
const INITRAMFS: &str = "initramfs";

/// The programs that a build runs.
#[must_use]
pub fn tools() -> Vec<tool::Tool> {
    packages::TOOLS.to_vec()
}

/// Builds the micro guest into `folder`, which exists and is empty.
///
/// # Errors
/// When a program is missing, a package cannot be had, or a file not written.
pub fn build(target: Target<'_>, folder: &Path, progress: Progress<'_>) -> Result<Image, BuildError> {
    tool::require(&tools())?;
    let work = folder.join("work");
    let root = work.join("root");
    let packages = Packages::of(target, &work, progress)?;
    let package = packages.kernel_package()?;
    progress(&format!("kernel: {package}"));
    packages.unpack(&package, &root)?;
    progress("busybox: busybox-static");
    packages.unpack("busybox-static", &root)?;

    progress("initramfs");
    let modules = Modules::below(&below(&root, "lib/modules"))?.in_order(WANTED)?;
    let busybox = read(&below(&root, "bin/busybox"))?;
    let archive = initramfs(&busybox, &modules).map_err(BuildError::file(&folder.join(INITRAMFS)))?;
    write(&folder.join(INITRAMFS), &archive)?;
    let packed = read(&kernel_file(&root.join("boot"), &package)?)?;
    write(&folder.join(PACKED_KERNEL), &packed)?;
    let unpacked = kernel::unpacked(&packed);
    if let Some(unpacked) = &unpacked {
        write(&folder.join(UNPACKED_KERNEL), unpacked)?;
    }
    std::fs::remove_dir_all(&work).map_err(BuildError::file(&work))?;

    let names: Vec<_> = modules.iter().map(|module| module.name.as_str()).collect();
    Ok(Image {
        name: target.image_name("micro"),
        arch: target.arch,
        origin: Origin::Built,
        from: format!("{package}, busybox-static; modules {}", names.join(" ")),
        boot: Boot::Kernel {
            kernel: if unpacked.is_some() {
                UNPACKED_KERNEL
            } else {
                PACKED_KERNEL
            }
            .into(),
            initramfs: INITRAMFS.into(),
            append: append(target.arch),
        },
        bytes: bytes_of([&packed, &archive, unpacked.as_deref().unwrap_or_default()]),
        digest: None,
        signature: None,
        content: None,
        ssh_user: None,
        packages: Vec::new(),
    })
}

/// A PC's kernel counts timer interrupts while it boots and panics where they do not come; emulated on a busy host they may
/// come too late for it.
fn append(arch: Arch) -> String {
    let check = if arch == Arch::X86_64 {
        " no_timer_check"
    } else {
        ""
    };
    format!("console={} quiet panic=-1{check}", arch.serial_console())
}

/// A file of the unpacked packages, wherever their release has it.
fn below(root: &Path, path: &str) -> PathBuf {
    let mut places = PREFIXES.iter().map(|prefix| root.join(prefix).join(path));
    places
        .find(|place| place.exists())
        .unwrap_or_else(|| root.join(path))
}

fn bytes_of(files: [&[u8]; 3]) -> u64 {
    files
        .iter()
        .map(|file| u64::try_from(file.len()).unwrap_or(u64::MAX))
        .fold(0, u64::saturating_add)
}

fn kernel_file(boot: &Path, package: &str) -> Result<PathBuf, BuildError> {
    let entries = std::fs::read_dir(boot).map_err(BuildError::file(boot))?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinu"))
        })
        .ok_or_else(|| BuildError::Incomplete {
            package: package.to_owned(),
            what: "kernel",
        })
}

/// The archive, compressed at zstd's fast end: a guest without acceleration unpacks it in a fraction of gzip's time.
fn initramfs(busybox: &[u8], modules: &[Module]) -> io::Result<Vec<u8>> {
    const ZSTD_LEVEL: i32 = 9;
    let mut archive = cpio::Writer::new(zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?);
    for folder in FOLDERS {
        archive.directory(folder, 0o755)?;
    }
    archive.character_device("dev/console", 0o600, (5, 1))?;
    archive.file("bin/busybox", 0o755, busybox)?;
    archive.symlink("bin/sh", "busybox")?;
    archive.file("init", 0o755, include_bytes!("init.sh"))?;
    archive.file("etc/udhcpc", 0o755, include_bytes!("udhcpc.sh"))?;
    archive.file("etc/ready", 0o755, include_bytes!("ready.sh"))?;
    archive.file("etc/acpi/PWRF/00000080", 0o755, b"#!/bin/sh\npoweroff -f\n")?;
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n")?;
    let mut order = String::new();
    for module in modules {
        let file = format!("{}.ko", module.name);
        archive.file(&format!("lib/modules/{file}"), 0o644, &module.data)?;
        order.push_str(&file);
        order.push('\n');
    }
    archive.file("lib/modules/order", 0o644, order.as_bytes())?;
    archive.finish()?.finish()
}
