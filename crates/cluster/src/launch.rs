//! From a machine of the file and its image to what QEMU is to run. Pure, but for a look at whether the kernel has vhost-net.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use atoll_images as images;
use atoll_qemu as qemu;
use atoll_spec as spec;

use crate::documents;
use crate::paths::ClusterPaths;
use crate::problem::{Kind, Problem};

/// What a machine is started from, besides what the file says.
#[derive(Clone, Debug)]
pub struct Ground<'a> {
    /// The cluster.
    pub cluster: &'a spec::Cluster,
    /// Where its files are.
    pub paths: &'a ClusterPaths,
    /// The folder of the cluster file, from which its relative paths go.
    pub folder: &'a Path,
    /// The image, if it has one.
    pub image: Option<&'a images::Image>,
    /// What executes it.
    pub accel: qemu::Accel,
    /// The descriptors of the TAPs that its NICs are attached to directly, in the order of these.
    pub taps: &'a [RawFd],
}

/// A path of the cluster file: `~` is the home folder, relative ones start at the file's folder.
pub fn resolve(folder: &Path, path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => folder.join(path),
    }
}

/// QEMU's word for an architecture.
pub fn qemu_arch(arch: spec::Arch) -> qemu::Arch {
    match arch {
        spec::Arch::X86_64 => qemu::Arch::X86_64,
        spec::Arch::Aarch64 => qemu::Arch::Aarch64,
    }
}

/// The images' word for an architecture.
pub fn image_arch(arch: spec::Arch) -> images::Arch {
    match arch {
        spec::Arch::X86_64 => images::Arch::X86_64,
        spec::Arch::Aarch64 => images::Arch::Aarch64,
    }
}

/// Where cloud-init finds a machine's documents: where the first network that serves it has its services.
pub fn seed_url(cluster: &spec::Cluster, machine: &spec::Machine) -> Option<String> {
    let network = cluster.network(machine.served_nic()?.network.as_str())?;
    Some(match network.services()? {
        IpAddr::V4(address) => format!("http://{address}/"),
        IpAddr::V6(address) => format!("http://[{address}]/"),
    })
}

/// What QEMU is to run for this machine.
pub fn launch(machine: &spec::Machine, ground: &Ground<'_>) -> Result<qemu::Launch, Problem> {
    let name = machine.name.as_str();
    let paths = ground.paths;
    let mut launch = qemu::Launch::new(name, qemu_arch(machine.arch), ground.accel);
    launch.machine.clone_from(&machine.machine);
    launch.cpus = u32::from(machine.cpus);
    launch.memory = machine.memory.bytes();
    launch.disks = disks(machine, ground);
    launch.kernel = kernel(machine, ground);
    launch.firmware = machine.firmware.as_ref().map(|code| qemu::Firmware {
        code: resolve(ground.folder, code),
        vars: None,
    });
    let mut taps = ground.taps.iter().copied();
    let vhost = !ground.taps.is_empty() && qemu::probe::has_vhost_net();
    for (index, nic) in machine.nics.iter().enumerate() {
        let attach = match nic.attach {
            spec::Attach::Stream => qemu::Attach::Stream {
                path: paths.nic_socket(name, index),
            },
            spec::Attach::VhostUser => qemu::Attach::VhostUser {
                path: paths.nic_socket(name, index),
            },
            spec::Attach::Tap => qemu::Attach::Tap {
                descriptor: taps.next().ok_or_else(|| no_tap(name, index))?,
                vhost: vhost && nic.model.is_virtio(),
            },
        };
        launch.nics.push(self::nic(index, nic, attach, ground.cluster));
    }
    if documents::seed(machine) == documents::Seed::Drive {
        launch.seed = Some(paths.seed(name));
    }
    launch.smbios_serial = seed_url(ground.cluster, machine).map(|url| images::nocloud::smbios_serial(&url));
    launch.console = Some(qemu::Console {
        socket: paths.console_socket(name),
        log: Some(paths.console_log(name)),
    });
    launch.qmp = Some(paths.qmp_socket(name));
    launch.pidfile = Some(paths.pid_file(name));
    launch.daemonize = true;
    launch.extra = machine.qemu_args.iter().map(OsString::from).collect();
    launch
        .check()
        .map_err(|error| Problem::new(Kind::Configuration, error.to_string()).with_hint_if(error.hint()))?;
    Ok(launch)
}

/// Whether it boots a disk on a machine type without firmware of its own.
pub fn needs_firmware(launch: &qemu::Launch) -> bool {
    launch.firmware.is_none() && launch.kernel.is_none() && launch.arch == qemu::Arch::Aarch64
}

/// UEFI for a machine, with a place for a variable store of its own that outlives restarts.
pub fn firmware(machine: &spec::Machine, paths: &ClusterPaths, found: qemu::FirmwareFiles) -> qemu::Firmware {
    let own = paths.machine(machine.name.as_str()).join("firmware-vars.fd");
    qemu::Firmware {
        code: found.code,
        vars: found.vars_template.map(|_| own),
    }
}

fn disks(machine: &spec::Machine, ground: &Ground<'_>) -> Vec<qemu::Disk> {
    match ground.image.map(|image| &image.boot) {
        Some(images::Boot::Disk { .. }) => vec![qemu::Disk {
            path: ground.paths.disk(machine.name.as_str()),
            format: qemu::DiskFormat::Qcow2,
            read_only: false,
        }],
        Some(images::Boot::Kernel { .. }) | None => Vec::new(),
    }
}

/// The file's own kernel goes before the image's.
fn kernel(machine: &spec::Machine, ground: &Ground<'_>) -> Option<qemu::Kernel> {
    if let Some(boot) = &machine.boot {
        return Some(qemu::Kernel {
            image: resolve(ground.folder, &boot.kernel),
            initrd: boot.initrd.as_ref().map(|path| resolve(ground.folder, path)),
            append: boot.append.clone(),
        });
    }
    match &ground.image?.boot {
        images::Boot::Kernel {
            kernel,
            initramfs,
            append,
        } => Some(qemu::Kernel {
            image: kernel.clone(),
            initrd: Some(initramfs.clone()),
            append: append.clone(),
        }),
        images::Boot::Disk { .. } => None,
    }
}

fn no_tap(machine: &str, index: usize) -> Problem {
    Problem::environment(format!(
        "machine {machine}: NIC {index} has no TAP to be attached to"
    ))
}

fn nic(index: usize, nic: &spec::Nic, attach: qemu::Attach, cluster: &spec::Cluster) -> qemu::Nic {
    qemu::Nic {
        id: format!("net{index}"),
        model: nic.model.to_string(),
        mac: nic.mac.octets(),
        attach,
        host_mtu: cluster.network(nic.network.as_str()).map(|network| network.mtu),
        network_boot: false,
    }
}
