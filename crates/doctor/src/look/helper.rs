//! Looks for the helper, asks it for what it cannot give, and reads its policy.
//!
//! It is asked for a TAP in a bridge that is not there: one that answers, refuses, by its policy or because there is no such
//! bridge, and either way nothing has happened. By that question `sudo`, a set-user-ID program and a socket of systemd's are all
//! tried in the same way as by a network.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use atoll_helper::{
    Asker, BridgeAcl, HelperError, HelperPath, InterfaceName, LinkRequest, Names, POLICY, Policy as Rules,
    Reach, Request, Session, trusted,
};
use atoll_runtime::Mac;

use super::lan::{bridges, default_interface};
use crate::judge::helper::{Helper, Policy, Said, Way};

/// A bridge that nobody has.
const NO_BRIDGE: &str = "atoll-doctor0";

/// Everything.
pub(crate) fn helper() -> Helper {
    Helper {
        way: way(),
        policy: policy(),
        policy_path: POLICY.to_owned(),
        is_root: rustix::process::geteuid().is_root(),
    }
}

fn way() -> Way {
    match HelperPath::find() {
        Ok(path) => Way::Found {
            way: path.to_string(),
            program: program(&path),
            answer: ask(&path).map_err(|error| said(&error)),
        },
        Err(HelperError::Missing { looked }) => {
            Way::Missing(looked.iter().map(|it| it.display().to_string()).collect())
        }
        Err(error) => Way::Unusable(said(&error)),
    }
}

fn said(error: &HelperError) -> Said {
    Said {
        sentence: error.to_string(),
        hint: error.hint(),
    }
}

/// The program's file with its owner and mode.
fn program(path: &HelperPath) -> Option<(String, u32, u32)> {
    let (HelperPath::Run(file) | HelperPath::Sudo { helper: file, .. }) = path else {
        return None;
    };
    let found = fs::metadata(file).ok()?;
    let mode = found.permissions().mode() & 0o7777;
    Some((file.display().to_string(), found.uid(), mode))
}

/// Whether it answers at all: a refusal is an answer.
fn ask(path: &HelperPath) -> Result<(), HelperError> {
    let Ok(bridge) = NO_BRIDGE.parse::<InterfaceName>() else {
        return Ok(());
    };
    let asked = Session::open(path).and_then(|mut session| session.ask(&Request::Bridge { bridge }));
    match asked {
        Ok(_) | Err(HelperError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn policy() -> Policy {
    let text = match trusted::read(Path::new(POLICY)) {
        Ok((text, _)) => text,
        Err(error) if error.is_missing() => return Policy::Missing,
        Err(trusted::Untrusted::Open(_, error)) => return Policy::Unreadable(error.to_string()),
        Err(error) => return Policy::Wrong(vec![error.to_string()]),
    };
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let names = Names::parse(&file("/etc/passwd"), &file("/etc/group"));
    match Rules::parse(POLICY, &text, &names) {
        Ok(rules) => Policy::Read(allowed(&rules)),
        Err(mistakes) => Policy::Wrong(mistakes.iter().map(ToString::to_string).collect()),
    }
}

/// What this user would be given, of all that can be asked for here.
fn allowed(rules: &Rules) -> Vec<String> {
    let asker = asker();
    let acl = BridgeAcl::load(&asker);
    let may = |request: &Request| rules.judge(&asker, &acl, request).is_ok();
    let wishes = wishes();
    let granted = wishes.into_iter().filter(|(_, request)| may(request));
    granted.map(|(words, _)| words).collect()
}

fn asker() -> Asker {
    let mut groups = vec![rustix::process::getegid().as_raw()];
    let others = rustix::process::getgroups().unwrap_or_default();
    groups.extend(others.into_iter().map(|group| group.as_raw()));
    Asker {
        uid: rustix::process::geteuid().as_raw(),
        groups,
    }
}

fn wishes() -> Vec<(String, Request)> {
    let mut wishes = Vec::new();
    for (words, reach) in [("shared", Reach::Shared), ("host", Reach::Host)] {
        if let Ok(network) = "doctor".parse() {
            let request = Request::Own {
                reach,
                network,
                subnet: None,
                prefix: None,
                mtu: 1500,
                outside: None,
            };
            wishes.push((words.to_owned(), request));
        }
    }
    if let Ok(network) = "doctor".parse() {
        let link = LinkRequest {
            network,
            subnet: None,
            address: None,
            prefix: None,
            address6: None,
            mtu: 1500,
            domain: None,
            resolvers: Vec::new(),
            guests: false,
        };
        wishes.push(("link".to_owned(), Request::Link(link)));
    }
    for bridge in bridges() {
        if let Ok(bridge) = bridge.name.parse::<InterfaceName>() {
            wishes.push((format!("bridged on {bridge}"), Request::Bridge { bridge }));
        }
    }
    if let Some(interface) = default_interface().and_then(|name| name.parse::<InterfaceName>().ok()) {
        let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
        let words = |way: &str| format!("bridged on {interface} by {way}");
        let macvtap = Request::Macvtap {
            interface: interface.clone(),
            mac,
        };
        let new_bridge = Request::NewBridge {
            interface: interface.clone(),
        };
        let proxy_arp = Request::ProxyArp {
            interface: interface.clone(),
            addresses: Vec::new(),
        };
        wishes.push((words("macvtap"), macvtap));
        wishes.push((words("new-bridge"), new_bridge));
        wishes.push((words("proxy-arp"), proxy_arp));
    }
    wishes
}
