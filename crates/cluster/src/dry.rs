//! What `up` would run for a machine, without running it.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;

use atoll_images::{Arch, Boot, DiskFormat, Image, image::Origin};
use atoll_qemu::{CommandLine, firmware, shell_line};
use atoll_spec as spec;

use crate::direct;
use crate::hypervisor::Hypervisor;
use crate::image::find_image;
use crate::launch::{self, Ground};
use crate::plan::UnknownMachine;
use crate::problem::Problem;
use crate::project::Project;

/// QEMU's complete command line for a machine of the project.
///
/// An image that is not on this host yet is taken for a disk, which all but micro images are.
pub fn command_line(project: &Project, machine: &str) -> Result<CommandLine, Problem> {
    let known = || {
        project
            .cluster
            .machines
            .iter()
            .map(|machine| machine.name.to_string())
            .collect()
    };
    let unknown = || UnknownMachine {
        machine: machine.to_owned(),
        known: known(),
    };
    let machine = project.cluster.machine(machine).ok_or_else(unknown)?;
    let hypervisor = Hypervisor::new(&project.paths);
    let capabilities = hypervisor.capabilities(machine.arch)?;
    let chosen = hypervisor.accel(machine.accel, &capabilities)?;
    let image = image(project, machine)?;
    let taps: Vec<RawFd> = descriptors(machine).map(|(descriptor, _)| descriptor).collect();
    let ground = Ground {
        cluster: &project.cluster,
        taps: &taps,
        paths: &project.paths,
        folder: project.folder(),
        image: image.as_ref(),
        accel: chosen.accel,
    };
    let mut launch = launch::launch(machine, &ground)?;
    if launch::needs_firmware(&launch) {
        launch.firmware = Some(launch::firmware(
            machine,
            &project.paths,
            firmware::find_firmware(&capabilities)?,
        ));
    }
    Ok(CommandLine::build(&launch, &capabilities))
}

/// The first descriptor that a program does not have from its start (stdin, stdout, stderr).
const FIRST_FREE: RawFd = 3;

/// The descriptors that its QEMU inherits, as a shell would number them, and the NICs they are for.
fn descriptors(machine: &spec::Machine) -> impl Iterator<Item = (RawFd, &spec::Nic)> {
    (FIRST_FREE..).zip(machine.nics.iter().filter(|nic| nic.attach.needs_tap()))
}

/// What the command line cannot say of itself, a sentence each: which descriptors it takes to be open already, and that another system
/// is meant than this one.
pub fn notes(project: &Project, machine: &str) -> Vec<String> {
    let Some(machine) = project.cluster.machine(machine) else {
        return Vec::new();
    };
    let note = |(descriptor, nic): (RawFd, &spec::Nic)| {
        let network = project.cluster.network(nic.network.as_str())?;
        let interface = network.interface.as_ref()?;
        Some(format!(
            "note: `atoll up` has atoll-helper open descriptor {descriptor}, on {interface}, for {}; by hand, open a TAP \
             there yourself",
            nic.mac
        ))
    };
    let vmnet = direct::check_system(machine, std::env::consts::OS).err();
    let elsewhere = vmnet.map(|problem| format!("note: {}", problem.message));
    descriptors(machine).filter_map(note).chain(elsewhere).collect()
}

fn image(project: &Project, machine: &spec::Machine) -> Result<Option<Image>, Problem> {
    let Some(wanted) = &machine.image else {
        return Ok(None);
    };
    let arch = launch::image_arch(machine.arch);
    let found = find_image(wanted, arch, &project.paths, project.folder())?;
    Ok(Some(found.unwrap_or_else(|| not_here(wanted, arch))))
}

fn not_here(wanted: &spec::Image, arch: Arch) -> Image {
    Image {
        name: wanted.to_string(),
        arch,
        origin: Origin::Catalogue,
        from: String::new(),
        boot: Boot::Disk {
            path: "disk.img".into(),
            format: DiskFormat::Qcow2,
        },
        bytes: 0,
        digest: None,
        signature: None,
        content: None,
        ssh_user: None,
        packages: Vec::new(),
    }
}

/// The command line as a POSIX shell reads it back: in one line, or an option a line with backslashes.
pub fn shell_text(line: &CommandLine, one_line: bool) -> OsString {
    if one_line {
        return line.to_shell();
    }
    let mut text = shell_line([line.program().as_os_str()]);
    for word in line.args() {
        text.push(if word.as_encoded_bytes().starts_with(b"-") {
            " \\\n    "
        } else {
            " "
        });
        text.push(
            shell_line([OsStr::new("-"), word])
                .to_string_lossy()
                .trim_start_matches("- "),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use atoll_qemu::{Accel, Capabilities, Launch, Version};

    use super::*;

    #[test]
    fn a_shell_reads_both_forms_back_word_for_word() {
        let capabilities = Capabilities {
            binary: "/usr/bin/printf".into(),
            arch: atoll_qemu::Arch::X86_64,
            version: Version::new(10, 0, 0),
            accelerators: vec![Accel::Tcg],
            data_dirs: Vec::new(),
        };
        let mut launch = Launch::new("a", atoll_qemu::Arch::X86_64, Accel::Tcg);
        launch.extra = vec!["it's $HOME".into(), "-x".into(), "a=b".into()];
        let line = CommandLine::build(&launch, &capabilities);
        let words = |one_line| {
            let text = shell_text(&line, one_line);
            let text = text.to_str().unwrap().replacen("printf", "printf '%s\\n'", 1);
            let output = Command::new("sh").args(["-c", &text]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let expected: String = line
            .args()
            .iter()
            .map(|word| format!("{}\n", word.to_str().unwrap()))
            .collect();
        assert_eq!(words(true), expected);
        assert_eq!(words(false), expected);
    }
}
