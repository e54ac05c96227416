//! Tables of nf_tables (linux/netfilter/nf_tables.h), without the `nft` program: each network of its own has one table.
//!
//! A table belongs to the socket by which it was made, where the kernel knows that (Linux 5.12): it goes when the socket does, also
//! when this process is killed, and nobody else changes it meanwhile. A change is a batch, which is done as a whole or not at all.
//!
//! `accept` ends one chain; a chain of somebody else's that drops is asked all the same. Whether there is one is looked at, and told.

mod link;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;

use super::netlink::{ACK, CREATE, DUMP, EXCL, Message, Socket, find, text_of};
use crate::{Ipv4Net, Ipv6Net, Reach};

pub(super) use link::{LinkRules, add_link};

const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const UNSPECIFIED: u8 = 0;
/// NFPROTO_INET: both families.
const INET: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

const LOCAL_IN: u32 = 1;
const FORWARD: u32 = 2;
const POST_ROUTING: u32 = 4;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

/// A network of ours, as its rules see it.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) table: &'a str,
    pub(super) bridge: &'a str,
    pub(super) reach: Reach,
    pub(super) subnet: Option<Ipv4Net>,
    pub(super) prefix: Option<Ipv6Net>,
    pub(super) outside: Option<&'a str>,
}

fn message(kind: u16, flags: u16, family: u8) -> Message {
    let mut message = Message::new(kind, flags);
    // Family, version, and a number in the network's order.
    message.put(&[family, 0, 0, 0]);
    message
}

/// The marks around a batch are for the subsystem whose number they hold.
fn mark(kind: u16) -> Message {
    let mut message = Message::new(kind, 0);
    message.put(&[UNSPECIFIED, 0, 0, 10]);
    message
}

fn batch(socket: &mut Socket, changes: Vec<Message>) -> io::Result<()> {
    let answers = changes.len();
    let mut all = vec![mark(BATCH_BEGIN)];
    all.extend(changes);
    all.push(mark(BATCH_END));
    socket.requests(all, answers)
}

/// A socket, and the tables that go with it.
pub(super) fn socket() -> io::Result<Socket> {
    Socket::open(Some(NETFILTER))
}

/// Make a network's table.
pub(super) fn add(socket: &mut Socket, rules: &Rules<'_>) -> io::Result<()> {
    match batch(socket, rules.changes(true)) {
        Err(error) if is_unknown(&error) => batch(socket, rules.changes(false)),
        outcome => outcome,
    }
}

/// What a kernel says that does not know of owners.
fn is_unknown(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::OPNOTSUPP | Errno::INVAL))
}

/// Delete a table of ours; one that is not there is as good.
pub(super) fn delete(socket: &mut Socket, table: &str) -> io::Result<()> {
    let mut change = message(DELETE_TABLE, ACK, INET);
    change.text(1, table);
    match batch(socket, vec![change]) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => Ok(()),
        outcome => outcome,
    }
}

fn new_table(name: &str, is_owned: bool) -> Message {
    const OWNER: u32 = 2;
    let mut table = message(NEW_TABLE, ACK | CREATE | EXCL, INET);
    table.text(1, name);
    table.attribute(2, &(if is_owned { OWNER } else { 0 }).to_be_bytes());
    table
}

fn new_chain(table: &str, name: &str, (kind, hook, priority): (&str, u32, i32)) -> Message {
    let mut chain = message(NEW_CHAIN, ACK | CREATE | EXCL, INET);
    chain.text(1, table);
    chain.text(3, name);
    chain.nest(4, |it| {
        it.attribute(1, &hook.to_be_bytes());
        it.attribute(2, &priority.to_be_bytes());
    });
    chain.attribute(5, &ACCEPT.to_be_bytes());
    chain.text(7, kind);
    chain
}

fn new_rule(table: &str, chain: &str, expressions: &[Expression]) -> Message {
    // Appended: NLM_F_APPEND.
    let mut rule = message(NEW_RULE, ACK | CREATE | super::netlink::APPEND, INET);
    rule.text(1, table);
    rule.text(2, chain);
    rule.nest(4, |list| {
        for expression in expressions {
            list.nest(1, |it| expression.write(it));
        }
    });
    rule
}

impl Rules<'_> {
    fn changes(&self, is_owned: bool) -> Vec<Message> {
        let mut list = vec![
            new_table(self.table, is_owned),
            new_chain(self.table, "forward", ("filter", FORWARD, 0)),
        ];
        list.extend(
            self.forward()
                .into_iter()
                .map(|rule| new_rule(self.table, "forward", &rule)),
        );
        if self.reach == Reach::Shared {
            // Priority `srcnat`.
            list.push(new_chain(self.table, "postrouting", ("nat", POST_ROUTING, 100)));
            list.extend(
                self.masquerade()
                    .into_iter()
                    .map(|rule| new_rule(self.table, "postrouting", &rule)),
            );
        }
        list
    }

    /// Guests reach each other; in `shared` the world, and what answers them; nothing else passes.
    fn forward(&self) -> Vec<Vec<Expression>> {
        use Expression::Verdict;
        let from = || interface(IIFNAME, self.bridge, true);
        let to = || interface(OIFNAME, self.bridge, true);
        let mut list = vec![[from(), to(), vec![Verdict(ACCEPT)]].concat()];
        if self.reach == Reach::Shared {
            let out = self
                .outside
                .map(|name| interface(OIFNAME, name, true))
                .unwrap_or_default();
            list.push([from(), out, vec![Verdict(ACCEPT)]].concat());
            list.push([to(), established(), vec![Verdict(ACCEPT)]].concat());
        }
        list.push([from(), vec![Verdict(DROP)]].concat());
        list.push([to(), vec![Verdict(DROP)]].concat());
        list
    }

    fn masquerade(&self) -> Vec<Vec<Expression>> {
        let v4 = self.subnet.map(|net| source4(net.address(), net.len()));
        let v6 = self.prefix.map(|net| source6(net.address(), net.len()));
        let rule = |source: Vec<Expression>| {
            let elsewhere = interface(OIFNAME, self.bridge, false);
            [source, elsewhere, vec![Expression::Masquerade]].concat()
        };
        v4.into_iter().chain(v6).map(rule).collect()
    }
}

const IIFNAME: u32 = 6;
const OIFNAME: u32 = 7;
const NFPROTO: u32 = 15;

/// NFT_REJECT_TCP_RST, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED.
const TCP_RESET: u32 = 1;
const ICMPX: u32 = 2;
const ADMINISTRATIVELY_PROHIBITED: u8 = 3;

/// What rules are made of. Each reads or writes register one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    /// Something that is known of the packet.
    Meta(u32),
    /// Bytes of the network header: offset, length.
    Payload(u32, u32),
    /// The same of the transport's header.
    Transport(u32, u32),
    Mask(Vec<u8>),
    /// Goes on when the register has this value, or when it has not.
    Compare(Vec<u8>, bool),
    /// The state of the packet's conversation, as bits.
    State,
    Verdict(u32),
    Masquerade,
    /// Dropped, and told so: a reset of TCP's, or that it is prohibited.
    Reject(Rejection),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejection {
    Reset,
    Prohibited,
}

fn interface(key: u32, name: &str, is_it: bool) -> Vec<Expression> {
    let mut padded = [0; 16];
    padded
        .iter_mut()
        .zip(name.bytes())
        .for_each(|(place, byte)| *place = byte);
    vec![Expression::Meta(key), Expression::Compare(padded.to_vec(), is_it)]
}

/// Of a conversation that was begun from the other side: state established or related (`NF_CT_STATE_BIT`). Registers are in
/// the machine's order where they hold numbers of the kernel's.
fn established() -> Vec<Expression> {
    let bits: u32 = 1 << 1 | 1 << 2;
    vec![
        Expression::State,
        Expression::Mask(bits.to_ne_bytes().to_vec()),
        Expression::Compare(vec![0; 4], false),
    ]
}

fn source4(address: Ipv4Addr, len: u8) -> Vec<Expression> {
    let mask = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
    source(IPV4, (12, 4), &mask.to_be_bytes(), &address.octets())
}

fn source6(address: Ipv6Addr, len: u8) -> Vec<Expression> {
    let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
    source(IPV6, (8, 16), &mask.to_be_bytes(), &address.octets())
}

fn source(family: u8, (offset, len): (u32, u32), mask: &[u8], address: &[u8]) -> Vec<Expression> {
    vec![
        Expression::Meta(NFPROTO),
        Expression::Compare(vec![family], true),
        Expression::Payload(offset, len),
        Expression::Mask(mask.to_vec()),
        Expression::Compare(address.to_vec(), true),
    ]
}

impl Expression {
    fn write(&self, message: &mut Message) {
        let (name, fill): (&str, &dyn Fn(&mut Message)) = match self {
            Self::State => ("ct", &|it| numbers(it, &[(1, 1), (2, 0)])),
            Self::Meta(key) => ("meta", &|it| numbers(it, &[(1, 1), (2, *key)])),
            Self::Payload(offset, len) => ("payload", &|it| {
                numbers(it, &[(1, 1), (2, 1), (3, *offset), (4, *len)]);
            }),
            Self::Transport(offset, len) => ("payload", &|it| {
                numbers(it, &[(1, 1), (2, 2), (3, *offset), (4, *len)]);
            }),
            Self::Mask(mask) => ("bitwise", &|it| masked(it, mask)),
            Self::Compare(value, is_it) => ("cmp", &|it| {
                numbers(it, &[(1, 1), (2, u32::from(!*is_it))]);
                it.nest(3, |data| data.attribute(1, value));
            }),
            Self::Verdict(code) => ("immediate", &|it| {
                numbers(it, &[(1, 0)]);
                it.nest(2, |data| data.nest(2, |verdict| numbers(verdict, &[(1, *code)])));
            }),
            Self::Masquerade => ("masq", &|_| {}),
            Self::Reject(Rejection::Reset) => ("reject", &|it| numbers(it, &[(1, TCP_RESET)])),
            Self::Reject(Rejection::Prohibited) => ("reject", &|it| {
                numbers(it, &[(1, ICMPX)]);
                it.attribute(2, &[ADMINISTRATIVELY_PROHIBITED]);
            }),
        };
        message.text(1, name);
        message.nest(2, fill);
    }
}

fn numbers(message: &mut Message, pairs: &[(u16, u32)]) {
    for (kind, value) in pairs {
        message.attribute(*kind, &value.to_be_bytes());
    }
}

fn masked(message: &mut Message, mask: &[u8]) {
    let len = u32::try_from(mask.len()).unwrap_or(0);
    numbers(message, &[(1, 1), (2, 1), (3, len)]);
    message.nest(4, |data| data.attribute(1, mask));
    message.nest(5, |data| data.attribute(1, &vec![0; mask.len()]));
}

/// Chains of others that drop what no rule of theirs accepts, each in a sentence: guests may not get through there.
pub(super) fn obstacles(socket: &mut Socket) -> io::Result<Vec<String>> {
    let mut list = Vec::new();
    for body in socket.dump(&message(GET_CHAIN, DUMP, UNSPECIFIED))? {
        list.extend(body.get(4..).and_then(|all| obstacle(body[0], all)));
    }
    for body in socket.dump(&message(GET_TABLE, DUMP, UNSPECIFIED))? {
        let name = body.get(4..).and_then(|all| find(all, 1)).map(text_of);
        if name.as_deref() == Some("firewalld") {
            list.push(
                "firewalld is active: it rejects what its zones do not forward, unless the bridge is put into a zone such as `trusted`"
                    .to_owned(),
            );
        }
    }
    list.dedup();
    Ok(list)
}

fn obstacle(family: u8, all: &[u8]) -> Option<String> {
    let family = match family {
        INET => "inet",
        IPV4 => "ip",
        IPV6 => "ip6",
        _ => return None,
    };
    let is = |value: Option<&[u8]>, wanted: u32| value == Some(&wanted.to_be_bytes()[..]);
    let hook = find(all, 4)?;
    let drops = is(find(hook, 1), FORWARD) && is(find(all, 5), DROP);
    let (table, chain) = (text_of(find(all, 1)?), text_of(find(all, 3)?));
    drops.then(|| {
        format!(
            "the chain {chain} of the table {family} {table} drops what none of its rules accepts: guests' packets to the world need one there"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_the_host_only_has_no_way_out_and_no_translation() {
        let rules = |reach| Rules {
            table: "atoll_0",
            bridge: "atollb0",
            reach,
            subnet: "10.0.0.0/24".parse().ok(),
            prefix: "fd00::/64".parse().ok(),
            outside: None,
        };
        assert_eq!(rules(Reach::Host).forward().len(), 3);
        assert_eq!(rules(Reach::Host).changes(true).len(), 5);
        assert_eq!(rules(Reach::Shared).masquerade().len(), 2);
        let last = rules(Reach::Shared).forward().pop().unwrap();
        assert_eq!(last.last(), Some(&Expression::Verdict(DROP)));
    }

    #[test]
    fn only_a_chain_that_drops_what_is_forwarded_is_an_obstacle() {
        let chain = |hook: u32, policy: u32| {
            let mut message = Message::new(0, 0);
            message.text(1, "filter");
            message.text(3, "FORWARD");
            message.nest(4, |it| it.attribute(1, &hook.to_be_bytes()));
            message.attribute(5, &policy.to_be_bytes());
            message
        };
        let told = |hook, policy| obstacle(IPV4, &chain(hook, policy).attributes());
        assert!(
            told(FORWARD, DROP)
                .unwrap()
                .contains("FORWARD of the table ip filter")
        );
        assert_eq!(told(FORWARD, ACCEPT), None);
        assert_eq!(told(POST_ROUTING, DROP), None);
    }
}
