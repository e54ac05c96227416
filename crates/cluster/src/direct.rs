//! NICs that are attached to the host's LAN directly: QEMU moves their frames, and no network of ours sees them. On Linux that is a TAP, of
//! which the rest speaks; on macOS it is QEMU's own connection to vmnet (`vmnet`), for which nothing is opened here.
//!
//! The helper opens the TAP and undoes it when its session ends. QEMU inherits the TAP and the session's socket, so a session
//! lasts until both this daemon and QEMU let go of it: a daemon that is killed takes no network from a machine, and a machine that is
//! killed leaves nothing on the host for longer than the daemon runs. `Sessions` is what this daemon holds of them.
//!
//! A daemon that took machines over holds no session. When such a machine stops, the helper undoes its TAP a moment later; the
//! names of TAPs are in the state, so that `down` can wait for that (`wait_gone`).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use atoll_helper::{HelperError, HelperPath, Request, Session};
use atoll_qemu as qemu;
use atoll_spec as spec;

use crate::problem::{Kind, Problem};

/// How long the helper may take to undo a TAP whose QEMU has ended.
const UNDONE: Duration = Duration::from_secs(10);

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Why a NIC has no TAP.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// The helper did not give one.
    #[error("network {network}: {cause}")]
    Helper {
        /// The network's name.
        network: String,
        /// Why.
        cause: HelperError,
    },
    /// A state file from elsewhere may say so; a cluster file cannot.
    #[error("network {0} names no interface of the host")]
    NoInterface(String),
}

/// Whatever the helper says is for the person who wrote the file or manages the host: nothing has started yet.
impl From<DirectError> for Problem {
    fn from(error: DirectError) -> Self {
        let hint = match &error {
            DirectError::Helper { cause, .. } => cause.hint(),
            DirectError::NoInterface(_) => None,
        };
        Self::new(Kind::Configuration, error.to_string()).with_hint_if(hint)
    }
}

/// A TAP for one NIC.
#[derive(Debug)]
pub(crate) struct DirectTap {
    tap: OwnedFd,
    interface: String,
    session: Session,
}

impl DirectTap {
    /// Has the helper open it.
    fn open(network: &spec::Network, nic: &spec::Nic) -> Result<Self, DirectError> {
        let failed = |cause| DirectError::Helper {
            network: network.name.to_string(),
            cause,
        };
        let request =
            request(network, nic).ok_or_else(|| DirectError::NoInterface(network.name.to_string()))?;
        let path = HelperPath::find().map_err(failed)?;
        let mut session = Session::open(&path).map_err(failed)?;
        let granted = session.ask(&request).map_err(failed)?;
        Ok(Self {
            tap: granted.tap,
            interface: granted.grant.interface,
            session,
        })
    }
}

/// That this host has what the NICs of a machine are attached to. A pure look at the system's name: nothing is opened.
pub(crate) fn check_system(machine: &spec::Machine, system: &str) -> Result<(), Problem> {
    let is_vmnet = |nic: &&spec::Nic| nic.attach == spec::Attach::Vmnet;
    match machine.nics.iter().find(is_vmnet) {
        Some(nic) if system != "macos" => {
            let message = format!(
                "machine {}: its NIC on network {} is attached by vmnet, which only macOS has",
                machine.name, nic.network
            );
            Err(Problem::new(Kind::Configuration, message).with_hint("leave out attach: vmnet on this host"))
        }
        _ => Ok(()),
    }
}

/// QEMU's own way onto a network of macOS's; `None` where the network has no such mode.
pub(crate) fn vmnet(network: &spec::Network) -> Option<qemu::Vmnet> {
    let range = network.subnet.map(|subnet| qemu::VmnetAddresses {
        start: subnet.gateway(),
        // The last one is our services', where machines attached otherwise look for them.
        end: Ipv4Addr::from_bits(subnet.host_alias().to_bits().saturating_sub(1)),
        mask: subnet.netmask(),
    });
    let isolated = network.isolate;
    Some(match network.mode {
        spec::Mode::User => return None,
        spec::Mode::Bridged => qemu::Vmnet::Bridged {
            interface: network.interface.as_ref()?.to_string(),
        },
        spec::Mode::Shared => qemu::Vmnet::Shared {
            range,
            nat66_prefix: network.ipv6.map(|prefix| prefix.network()),
            isolated,
        },
        spec::Mode::Host => qemu::Vmnet::Host {
            range,
            network: None,
            isolated,
        },
    })
}

/// The TAPs of the NICs of a machine that want one, in their order.
pub(crate) fn open_all(
    cluster: &spec::Cluster,
    machine: &spec::Machine,
) -> Result<Vec<DirectTap>, DirectError> {
    let direct = machine.nics.iter().filter(|nic| nic.attach.needs_tap());
    let with_network = direct.filter_map(|nic| Some((cluster.network(nic.network.as_str())?, nic)));
    with_network
        .map(|(network, nic)| DirectTap::open(network, nic))
        .collect()
}

/// The numbers of the TAPs' descriptors, for the command line.
pub(crate) fn descriptors(taps: &[DirectTap]) -> Vec<RawFd> {
    taps.iter().map(|it| it.tap.as_raw_fd()).collect()
}

/// What QEMU is to inherit.
pub(crate) fn inherited(taps: &[DirectTap]) -> Vec<BorrowedFd<'_>> {
    taps.iter()
        .flat_map(|it| [it.tap.as_fd(), it.session.as_fd()])
        .collect()
}

/// What the host calls them.
pub(crate) fn interfaces(taps: &[DirectTap]) -> Vec<String> {
    taps.iter().map(|it| it.interface.clone()).collect()
}

/// What the file asks for, in the helper's words. Where it leaves the way open, the interface decides.
fn request(network: &spec::Network, nic: &spec::Nic) -> Option<Request> {
    let name = network.interface.as_ref()?.as_str();
    let interface = name.parse().ok()?;
    let is_bridge = || Path::new("/sys/class/net").join(name).join("bridge").is_dir();
    Some(match network.via {
        Some(spec::Via::Bridge) => Request::Bridge { bridge: interface },
        None if is_bridge() => Request::Bridge { bridge: interface },
        _ => Request::Macvtap {
            interface,
            mac: atoll_runtime::Mac(nic.mac.octets()),
        },
    })
}

/// The sessions that this daemon holds, by machine.
#[derive(Debug, Default)]
pub(crate) struct Sessions(BTreeMap<String, Vec<Session>>);

impl Sessions {
    /// Holds those of a machine that was started. QEMU has the TAPs; here they are closed.
    pub(crate) fn hold(&mut self, machine: &str, taps: Vec<DirectTap>) {
        let sessions = taps.into_iter().map(|it| it.session).collect();
        self.0.insert(machine.to_owned(), sessions);
    }

    /// Those of a machine that has ended, for the caller to drop, which waits until each is undone.
    pub(crate) fn take(&mut self, machine: &str) -> Vec<Session> {
        // What was made last is undone first.
        self.0.remove(machine).into_iter().flatten().rev().collect()
    }

    /// Lets go without ending them: the machines keep running. Dropping one would tell the helper that it is over.
    pub(crate) fn leave_to_machines(&mut self) {
        for session in std::mem::take(&mut self.0).into_values().flatten() {
            std::mem::forget(session);
        }
    }
}

/// Waits until the host has none of these interfaces, for a while.
pub(crate) fn wait_gone(interfaces: &[String]) {
    let deadline = Instant::now() + UNDONE;
    let is_there = |name: &String| Path::new("/sys/class/net").join(name).exists();
    while let Some(name) = interfaces.iter().find(|name| is_there(name)) {
        if Instant::now() >= deadline {
            return tracing::warn!(interface = %name, "it is still there");
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qemu::Vmnet;

    const FILE: &str = "
networks:
  lan: {mode: bridged, interface: en0}
  nat: {mode: shared, subnet: 10.1.2.0/24, ipv6: 'fd00:1:2:3::/64', isolate: true}
  own: {mode: host, subnet: 10.1.3.0/24, ipv6: off}
defaults: {image: debian}
machines:
  mac: {nics: [{network: lan, attach: vmnet}, {network: nat, attach: vmnet}]}
  any: {nics: [nat]}
";

    fn cluster() -> spec::Cluster {
        spec::parse(&spec::Source::new("atoll.yaml"), FILE).unwrap()
    }

    #[test]
    fn only_macos_has_vmnet() {
        let cluster = cluster();
        let [any, mac] = ["any", "mac"].map(|name| cluster.machine(name).unwrap());
        let refused = check_system(mac, "linux").unwrap_err();
        assert_eq!(
            refused.message,
            "machine mac: its NIC on network lan is attached by vmnet, which only macOS has"
        );
        assert!(refused.hint.is_some());
        assert!(check_system(mac, "macos").is_ok() && check_system(any, "linux").is_ok());
    }

    #[test]
    fn vmnet_is_asked_for_the_networks_own_mode_and_addresses() {
        let cluster = cluster();
        let asked = |name: &str| {
            let vmnet = vmnet(cluster.network(name).unwrap()).unwrap();
            vmnet.netdev("net0").into_string().unwrap()
        };
        assert_eq!(asked("lan"), "vmnet-bridged,id=net0,ifname=en0");
        assert_eq!(
            asked("nat"),
            "vmnet-shared,id=net0,start-address=10.1.2.1,end-address=10.1.2.253,subnet-mask=255.255.255.0,\
             nat66-prefix=fd00:1:2:3::,isolated=on"
        );
        assert_eq!(
            asked("own"),
            "vmnet-host,id=net0,start-address=10.1.3.1,end-address=10.1.3.253,subnet-mask=255.255.255.0"
        );
        assert!(matches!(
            vmnet(cluster.network("lan").unwrap()),
            Some(Vmnet::Bridged { .. })
        ));
    }

    #[test]
    fn what_vmnet_gives_is_not_known_and_needs_no_tap() {
        let cluster = cluster();
        let mac = cluster.machine("mac").unwrap();
        assert!(mac.nics.iter().all(|nic| nic.addresses().next().is_none()));
        assert_eq!(mac.served_nic(), None);
        assert!(!mac.nics.iter().any(|nic| nic.attach.needs_tap()));
    }
}
