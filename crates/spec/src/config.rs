//! What a cluster file says when nothing is left to say: a cluster file again, of which the same cluster comes out.
//!
//! It is made from the tree, not from the [`Cluster`], so that every key that a machine or a network has is in it. Included files, variables
//! and counts are resolved, machines that are not in use left out, `defaults` handed to every machine; and what follows from
//! names, which would be others elsewhere, is written down: subnets, MACs, addresses, MTUs.
//!
//! User-data that is a template stays one where it refers to what is known only later; of a file that is one the variables are kept
//! here, but not the number of its machine.

use crate::cluster::{Cluster, Machine, Network, Nic};
use crate::expand::{Expanded, add_late};
use crate::lan::Mode;
use crate::template::{Part, Template, escape};
use crate::yaml::{Kind, Node};

/// Sections that are written down anew, and what stands for others.
const RESOLVED: [&str; 7] = [
    "include",
    "name",
    "domain",
    "variables",
    "networks",
    "defaults",
    "machines",
];

/// The resolved tree of a file.
pub(crate) fn config(expanded: &Expanded, cluster: &Cluster) -> Node {
    let mut sections = vec![
        entry("name", scalar(cluster.name.as_str())),
        entry("domain", scalar(cluster.domain.as_str())),
    ];
    if cluster.machines.iter().any(|machine| machine.template.is_some()) {
        let known = expanded.values.known();
        let variables = known.map(|(name, value)| entry(name, quoted(value)));
        sections.push(entry("variables", map(variables.collect())));
    }
    let given = |name| expanded.root.get(name);
    let networks = cluster.networks.iter().map(|network| {
        let given = given("networks").and_then(|networks| networks.get(network.name.as_str()));
        entry(network.name.as_str(), self::network(network, given))
    });
    sections.push(entry("networks", map(networks.collect())));
    let others = entries(&expanded.root).iter();
    let others = others.filter(|(key, _)| !key.text().is_some_and(|key| RESOLVED.contains(&key)));
    sections.extend(others.map(|(key, value)| (key.clone(), escaped(value.clone()))));
    let defaults = given("defaults").map(entries).unwrap_or_default();
    let machines = cluster.machines.iter().map(|machine| {
        let given = given("machines").and_then(|machines| machines.get(machine.name.as_str()));
        entry(machine.name.as_str(), self::machine(machine, given, defaults))
    });
    sections.push(entry("machines", map(machines.collect())));
    map(sections)
}

fn network(network: &Network, given: Option<&Node>) -> Node {
    let mut node = map(given.map(entries).unwrap_or_default().to_vec());
    if network.mode != Mode::Bridged {
        let or_off = |value: Option<String>| scalar(&value.unwrap_or_else(|| "off".to_owned()));
        set(
            &mut node,
            "subnet",
            or_off(network.subnet.map(|it| it.to_string())),
        );
        set(&mut node, "ipv6", or_off(network.ipv6.map(|it| it.to_string())));
        set(&mut node, "mtu", scalar(&network.mtu.to_string()));
    }
    escaped(node)
}

fn machine(machine: &Machine, given: Option<&Node>, defaults: &[(Node, Node)]) -> Node {
    let mut node = map(given.map(entries).unwrap_or_default().to_vec());
    add_late(&mut node, defaults);
    if let Kind::Map(entries) = &mut node.kind {
        entries.retain(|(key, _)| key.text() != Some("profiles"));
    }
    set(&mut node, "arch", scalar(machine.arch.as_str()));
    set(&mut node, "cpus", scalar(&machine.cpus.to_string()));
    set(&mut node, "memory", scalar(&machine.memory.to_string()));
    set(&mut node, "accel", scalar(machine.accel.as_str()));
    let given = match node.get("nics").map(|nics| &nics.kind) {
        Some(Kind::List(nics)) => nics.clone(),
        _ => Vec::new(),
    };
    let nics = machine.nics.iter().enumerate();
    let nics = nics.map(|(index, nic)| self::nic(nic, given.get(index)));
    let nics = Node {
        span: 0..0,
        kind: Kind::List(nics.collect()),
    };
    set(&mut node, "nics", nics);
    let Kind::Map(entries) = &mut node.kind else {
        return node;
    };
    for (key, value) in entries.iter_mut() {
        if key.text() == Some("user-data") {
            user_data(value, machine);
        } else {
            *value = escaped(value.clone());
        }
    }
    node
}

fn nic(nic: &Nic, given: Option<&Node>) -> Node {
    let given = given.filter(|given| matches!(given.kind, Kind::Map(_)));
    let mut node = map(given.map(entries).unwrap_or_default().to_vec());
    set(&mut node, "network", scalar(nic.network.as_str()));
    set(&mut node, "model", scalar(nic.model.as_str()));
    set(&mut node, "attach", scalar(nic.attach.as_str()));
    set(&mut node, "mac", quoted(&nic.mac.to_string()));
    let addresses: Vec<_> = nic
        .addresses()
        .map(|address| quoted(&address.to_string()))
        .collect();
    if !addresses.is_empty() {
        let kind = Kind::List(addresses);
        set(&mut node, "address", Node { span: 0..0, kind });
    }
    node
}

/// Its path escaped, its text with what is known of its references.
fn user_data(node: &mut Node, machine: &Machine) {
    let Kind::Map(entries) = &mut node.kind else {
        return;
    };
    for (key, value) in entries {
        match (key.text(), &mut value.kind, &machine.template) {
            (Some("text"), Kind::Scalar { text, .. }, Some(values)) => {
                let Ok(template) = Template::parse(text) else {
                    continue;
                };
                let known = template.parts().iter().map(|part| match part {
                    Part::Literal(literal) => literal.replace('$', "$$"),
                    Part::Reference(reference) => match values.get(reference.path) {
                        Some(value) => value.replace('$', "$$"),
                        None => format!("${{{}}}", reference.path),
                    },
                });
                *text = known.collect();
            }
            (Some("text"), ..) => {}
            _ => *value = escaped(value.clone()),
        }
    }
}

/// The node, in which references will be looked for and none is.
fn escaped(mut node: Node) -> Node {
    match &mut node.kind {
        Kind::Null => {}
        Kind::Scalar { text, .. } => *text = escape(text).into_owned(),
        Kind::List(items) => items.iter_mut().for_each(|item| *item = escaped(item.clone())),
        Kind::Map(entries) => entries
            .iter_mut()
            .for_each(|(_, value)| *value = escaped(value.clone())),
    }
    node
}

fn entries(node: &Node) -> &[(Node, Node)] {
    match &node.kind {
        Kind::Map(entries) => entries,
        _ => &[],
    }
}

fn entry(key: &str, value: Node) -> (Node, Node) {
    (scalar(key), value)
}

fn map(entries: Vec<(Node, Node)>) -> Node {
    Node {
        span: 0..0,
        kind: Kind::Map(entries),
    }
}

/// Text that needs no quotes.
fn scalar(text: &str) -> Node {
    let text = text.to_owned();
    Node {
        span: 0..0,
        kind: Kind::Scalar { text, plain: true },
    }
}

/// Text that others than this parser might take for something else.
fn quoted(text: &str) -> Node {
    let text = text.to_owned();
    Node {
        span: 0..0,
        kind: Kind::Scalar { text, plain: false },
    }
}

/// Gives a mapping a value for a key, in the place of the one that it has.
fn set(node: &mut Node, key: &str, value: Node) {
    let Kind::Map(entries) = &mut node.kind else {
        return;
    };
    match entries.iter_mut().find(|(own, _)| own.text() == Some(key)) {
        Some((_, own)) => *own = value,
        None => entries.push(entry(key, value)),
    }
}
