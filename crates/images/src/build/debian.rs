//! A bootable Debian disk from packages: systemd, cloud-init, an ssh server, GRUB, the full kernel.
//!
//! Packages come from the machine's own package sources, or from those with the suite changed. Steps, none of which needs a loop device:
//!
//! 1. `mmdebstrap` installs the packages into a folder (as root, or in a user namespace of its own).
//! 2. `mke2fs -d` writes the folder into an ext4 file system inside a sparse disk file.
//! 3. `disk.rs` writes the partition table and GRUB in front of it.
//! 4. `qemu-img convert` makes the qcow2 file.
//!
//! The full kernel, because the cloud one has neither an AHCI driver (`-hda` on q35) nor one for e1000; drivers that no
//! virtual machine has a device for are left out. Of recommended packages only those are named that every installed Debian has:
//! `linux-sysctl-defaults`, by which users may ping from Debian 13 on (12 has no such package, and a pattern that
//! matches nothing installs nothing). NICs are called `eth0`, `eth1`, …, and take an address by DHCP whether
//! cloud-init configures them or not. Only x86 with a BIOS: other firmware wants another boot loader.

use crate::arch::Arch;
use crate::build::packages::{self, Packages};
use crate::build::sources::Sources;
use crate::build::{BuildError, Progress, Target, disk, read, write};
use crate::image::{Boot, DiskFormat, Image, Origin};
use crate::tool::{self, Tool, shell_quoted};
use std::path::{Path, PathBuf};
use std::process::Command;

const MMDEBSTRAP: Tool = Tool::new("mmdebstrap", "mmdebstrap");
const MKE2FS: Tool = Tool::new("mke2fs", "e2fsprogs");
const QEMU_IMG: Tool = Tool::new("qemu-img", "qemu-utils");

/// The disk as the guest sees it. Sparse; an overlay may be larger, and the guest grows into it.
const DISK_BYTES: u64 = 4 << 30;
const DISK: &str = "disk.qcow2";

/// Folders whose files dpkg leaves out, now and at upgrades. Kernels put theirs below `/usr/lib` from Debian 13 on.
const EXCLUDED: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "*/lib/modules/*/kernel/sound/*",
    "*/lib/modules/*/kernel/drivers/gpu/*",
    "*/lib/modules/*/kernel/drivers/media/*",
    "*/lib/modules/*/kernel/drivers/iio/*",
    "*/lib/modules/*/kernel/drivers/infiniband/*",
    "*/lib/modules/*/kernel/drivers/staging/*",
    "*/lib/modules/*/kernel/drivers/net/wireless/*",
    "*/lib/modules/*/kernel/net/bluetooth/*",
    "*/lib/modules/*/kernel/net/mac80211/*",
    "*/lib/modules/*/kernel/net/wireless/*",
];

/// Files that are there before the kernel's package makes its initramfs.
const SKELETON: &[(&str, &str)] = &[
    ("etc/default/locale", "LANG=C.UTF-8\n"),
    (
        "etc/cloud/cloud.cfg.d/95-image.cfg",
        include_str!("debian/skeleton/cloud.cfg"),
    ),
    (
        "etc/initramfs-tools/conf.d/image",
        include_str!("debian/skeleton/initramfs.conf"),
    ),
    (
        "etc/initramfs-tools/modules",
        include_str!("debian/skeleton/modules"),
    ),
    (
        "etc/systemd/network/90-dhcp.network",
        include_str!("debian/skeleton/dhcp.network"),
    ),
    (
        "etc/systemd/network/10-cloud-init-eth0.network.d/client-id.conf",
        include_str!("debian/skeleton/client-id.conf"),
    ),
    (
        "etc/systemd/networkd.conf.d/duid.conf",
        include_str!("debian/skeleton/duid.conf"),
    ),
    (
        "etc/systemd/system/cloud-init-local.service.d/seed-url.conf",
        include_str!("debian/skeleton/seed-url.conf"),
    ),
    (
        "usr/local/lib/nocloud-seed-url",
        include_str!("debian/skeleton/seed-url.sh"),
    ),
    (
        "etc/systemd/system/systemd-networkd-wait-online.service.d/any.conf",
        include_str!("debian/skeleton/wait-online.conf"),
    ),
];

/// The folders of one build.
struct Work {
    folder: PathBuf,
    root: PathBuf,
    disk: PathBuf,
}

/// The programs that a build runs.
#[must_use]
pub fn tools() -> Vec<Tool> {
    [packages::TOOLS.as_slice(), &[MMDEBSTRAP, MKE2FS, QEMU_IMG]].concat()
}

/// Builds a Debian disk into `folder`, which exists and is empty, with `extra` packages beside the usual ones.
///
/// # Errors
/// When programs are missing (one error names all), packages cannot be had, or a step fails.
pub fn build(
    target: Target<'_>,
    extra: &[String],
    folder: &Path,
    progress: Progress<'_>,
) -> Result<Image, BuildError> {
    if target.arch != Arch::X86_64 {
        return Err(BuildError::UnsupportedArch {
            image: "debian",
            arch: target.arch,
        });
    }
    tool::require(&tools())?;
    let work = Work::below(folder)?;
    let result = build_in(&work, target, extra, folder, progress);
    let removed = work.remove();
    let image = result?;
    removed?;
    Ok(image)
}

fn build_in(
    work: &Work,
    target: Target<'_>,
    extra: &[String],
    folder: &Path,
    progress: Progress<'_>,
) -> Result<Image, BuildError> {
    let sources = Sources::of(target.release)?;
    if target.release.is_some() {
        // Whether the release is there and its keys are known shows here, in words of ours.
        Packages::of(target, &work.folder.join("lists"), progress)?;
    }
    let uuid = random_uuid()?;
    progress(&format!("packages of {}", sources.suite));
    install(work, &sources, &uuid, extra, progress)?;
    progress("file system");
    make_disk(work, &uuid)?;
    progress("qcow2");
    let image = folder.join(DISK);
    let mut convert = QEMU_IMG.command()?;
    tool::run(
        convert
            .args(["convert", "-O", "qcow2"])
            .arg(&work.disk)
            .arg(&image),
    )?;
    let bytes = image.metadata().map_err(BuildError::file(&image))?.len();
    Ok(Image {
        name: target.image_name("debian"),
        arch: target.arch,
        origin: Origin::Built,
        from: format!("Debian packages of {}", sources.suite),
        boot: Boot::Disk {
            path: DISK.into(),
            format: DiskFormat::Qcow2,
        },
        bytes,
        digest: None,
        signature: None,
        content: None,
        ssh_user: Some("debian".to_owned()),
        packages: included(extra).map(str::to_owned).collect(),
    })
}

/// The packages of every image, and those beside them.
fn included(extra: &[String]) -> impl Iterator<Item = &str> {
    let always = include_str!("debian/packages.txt").lines();
    always.chain(extra.iter().map(String::as_str))
}

/// Runs mmdebstrap; the steps that it tells of are the progress.
fn install(
    work: &Work,
    sources: &Sources,
    uuid: &str,
    extra: &[String],
    progress: Progress<'_>,
) -> Result<(), BuildError> {
    let skeleton = work.folder.join("skeleton");
    for (path, text) in SKELETON {
        write_below(&skeleton, path, text)?;
    }
    write_below(
        &skeleton,
        "etc/fstab",
        &format!("UUID={uuid} / ext4 errors=remount-ro 0 1\n"),
    )?;
    write_below(
        &skeleton,
        "boot/grub/grub.cfg",
        &include_str!("debian/grub.cfg").replace("@UUID@", uuid),
    )?;
    write_below(&work.folder, "customize.sh", include_str!("debian/customize.sh"))?;
    write_below(&work.folder, "sources.list", &sources.list(&[]))?;

    let included: Vec<&str> = included(extra).collect();
    let mut command = MMDEBSTRAP.command()?;
    command.arg(format!("--mode={}", if is_root() { "root" } else { "unshare" }));
    command.args(["--variant=minbase", "--architectures=amd64"]);
    command.arg(format!("--include={}", included.join(",")));
    command.args(
        EXCLUDED
            .iter()
            .map(|folder| format!("--dpkgopt=path-exclude={folder}")),
    );
    command.arg(format!("--essential-hook=sync-in {} /", quoted_path(&skeleton)));
    command.arg(format!(
        "--customize-hook=sh {} \"$1\"",
        quoted_path(&work.folder.join("customize.sh"))
    ));
    command
        .arg(&sources.suite)
        .arg(&work.root)
        .arg(work.folder.join("sources.list"));
    let steps = &mut |line: &str| line.strip_prefix("I: ").map_or((), &mut *progress);
    Ok(tool::run_watched(&mut command, steps)?)
}

/// A raw disk: partition table, GRUB, and the file system with all files in it.
fn make_disk(work: &Work, uuid: &str) -> Result<(), BuildError> {
    let boot = read(&work.root.join("usr/lib/grub/i386-pc/boot.img"))?;
    let core = read(&work.root.join("boot/grub/core.img"))?;
    let front = disk::front(&boot, &core, DISK_BYTES).map_err(|what| BuildError::Incomplete {
        package: "grub-pc-bin".to_owned(),
        what,
    })?;
    let front_file = work.folder.join("front.raw");
    write(&front_file, &front)?;
    write_below(&work.folder, "make-disk.sh", include_str!("debian/make-disk.sh"))?;
    let mut command = as_owner_of_the_root(&Tool::new("sh", "dash"))?;
    command
        .arg(work.folder.join("make-disk.sh"))
        .arg(&work.root)
        .arg(front_file);
    command
        .arg(DISK_BYTES.to_string())
        .arg(MKE2FS.find().unwrap_or_else(|| MKE2FS.program.into()));
    // GRUB 2.06 cannot read a file system with metadata_csum_seed.
    command.args([
        "-q",
        "-F",
        "-t",
        "ext4",
        "-L",
        "root",
        "-m",
        "1",
        "-O",
        "^metadata_csum_seed",
        "-U",
        uuid,
    ]);
    command.arg("-E").arg(format!("offset={}", disk::PARTITION_START));
    tool::run(&mut command)?;
    Ok(())
}

/// A command that sees the new root's files with the owners they have in it.
fn as_owner_of_the_root(tool: &Tool) -> Result<Command, BuildError> {
    if is_root() {
        return Ok(tool.command()?);
    }
    let program = tool.find().unwrap_or_else(|| tool.program.into());
    let mut command = MMDEBSTRAP.command()?;
    command.arg("--unshare-helper").arg(program);
    Ok(command)
}

impl Work {
    /// The user namespace's root must be able to reach the folder, which it could not below a private home; one that is
    /// there already is somebody else's.
    fn below(folder: &Path) -> Result<Self, BuildError> {
        let folder = if is_root() {
            folder.join("work")
        } else {
            std::env::temp_dir().join(format!("atoll-build-{}", std::process::id()))
        };
        std::fs::create_dir(&folder).map_err(BuildError::file(&folder))?;
        let folder = folder.canonicalize().map_err(BuildError::file(&folder))?;
        Ok(Self {
            root: folder.join("root"),
            disk: folder.join("root/disk.raw"),
            folder,
        })
    }

    /// The new root's files are its owner's to remove, the folder around them ours.
    fn remove(&self) -> Result<(), BuildError> {
        if self.root.exists() {
            let mut command = as_owner_of_the_root(&Tool::new("find", "findutils"))?;
            tool::run(command.arg(&self.root).args(["-mindepth", "1", "-delete"]))?;
        }
        std::fs::remove_dir_all(&self.folder).map_err(BuildError::file(&self.folder))
    }
}

fn write_below(folder: &Path, path: &str, text: &str) -> Result<(), BuildError> {
    let path = folder.join(path);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(BuildError::file(parent))?;
    }
    write(&path, text.as_bytes())
}

fn quoted_path(path: &Path) -> String {
    shell_quoted(&path.to_string_lossy())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// From the kernel, which has to be Linux for the programs above anyway.
fn random_uuid() -> Result<String, BuildError> {
    const RANDOM: &str = "/proc/sys/kernel/random/uuid";
    let uuid = read(Path::new(RANDOM))?;
    Ok(String::from_utf8_lossy(&uuid).trim().to_owned())
}
