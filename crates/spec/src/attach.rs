//! How NICs are attached, and what only some of them can do.
//!
//! Shared rings are virtio's. A NIC that is attached to a TAP directly goes past the network's switch, so it needs a network
//! whose switch is the host's own, and gets nothing of what ours does.

use crate::check::PlacedMachine;
use crate::cluster::Nic;
use crate::diagnostic::{Diagnostic, Report};
use crate::file::NicFile;
use crate::hardware::{Attach, NicModel};
use crate::lan::{Mode, Via};
use crate::name::Name;
use crate::networks::PlacedNetwork;
use crate::read::Spot;

/// How a NIC is attached to its network.
pub(crate) fn check(
    machine: &Name,
    nic: &NicFile,
    model: NicModel,
    placed: &PlacedNetwork,
    report: &mut Report,
) -> Attach {
    let Some(attach) = &nic.attach else {
        return Attach::default();
    };
    match attach.value {
        Attach::Stream => {}
        Attach::VhostUser if model.is_virtio() => {}
        Attach::VhostUser => {
            let machine = machine.as_str();
            let title =
                format!("a NIC of machine {machine:?} is {model}, which cannot be attached by vhost-user");
            let diagnostic = Diagnostic::new(title, attach.span.clone()).label("needs a virtio NIC");
            report.push(diagnostic.with_hint("leave out attach, or write model: virtio-net-pci".to_owned()));
        }
        Attach::Tap => check_direct(machine, attach, placed, report),
    }
    attach.value
}

fn check_direct(machine: &Name, attach: &Spot<Attach>, placed: &PlacedNetwork, report: &mut Report) {
    let network = &placed.network;
    let (machine, name) = (machine.as_str(), network.name.as_str());
    if placed.wrong {
        return;
    }
    let mut report_it = |why: String, hint: &str| {
        let title = format!("a NIC of machine {machine:?} cannot be attached to a TAP directly: {why}");
        report.push(Diagnostic::new(title, attach.span.clone()).with_hint(hint.to_owned()));
    };
    if network.mode != Mode::Bridged {
        let why = format!("network {name:?} is not bridged");
        report_it(
            why,
            "leave out attach, or give the network mode: bridged and an interface",
        );
    } else if network.via == Some(Via::ProxyArp) {
        let why = format!("on network {name:?} the host answers for it");
        report_it(why, "leave out attach, or choose via: bridge or via: macvtap");
    } else if network.via == Some(Via::NewBridge) {
        let why = format!("the bridge of network {name:?} is made when the network starts");
        report_it(why, "leave out attach, or choose via: bridge or via: macvtap");
    } else if network.isolate {
        let why = format!("network {name:?} could not keep it from the others");
        report_it(why, "leave out attach, or isolate");
    }
}

/// A forward leads by way of the network's switch, so its machine needs a NIC there.
pub(crate) fn check_forwards(machine: &PlacedMachine, nics: &[Nic], report: &mut Report) {
    let forward = machine.file.forwards.iter().flatten().next();
    if let Some(forward) =
        forward.filter(|_| !nics.is_empty() && nics.iter().all(|nic| nic.attach.is_direct()))
    {
        let title = format!(
            "machine {:?} has a forward, but all its NICs are attached to TAPs directly",
            machine.name.value.as_str()
        );
        let hint = "reach it at its address on the LAN, or leave out attach".to_owned();
        report.push(Diagnostic::new(title, forward.span.clone()).with_hint(hint));
    }
}
