//! What macOS asks for beside.

use crate::check::{Area, Check, Need, Status};

const LAN: &[Need] = &[Need::Bridged, Need::Shared, Need::Host];

/// vmnet gives interfaces to root, and to programs with this entitlement, which Apple grants.
const VMNET: &str = "com.apple.vm.networking";
/// From macOS 26 on also to programs with this one, which anybody may sign with (packaging/macos/entitlements.plist).
const VIRTUALIZATION: &str = "com.apple.security.virtualization";
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

/// From this version on vmnet is for anybody's programs that are signed for it (docs/macos.md says whose observation that is).
const OPEN_SINCE: u32 = 26;

fn vmnet(mac: &MacOs) -> Check {
    let check = |status, words: String| Check::new(Area::Lan, "vmnet", status, words).needed_for(LAN);
    let is_open = major(mac).is_some_and(|major| major >= OPEN_SINCE);
    if mac.is_root {
        return check(
            Status::Ok,
            format!("vmnet gives interfaces to root; {}", system_dhcp(mac)),
        );
    }
    let has = |entitlement: &str| matches!(&mac.own, Some(Ok(own)) if own.contains(entitlement));
    let signed_with = [VMNET, VIRTUALIZATION].into_iter().find(|it| has(it));
    match (signed_with, &mac.own) {
        (Some(entitlement), _) if is_open => check(
            Status::Ok,
            format!("atoll is signed with {entitlement}, by which vmnet gives it interfaces; {}", system_dhcp(mac)),
        ),
        (Some(VMNET), _) => check(
            Status::Note,
            format!("atoll is signed with {VMNET}, which counts before macOS {OPEN_SINCE} only where Apple granted it"),
        )
        .fix(HELPER),
        (None, Some(Err(reason))) => check(
            Status::Note,
            format!("vmnet gives interfaces to root, or by an entitlement; atoll's own signature cannot be read: {reason}"),
        )
        .fix(HELPER),
        _ if is_open => check(
            Status::Fail,
            format!("vmnet gives interfaces to root, or to programs signed with {VIRTUALIZATION}, which this one is not"),
        )
        .fix(format!("sign it: codesign --force --sign - --entitlements packaging/macos/entitlements.plist ATOLL; or {HELPER}")),
        _ => check(
            Status::Fail,
            format!("before macOS {OPEN_SINCE} vmnet gives interfaces to root, or to whom Apple granted {VMNET}"),
        )
        .fix(HELPER),
    }
}

/// The way that is there on every macOS.
const HELPER: &str = "install the helper, which runs as root: see docs/macos.md";

/// What becomes of the system's own DHCP server on shared and host networks, which Atoll's serves.
fn system_dhcp(mac: &MacOs) -> &'static str {
    match major(mac) {
        Some(OPEN_SINCE..) => "the system's DHCP server is switched off on networks of Atoll's",
        Some(_) => {
            "what guests say to DHCP servers is kept from the system's own, which cannot be switched off"
        }
        None => "whether the system's DHCP server can be switched off is not known",
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
    fn root_opens_vmnet_and_an_entitlement_does_from_macos_26_on() {
        let signed = |version: &str, entitlement: &str| MacOs {
            version: Some(version.to_owned()),
            own: Some(Ok(format!("<key>{entitlement}</key><true/>"))),
            ..mac()
        };
        let root = MacOs {
            is_root: true,
            ..mac()
        };
        for (mac, status) in [
            (signed("26.2", VIRTUALIZATION), Status::Ok),
            (signed("26.2", VMNET), Status::Ok),
            (signed("15.2", VMNET), Status::Note),
            (signed("15.2", VIRTUALIZATION), Status::Fail),
            (root, Status::Ok),
        ] {
            assert_eq!(statuses(&mac)[2].1, status, "{mac:?}");
        }
    }

    #[test]
    fn who_may_not_use_vmnet_is_told_the_way_that_this_macos_has() {
        let fix_of = |version: &str| {
            let mac = MacOs {
                version: Some(version.to_owned()),
                ..mac()
            };
            let vmnet = judge(&mac).into_iter().find(|it| it.name == "vmnet").unwrap();
            assert_eq!(vmnet.status, Status::Fail);
            vmnet.fix.unwrap()
        };
        assert!(fix_of("26.0").starts_with("sign it: codesign "));
        assert!(fix_of("15.7").starts_with("install the helper"));
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
