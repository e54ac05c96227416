//! The rules of the host's own link to a network: guests are at its other end, and what they may is said here.
//!
//! | packet from the link | what becomes of it |
//! |---|---|
//! | neighbor discovery (not routers), IGMP and MLD | the kernel's: it checks them itself |
//! | from an address that is not the network's | dropped |
//! | of a conversation that the host began, or an error about one | the kernel's |
//! | any other, unless guests may begin | refused: a reset of TCP's, or "administratively prohibited" |
//!
//! Nothing is forwarded from the link or to it: it is the host's alone. `accept` here ends this chain, and not a firewall's of the host.

use std::io;

use super::super::netlink::{Message, Socket};
use super::{
    ACCEPT, DROP, Expression, FORWARD, IIFNAME, IPV4, IPV6, LOCAL_IN, NFPROTO, OIFNAME, Rejection, batch,
    established, interface, is_unknown, new_chain, new_rule, new_table, source4, source6,
};
use crate::{Ipv4Net, Ipv6Net};

/// NFT_META_L4PROTO.
const L4PROTO: u32 = 16;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
/// MLD's query (RFC 3810); neighbor solicitation and advertisement (RFC 4861).
const ADMITTED: [u8; 3] = [130, 135, 136];

/// A link, as its rules see it.
#[derive(Debug)]
pub(in super::super) struct LinkRules<'a> {
    pub(in super::super) table: &'a str,
    pub(in super::super) interface: &'a str,
    pub(in super::super) subnet: Option<Ipv4Net>,
    pub(in super::super) prefix: Option<Ipv6Net>,
    /// Guests may begin conversations.
    pub(in super::super) guests: bool,
}

/// Make a link's table.
pub(in super::super) fn add_link(socket: &mut Socket, rules: &LinkRules<'_>) -> io::Result<()> {
    match batch(socket, rules.changes(true)) {
        Err(error) if is_unknown(&error) => batch(socket, rules.changes(false)),
        outcome => outcome,
    }
}

impl LinkRules<'_> {
    fn changes(&self, is_owned: bool) -> Vec<Message> {
        let rule = |chain, rule: &Vec<Expression>| new_rule(self.table, chain, rule);
        let mut list = vec![
            new_table(self.table, is_owned),
            new_chain(self.table, "input", ("filter", LOCAL_IN, 0)),
            new_chain(self.table, "forward", ("filter", FORWARD, 0)),
        ];
        list.extend(self.input().iter().map(|it| rule("input", it)));
        list.extend(self.forward().iter().map(|it| rule("forward", it)));
        list
    }

    fn from(&self, then: Vec<Expression>) -> Vec<Expression> {
        [interface(IIFNAME, self.interface, true), then].concat()
    }

    fn input(&self) -> Vec<Vec<Expression>> {
        use Expression::{Reject, Verdict};
        let mut list: Vec<_> = ADMITTED
            .map(|kind| self.from([icmpv6(kind), vec![Verdict(ACCEPT)]].concat()))
            .into();
        list.push(self.from([elsewhere4(self.subnet), vec![Verdict(DROP)]].concat()));
        list.push(self.from([elsewhere6(self.prefix), vec![Verdict(DROP)]].concat()));
        if self.guests {
            return list;
        }
        list.push(self.from([protocol(IGMP), vec![Verdict(ACCEPT)]].concat()));
        list.push(self.from([established(), vec![Verdict(ACCEPT)]].concat()));
        list.push(self.from([protocol(TCP), vec![Reject(Rejection::Reset)]].concat()));
        list.push(self.from(vec![Reject(Rejection::Prohibited)]));
        list
    }

    fn forward(&self) -> Vec<Vec<Expression>> {
        let from = self.from(vec![Expression::Verdict(DROP)]);
        let to = interface(OIFNAME, self.interface, true);
        vec![from, [to, vec![Expression::Verdict(DROP)]].concat()]
    }
}

fn protocol(number: u8) -> Vec<Expression> {
    vec![Expression::Meta(L4PROTO), Expression::Compare(vec![number], true)]
}

fn icmpv6(kind: u8) -> Vec<Expression> {
    let first = vec![Expression::Transport(0, 1), Expression::Compare(vec![kind], true)];
    [protocol(ICMPV6), first].concat()
}

fn family(number: u8) -> Vec<Expression> {
    vec![Expression::Meta(NFPROTO), Expression::Compare(vec![number], true)]
}

/// Of IPv4, from none of the network's addresses.
fn elsewhere4(subnet: Option<Ipv4Net>) -> Vec<Expression> {
    let Some(subnet) = subnet else {
        return family(IPV4);
    };
    unequal(source4(subnet.address(), subnet.len()))
}

/// Of IPv6, neither from one of the network's addresses nor from a link-local one.
fn elsewhere6(prefix: Option<Ipv6Net>) -> Vec<Expression> {
    let Some(prefix) = prefix else {
        return family(IPV6);
    };
    let local = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    [
        unequal(source6(prefix.address(), prefix.len())),
        unequal(source6(local, 10)),
    ]
    .concat()
}

/// The same with its last comparison turned round.
fn unequal(mut match_of_source: Vec<Expression>) -> Vec<Expression> {
    if let Some(Expression::Compare(_, is_it)) = match_of_source.last_mut() {
        *is_it = false;
    }
    match_of_source
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(guests: bool) -> LinkRules<'static> {
        LinkRules {
            table: "atoll_0",
            interface: "atoll-lan",
            subnet: "10.77.0.0/24".parse().ok(),
            prefix: "fd77::/64".parse().ok(),
            guests,
        }
    }

    #[test]
    fn the_last_word_about_guests_is_a_refusal_unless_they_may_begin() {
        let shut = rules(false).input();
        assert_eq!(
            shut.last().and_then(|it| it.last()),
            Some(&Expression::Reject(Rejection::Prohibited))
        );
        let open = rules(true).input();
        assert_eq!(open.len(), ADMITTED.len() + 2);
        assert!(shut.starts_with(&open), "what is foreign is dropped in both");
    }

    #[test]
    fn all_rules_are_about_the_link_and_nothing_else() {
        let name = |key| interface(key, "atoll-lan", true);
        for rule in rules(false).input() {
            assert!(rule.starts_with(&name(IIFNAME)));
        }
        let forward = rules(false).forward();
        assert!(forward[0].starts_with(&name(IIFNAME)) && forward[1].starts_with(&name(OIFNAME)));
    }

    #[test]
    fn a_family_that_the_network_does_not_have_is_dropped_as_a_whole() {
        assert_eq!(elsewhere6(None), family(IPV6));
        assert_eq!(elsewhere4(None), family(IPV4));
        let not_ours = elsewhere4("10.77.0.0/24".parse().ok());
        assert_eq!(
            not_ours.last(),
            Some(&Expression::Compare(vec![10, 77, 0, 0], false))
        );
    }
}
