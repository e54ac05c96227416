//! QEMU, accelerators, and the programs that machines are run with.

use std::path::PathBuf;

use atoll_qemu::{Accel, Arch, Reconnect, Version};

use super::listed;
use crate::check::{Area, Check, Need, Status};

/// Network backends that attachments are made of, and what each is for.
const STREAM: &str = "stream";
const DGRAM: &str = "dgram";
const VHOST_USER: &str = "vhost-user";
const VMNET: &str = "vmnet-shared";

/// What was found of the programs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    pub(crate) qemu_img: Option<PathBuf>,
    /// What it said when asked for its version, when it does not run.
    pub(crate) qemu_img_fault: Option<String>,
    pub(crate) ssh: Option<PathBuf>,
    pub(crate) ssh_keygen: Option<PathBuf>,
}

/// The QEMU of one architecture.
#[derive(Clone, Debug)]
pub(crate) struct Qemu {
    pub(crate) arch: Arch,
    /// Whether it is the host's own.
    pub(crate) is_native: bool,
    pub(crate) found: Result<Found, Missing>,
}

/// Why there is none.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    pub(crate) sentence: String,
    pub(crate) hint: Option<String>,
}

/// A QEMU that answered.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) binary: PathBuf,
    pub(crate) version: Version,
    pub(crate) reconnect: Reconnect,
    /// What `-netdev help` lists; `None` where that could not be had.
    pub(crate) backends: Option<Vec<String>>,
    /// Each accelerator and, if it does not work, why.
    pub(crate) accels: Vec<(Accel, Option<String>)>,
    /// Whether a machine with memory that others can map starts, or why not.
    pub(crate) shared_memory: Result<(), String>,
    /// Firmware for disks, where the architecture cannot boot one without.
    pub(crate) firmware: Option<Result<PathBuf, Missing>>,
}

impl Qemu {
    fn needs(&self) -> &'static [Need] {
        if self.is_native {
            &[Need::Up]
        } else {
            &[Need::Foreign]
        }
    }

    fn check(&self, name: &str, status: Status, found: impl Into<String>) -> Check {
        let name = if self.is_native {
            name.to_owned()
        } else {
            format!("{name}-{}", self.arch)
        };
        Check::new(Area::Machines, name, status, found).needed_for(self.needs())
    }
}

/// What the QEMU of one architecture means for machines.
pub(crate) fn judge_qemu(qemu: &Qemu) -> Vec<Check> {
    let found = match &qemu.found {
        Ok(found) => found,
        Err(missing) => {
            let status = if qemu.is_native {
                Status::Fail
            } else {
                Status::Note
            };
            let check = qemu.check("qemu", status, missing.sentence.clone());
            return vec![check.fix_if(missing.hint.clone())];
        }
    };
    let mut checks = vec![binary(qemu, found)];
    checks.extend(reconnect(qemu, found));
    checks.extend(accelerators(qemu, found));
    checks.extend(qemu.is_native.then(|| vhost_user(qemu, found)));
    checks.extend(firmware(qemu, found));
    checks
}

fn binary(qemu: &Qemu, found: &Found) -> Check {
    let who = format!(
        "QEMU {} for {} ({})",
        found.version,
        qemu.arch,
        found.binary.display()
    );
    let Some(backends) = &found.backends else {
        return qemu.check(
            "qemu",
            Status::Warn,
            format!("{who} does not list its network backends"),
        );
    };
    let has = |name: &str| backends.iter().any(|it| it == name);
    if !has(STREAM) {
        let words = format!("{who} was built without `-netdev stream`, by which machines attach");
        return qemu
            .check("qemu", Status::Fail, words)
            .fix("install a QEMU that is built with it, such as the distribution's");
    }
    let known: Vec<_> = [STREAM, DGRAM, VHOST_USER, VMNET]
        .into_iter()
        .filter(|it| has(it))
        .collect();
    qemu.check("qemu", Status::Ok, format!("{who} with {}", listed(&known)))
}

fn reconnect(qemu: &Qemu, found: &Found) -> Option<Check> {
    let option = match found.reconnect {
        Reconnect::Unsupported => {
            let words = format!(
                "QEMU {} does not connect again: machines lose their network when the daemon is restarted",
                found.version
            );
            let check = qemu.check("reconnect", Status::Warn, words);
            return Some(check.fix("install QEMU 8.0 or later"));
        }
        Reconnect::Seconds => "reconnect",
        Reconnect::Milliseconds => "reconnect-ms",
    };
    let words = format!("machines connect again when the daemon was restarted (`{option}`)");
    qemu.is_native.then(|| qemu.check("reconnect", Status::Ok, words))
}

/// One line an accelerator; hardware that does not work is a warning as long as something works.
fn accelerators(qemu: &Qemu, found: &Found) -> Vec<Check> {
    let works = found.accels.iter().any(|(_, refused)| refused.is_none());
    let mut checks = Vec::new();
    for (accel, refused) in &found.accels {
        if accel.is_hardware() && !qemu.is_native {
            continue;
        }
        let name = accel.to_string();
        checks.push(match refused {
            None => qemu.check(&name, Status::Ok, format!("a trial guest ran with {accel}")),
            Some(reason) => {
                let status = if works { Status::Warn } else { Status::Fail };
                let slow = if works && accel.is_hardware() {
                    ": machines are emulated, about ten times slower"
                } else {
                    ""
                };
                let check = qemu.check(&name, status, format!("{accel} is of no use: {reason}{slow}"));
                check.fix_if(accelerator_fix(*accel, reason))
            }
        });
    }
    if found.accels.is_empty() {
        let words = "this QEMU was built without any accelerator that Atoll knows";
        checks.push(qemu.check("accelerator", Status::Fail, words));
    }
    checks
}

/// What helps, by the words of the trial.
fn accelerator_fix(accel: Accel, reason: &str) -> Option<String> {
    let fix = match accel {
        Accel::Kvm if reason.contains("is not there") => {
            "modprobe kvm_intel (or kvm_amd); if that fails: switch virtualisation on in the firmware, or nested virtualisation in the hypervisor that this host runs on"
        }
        Accel::Kvm if reason.contains("may not be opened") => {
            "ask the administrator: usermod -aG kvm USER, then log in again"
        }
        Accel::Kvm if reason.contains("within") => {
            "this host's kvm only interprets guests: use a host whose hypervisor offers nested virtualisation, or stay with tcg"
        }
        Accel::Kvm => {
            "use a host whose hypervisor offers nested virtualisation, or stay with tcg; `atoll doctor --fresh` tries again"
        }
        Accel::Hvf => "Hypervisor.framework needs a QEMU that is signed with com.apple.security.hypervisor",
        Accel::Tcg => return None,
    };
    Some(fix.to_owned())
}

fn vhost_user(qemu: &Qemu, found: &Found) -> Check {
    let has = found.backends.iter().flatten().any(|it| it == VHOST_USER);
    let check = |status, words: String| {
        let check = qemu.check(VHOST_USER, status, words);
        check.needed_for(&[Need::VhostUser])
    };
    if !has {
        return check(Status::Note, "this QEMU has no vhost-user".to_owned());
    }
    match &found.shared_memory {
        Ok(()) => check(
            Status::Ok,
            "a machine whose memory others can map (memfd) starts: `attach: vhost-user` can be used"
                .to_owned(),
        ),
        Err(reason) => check(
            Status::Fail,
            format!("a machine whose memory others can map (memfd) does not start: {reason}"),
        )
        .fix("leave `attach: vhost-user` out: the usual attachment needs none of it"),
    }
}

fn firmware(qemu: &Qemu, found: &Found) -> Option<Check> {
    Some(match found.firmware.as_ref()? {
        Ok(path) => qemu.check(
            "firmware",
            Status::Ok,
            format!("UEFI firmware for disks: {}", path.display()),
        ),
        Err(missing) => {
            let status = if qemu.is_native {
                Status::Fail
            } else {
                Status::Warn
            };
            let check = qemu.check("firmware", status, missing.sentence.clone());
            check.fix_if(missing.hint.clone())
        }
    })
}

/// What the other programs mean.
pub(crate) fn judge_programs(programs: &Programs) -> Vec<Check> {
    let check = |name: &str, status, found: String| {
        Check::new(Area::Machines, name, status, found).needed_for(&[Need::Up])
    };
    let qemu_img = match (&programs.qemu_img, &programs.qemu_img_fault) {
        (Some(path), None) => check("qemu-img", Status::Ok, format!("{} runs", path.display())),
        (Some(path), Some(fault)) => check(
            "qemu-img",
            Status::Fail,
            format!("{} does not run: {fault}", path.display()),
        )
        .fix("install it again (Debian: qemu-utils, Fedora: qemu-img)"),
        (None, _) => check(
            "qemu-img",
            Status::Fail,
            "there is no qemu-img, which makes machines' disks".to_owned(),
        )
        .fix("install it: qemu-utils on Debian and Ubuntu, qemu-img on Fedora, qemu on macOS (Homebrew)"),
    };
    let ssh = match (&programs.ssh, &programs.ssh_keygen) {
        (Some(ssh), Some(_)) => check("ssh", Status::Ok, format!("{} with ssh-keygen", ssh.display())),
        (ssh, _) => {
            let missing = if ssh.is_some() { "ssh-keygen" } else { "ssh" };
            let words = format!(
                "there is no {missing} in PATH: machines' keys are made and logins done with OpenSSH"
            );
            check("ssh", Status::Fail, words).fix(
                "install OpenSSH's client: openssh-client on Debian and Ubuntu, openssh-clients on Fedora",
            )
        }
    };
    vec![qemu_img, ssh]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qemu(version: Version, reconnect: Reconnect, accels: &[(Accel, Option<&str>)]) -> Qemu {
        let backends = ["socket", STREAM, DGRAM, "user", VHOST_USER].map(str::to_owned);
        Qemu {
            arch: Arch::X86_64,
            is_native: true,
            found: Ok(Found {
                binary: "/usr/bin/qemu-system-x86_64".into(),
                version,
                reconnect,
                backends: Some(backends.to_vec()),
                accels: accels
                    .iter()
                    .map(|(accel, why)| (*accel, why.map(str::to_owned)))
                    .collect(),
                shared_memory: Ok(()),
                firmware: None,
            }),
        }
    }

    fn of<'a>(checks: &'a [Check], name: &str) -> &'a Check {
        let found = checks.iter().find(|check| check.name == name);
        found.unwrap_or_else(|| panic!("no {name} in {checks:#?}"))
    }

    #[test]
    fn a_laptop_with_kvm_has_nothing_to_complain_of() {
        let laptop = qemu(
            Version::new(9, 2, 0),
            Reconnect::Milliseconds,
            &[(Accel::Kvm, None), (Accel::Tcg, None)],
        );
        let checks = judge_qemu(&laptop);
        assert!(
            checks.iter().all(|check| check.status == Status::Ok),
            "{checks:#?}"
        );
        assert!(of(&checks, "qemu").found.contains("stream, dgram and vhost-user"));
    }

    #[test]
    fn a_kvm_that_is_closed_is_a_warning_with_the_group_as_long_as_tcg_works() {
        let closed = "/dev/kvm may not be opened by this user (is it in the group kvm?)";
        let host = qemu(
            Version::new(8, 2, 2),
            Reconnect::Seconds,
            &[(Accel::Kvm, Some(closed)), (Accel::Tcg, None)],
        );
        let checks = judge_qemu(&host);
        let kvm = of(&checks, "kvm");
        assert_eq!(kvm.status, Status::Warn);
        assert!(kvm.fix.as_ref().unwrap().contains("usermod -aG kvm"));
        assert_eq!(of(&checks, "tcg").status, Status::Ok);
    }

    #[test]
    fn a_host_on_which_no_accelerator_works_cannot_up() {
        let broken = qemu(
            Version::new(8, 2, 2),
            Reconnect::Seconds,
            &[
                (Accel::Kvm, Some("/dev/kvm is not there")),
                (Accel::Tcg, Some("it failed")),
            ],
        );
        let checks = judge_qemu(&broken);
        for name in ["kvm", "tcg"] {
            let check = of(&checks, name);
            assert_eq!(
                (check.status, &check.needed_for[..]),
                (Status::Fail, &[Need::Up][..])
            );
        }
        assert!(of(&checks, "kvm").fix.as_ref().unwrap().contains("modprobe"));
    }

    #[test]
    fn debian_12s_qemu_is_warned_of_because_it_does_not_connect_again() {
        let checks = judge_qemu(&qemu(
            Version::OLDEST,
            Reconnect::Unsupported,
            &[(Accel::Tcg, None)],
        ));
        assert_eq!(of(&checks, "reconnect").status, Status::Warn);
    }

    #[test]
    fn a_qemu_that_is_missing_is_a_failure_for_the_hosts_architecture_only() {
        let missing = |is_native, arch| Qemu {
            arch,
            is_native,
            found: Err(Missing {
                sentence: "no QEMU".to_owned(),
                hint: Some("install it".to_owned()),
            }),
        };
        let own = judge_qemu(&missing(true, Arch::X86_64));
        let foreign = judge_qemu(&missing(false, Arch::Aarch64));
        assert_eq!((own[0].status, own[0].name.as_str()), (Status::Fail, "qemu"));
        assert_eq!(
            (foreign[0].status, foreign[0].name.as_str()),
            (Status::Note, "qemu-aarch64")
        );
        assert_eq!(own[0].fix.as_deref(), Some("install it"));
    }

    #[test]
    fn a_mac_has_hvf_and_vmnet() {
        let mut mac = qemu(
            Version::new(10, 1, 0),
            Reconnect::Milliseconds,
            &[(Accel::Hvf, None), (Accel::Tcg, None)],
        );
        if let Ok(found) = &mut mac.found {
            found.backends = Some([STREAM, DGRAM, VMNET].map(str::to_owned).to_vec());
        }
        let checks = judge_qemu(&mac);
        assert!(of(&checks, "qemu").found.contains("vmnet-shared"));
        assert_eq!(of(&checks, "hvf").status, Status::Ok);
        assert_eq!(of(&checks, VHOST_USER).status, Status::Note);
    }

    #[test]
    fn what_programs_are_missing_is_told_with_the_packages() {
        let checks = judge_programs(&Programs::default());
        assert!(checks.iter().all(|check| check.status == Status::Fail));
        assert!(
            of(&checks, "qemu-img")
                .fix
                .as_ref()
                .unwrap()
                .contains("qemu-utils")
        );
        assert!(
            of(&checks, "ssh")
                .fix
                .as_ref()
                .unwrap()
                .contains("openssh-client")
        );
    }
}
