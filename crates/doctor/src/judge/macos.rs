//! What macOS asks for beside.

use crate::check::{Area, Check, Need, Status};

const LAN: &[Need] = &[Need::Bridged, Need::Shared, Need::Host];

/// vmnet gives interfaces to programs with this entitlement, or to root.
const VMNET: &str = "com.apple.vm.networking";
/// Hypervisor.framework asks for this one.
const HYPERVISOR: &str = "com.apple.security.hypervisor";

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct MacOs {
    /// `sw_vers -productVersion`.
    pub(crate) version: Option<String>,
    pub(crate) is_root: bool,
    /// The entitlements with which `atoll` itself is signed, as `codesign` prints them, or why they cannot be had.
    pub(crate) own: Option<Result<String, String>>,
    /// The same of QEMU.
    pub(crate) qemu: Option<Result<String, String>>,
}

/// What that means.
pub(crate) fn judge(mac: &MacOs) -> Vec<Check> {
    vec![version(mac), hypervisor(mac), vmnet(mac), privacy(mac)]
}

fn major(mac: &MacOs) -> Option<u32> {
    mac.version.as_deref()?.split('.').next()?.parse().ok()
}

fn version(mac: &MacOs) -> Check {
    let check =
        |status, words: String| Check::new(Area::Machines, "macos", status, words).needed_for(&[Need::Up]);
    match (&mac.version, major(mac)) {
        (Some(version), Some(13..)) => check(Status::Ok, format!("macOS {version}")),
        (Some(version), _) => check(
            Status::Warn,
            format!("macOS {version} is older than any that Atoll is made for"),
        )
        .fix("update to macOS 13 or later"),
        (None, _) => check(
            Status::Note,
            "sw_vers does not tell the version of macOS".to_owned(),
        ),
    }
}

fn hypervisor(mac: &MacOs) -> Check {
    let check =
        |status, words: String| Check::new(Area::Machines, "codesign", status, words).needed_for(&[Need::Up]);
    match &mac.qemu {
        None => check(
            Status::Note,
            "there is no QEMU whose signature could be read".to_owned(),
        ),
        Some(Ok(entitlements)) if entitlements.contains(HYPERVISOR) => check(
            Status::Ok,
            format!("QEMU is signed with {HYPERVISOR}, which hvf asks for"),
        ),
        Some(Ok(_)) => check(
            Status::Warn,
            format!("QEMU is signed without {HYPERVISOR}: it has no hvf"),
        )
        .fix(format!(
            "sign it: codesign -s - --entitlements FILE -f QEMU, with {HYPERVISOR} in FILE; Homebrew's has it"
        )),
        Some(Err(reason)) => check(Status::Note, format!("QEMU's signature cannot be read: {reason}")),
    }
}

fn vmnet(mac: &MacOs) -> Check {
    let check = |status, words: String| Check::new(Area::Lan, "vmnet", status, words).needed_for(LAN);
    if mac.is_root {
        return check(Status::Ok, "vmnet gives interfaces to root".to_owned());
    }
    match &mac.own {
        Some(Ok(entitlements)) if entitlements.contains(VMNET) => {
            check(Status::Ok, format!("atoll is signed with {VMNET}, by which vmnet gives it interfaces"))
        }
        Some(Err(reason)) => check(
            Status::Note,
            format!("vmnet gives interfaces to root, or by {VMNET}; atoll's own signature cannot be read: {reason}"),
        )
        .fix("install the helper, which runs as root: see docs/lan.md"),
        _ => check(
            Status::Fail,
            format!("vmnet gives interfaces to root, or to programs signed with {VMNET}, which this one is not"),
        )
        .fix("install the helper, which runs as root: see docs/lan.md; Apple gives the entitlement to few"),
    }
}

/// No program can ask whether it was allowed; macOS asks the person once, and silence is all that a program sees.
fn privacy(mac: &MacOs) -> Check {
    let check = |status, words: &str| Check::new(Area::Lan, "local-network", status, words).needed_for(LAN);
    if major(mac).is_some_and(|major| major < 15) {
        return check(
            Status::Ok,
            "this macOS lets every program speak to the local network",
        );
    }
    check(
        Status::Note,
        "macOS asks once whether a program may reach devices on the local network, and drops its packets without a word when the answer was no: this goes for guests' packets to the LAN, too",
    )
    .fix("System Settings, Privacy & Security, Local Network: switch on atoll, or the terminal that it is started from")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac() -> MacOs {
        MacOs {
            version: Some("15.2".to_owned()),
            is_root: false,
            own: Some(Ok(String::new())),
            qemu: Some(Ok(format!("<key>{HYPERVISOR}</key><true/>"))),
        }
    }

    fn statuses(mac: &MacOs) -> Vec<(String, Status)> {
        judge(mac).into_iter().map(|it| (it.name, it.status)).collect()
    }

    #[test]
    fn a_mac_as_people_have_it_can_up_and_is_told_of_the_lan() {
        let found = statuses(&mac());
        let expected = [
            ("macos", Status::Ok),
            ("codesign", Status::Ok),
            ("vmnet", Status::Fail),
            ("local-network", Status::Note),
        ];
        assert_eq!(found, expected.map(|(name, status)| (name.to_owned(), status)));
        let up = |it: &Check| it.needed_for.contains(&Need::Up) && it.status == Status::Fail;
        assert!(!judge(&mac()).iter().any(up));
    }

    #[test]
    fn an_entitlement_or_root_opens_vmnet() {
        let signed = MacOs {
            own: Some(Ok(format!("<key>{VMNET}</key><true/>"))),
            ..mac()
        };
        let root = MacOs {
            is_root: true,
            ..mac()
        };
        for mac in [signed, root] {
            assert_eq!(statuses(&mac)[2].1, Status::Ok);
        }
    }

    #[test]
    fn an_older_macos_does_not_ask_about_the_local_network() {
        let older = MacOs {
            version: Some("14.7.1".to_owned()),
            qemu: Some(Ok("<dict/>".to_owned())),
            ..mac()
        };
        assert_eq!(statuses(&older)[3].1, Status::Ok);
        assert_eq!(statuses(&older)[1].1, Status::Warn);
    }
}
