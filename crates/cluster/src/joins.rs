//! Networks of the file that are joined by `routes-to`, as each of them is told. Pure.

use std::net::IpAddr;

use atoll_runtime::JoinSpec;
use atoll_spec as spec;

use crate::options::{addresses, guest_mac};

/// A network that another is joined with; whether guests may begin conversations there, and whether guests there may here.
pub(crate) type Direction = (spec::Name, bool, bool);

/// The networks that one is joined with.
pub(crate) fn directions(cluster: &spec::Cluster, network: &spec::Network) -> Vec<Direction> {
    let direction = |other: &spec::Network| {
        let begins_there = network.routes_to.contains(&other.name);
        let begins_here = other.routes_to.contains(&network.name);
        (begins_there || begins_here).then(|| (other.name.clone(), begins_there, begins_here))
    };
    cluster.networks.iter().filter_map(direction).collect()
}

/// The same as the runtime is told.
pub(crate) fn joins(cluster: &spec::Cluster, network: &spec::Network) -> Vec<JoinSpec> {
    let join = |(name, begins_there, begins_here): Direction| {
        let other = cluster.network(name.as_str())?;
        let on_both = cluster
            .machines
            .iter()
            .filter(|machine| is_on(machine, &other.name))
            .flat_map(|machine| &machine.nics)
            .filter(|nic| nic.network == network.name)
            .map(guest_mac);
        Some(JoinSpec {
            network: name.to_string(),
            addresses: addresses(other),
            begins_there,
            begins_here,
            on_both: on_both.collect(),
        })
    };
    directions(cluster, network)
        .into_iter()
        .filter_map(join)
        .collect()
}

/// The machines that guests of a network may reach on others, with their addresses there. Those that are on the network itself have their
/// names there.
pub(crate) fn names(
    cluster: &spec::Cluster,
    network: &spec::Network,
) -> impl Iterator<Item = (String, Vec<IpAddr>)> {
    let others = cluster
        .machines
        .iter()
        .filter(|machine| !is_on(machine, &network.name));
    let named = others.map(|machine| (machine.name.to_string(), addresses_for(machine, network)));
    named.filter(|(_, addresses)| !addresses.is_empty())
}

/// Whether a machine that is reached at this NIC has its name on a network that it is not on.
pub(crate) fn is_known_on(machine: &spec::Machine, nic: &spec::Nic, network: &spec::Network) -> bool {
    network.routes_to.contains(&nic.network) && !is_on(machine, &network.name)
}

/// The addresses at which a machine is reached from a network that it is not on: those of its first NIC that can be.
pub(crate) fn addresses_for(machine: &spec::Machine, network: &spec::Network) -> Vec<IpAddr> {
    let mut reached = machine
        .nics
        .iter()
        .filter(|nic| network.routes_to.contains(&nic.network));
    let families = |address: &IpAddr| match address {
        IpAddr::V4(_) => network.subnet.is_some(),
        IpAddr::V6(_) => network.ipv6.is_some(),
    };
    let addresses = reached.next().into_iter().flat_map(spec::Nic::addresses);
    addresses.filter(families).collect()
}

fn is_on(machine: &spec::Machine, network: &spec::Name) -> bool {
    machine.nics.iter().any(|nic| nic.network == *network)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
networks:
  front: {subnet: 10.77.0.0/24, routes-to: back}
  back: {subnet: 10.78.0.0/24, ipv6: off}
machines:
  web: {image: debian, nics: [front]}
  both: {image: debian, nics: [front, back]}
  db: {image: debian, nics: [{network: back, address: 10.78.0.9}]}
";

    #[test]
    fn each_network_is_told_its_side_of_a_join() {
        let cluster = spec::parse(&spec::Source::new("atoll.yaml"), FILE).unwrap();
        let told = |network| joins(&cluster, cluster.network(network).unwrap()).remove(0);
        let (front, back) = (told("front"), told("back"));
        assert_eq!(
            (front.network.as_str(), front.begins_there, front.begins_here),
            ("back", true, false)
        );
        assert_eq!(
            (back.network.as_str(), back.begins_there, back.begins_here),
            ("front", false, true)
        );
        assert_eq!(front.addresses.to_string(), "10.78.0.0/24");
        let both = cluster.machine("both").unwrap();
        assert_eq!(front.on_both, [guest_mac(&both.nics[0])]);
        assert_eq!(back.on_both, [guest_mac(&both.nics[1])]);
    }

    #[test]
    fn names_lead_where_conversations_may_begin() {
        let cluster = spec::parse(&spec::Source::new("atoll.yaml"), FILE).unwrap();
        let names = |network| names(&cluster, cluster.network(network).unwrap()).collect::<Vec<_>>();
        let db = vec!["10.78.0.9".parse().unwrap()];
        assert_eq!(names("front"), [("db".to_owned(), db)]);
        assert_eq!(names("back"), []);
    }
}
