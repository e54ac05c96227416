//! The server against a client that is driven by hand, and against one that is driven by chance.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Subnet;
use crate::rng::Rng;

const PORT: PortId = PortId(1);
const SERVER: Endpoint = at(1, 69);
const GUEST: Endpoint = at(2, 2000);

const fn at(host: u8, port: u16) -> Endpoint {
    Endpoint {
        ip: IpAddr::V4(Ipv4Addr::new(10, 77, 0, host)),
        port,
    }
}

/// A server with its files, and what it sent.
struct World {
    server: TftpServer,
    rng: Rng,
    now: Instant,
    files: BTreeMap<String, Vec<u8>>,
    open: BTreeMap<TransferId, String>,
    sent: VecDeque<(Endpoint, Endpoint, Vec<u8>)>,
}

impl World {
    fn new(files: &[(&str, usize)]) -> Self {
        let subnet = Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len: 24,
        };
        let mut config = Config::new(subnet);
        config.tftp = true;
        let content = |len: usize| (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
        Self {
            server: TftpServer::new(&config),
            rng: Rng::new([7; 32]),
            now: Instant::ZERO,
            files: files
                .iter()
                .map(|(name, len)| ((*name).to_owned(), content(*len)))
                .collect(),
            open: BTreeMap::new(),
            sent: VecDeque::new(),
        }
    }

    /// What the runtime does.
    fn settle(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                TftpOutput::Send { from, to, message } => self.sent.push_back((from, to, message)),
                TftpOutput::Open { transfer, path } => match self.files.get(&path) {
                    Some(file) => {
                        let size = file.len() as u64;
                        self.open.insert(transfer, path);
                        self.server.handle_opened(self.now, transfer, size);
                    }
                    None => self.server.handle_failed(transfer, FileError::NotFound),
                },
                TftpOutput::Read {
                    transfer,
                    offset,
                    len,
                } => {
                    assert!(len <= 49_152, "reads are bounded");
                    let file = &self.files[&self.open[&transfer]];
                    let start = file.len().min(usize::try_from(offset).unwrap());
                    let end = file.len().min(start + len as usize);
                    let data = Bytes::copy_from_slice(&file[start..end]);
                    self.server.handle_data(self.now, transfer, data);
                }
                TftpOutput::Close(transfer) => {
                    self.open.remove(&transfer);
                }
            }
        }
    }

    fn send(&mut self, from: Endpoint, to: Endpoint, message: &[u8]) {
        assert!(self.server.takes(to), "{to:?}");
        let asker = Asker {
            ingress: PORT,
            guest: from,
            ours: to,
        };
        self.server
            .handle_datagram(self.now, &mut self.rng, asker, message);
        self.settle();
    }

    fn ask(&mut self, file: &str, options: &str) {
        let message = [b"\0\x01", file.as_bytes(), b"\0octet\0", options.as_bytes()].concat();
        self.send(GUEST, SERVER, &message);
    }

    /// The next packet to the guest: whence, opcode, number, the rest.
    fn hears(&mut self) -> Option<(Endpoint, u8, u16, Vec<u8>)> {
        let (from, to, message) = self.sent.pop_front()?;
        assert_eq!(to, GUEST);
        let number = u16::from_be_bytes([message[2], message[3]]);
        Some((from, message[1], number, message[4..].to_vec()))
    }

    fn acknowledge(&mut self, to: Endpoint, number: u16) {
        let [a, b] = number.to_be_bytes();
        self.send(GUEST, to, &[0, 4, a, b]);
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.server.handle_timeout(due);
            self.settle();
        }
        self.now = end;
    }

    /// An error, by its code.
    fn is_refused(&mut self) -> u16 {
        let (_, opcode, code, _) = self.hears().unwrap();
        assert_eq!(opcode, 5);
        code
    }
}

#[test]
fn a_file_comes_block_by_block_each_after_the_one_before_was_acknowledged() {
    let mut world = World::new(&[("a/b", 1024)]);
    world.ask("/a/b", "");
    let mut lengths = Vec::new();
    while let Some((from, opcode, number, data)) = world.hears() {
        assert_eq!((opcode, usize::from(number)), (3, lengths.len() + 1));
        assert!(world.sent.is_empty(), "one at a time");
        assert!(from.port >= 49_152, "from a port of its own");
        lengths.push(data.len());
        world.acknowledge(from, number);
    }
    assert_eq!(lengths, [512, 512, 0]);
    assert!(world.open.is_empty());
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn options_are_offered_as_they_are_taken_and_the_file_waits_for_their_acknowledgement() {
    let mut world = World::new(&[("a", 10_000)]);
    world.ask(
        "a",
        "blksize\x009000\0tsize\x000\0windowsize\x004\0timeout\x003\0multicast\0\0",
    );
    let (from, message) = world
        .sent
        .pop_front()
        .map(|(from, _, message)| (from, message))
        .unwrap();
    assert_eq!(
        message,
        b"\0\x06blksize\x001468\0windowsize\x004\0timeout\x003\0tsize\x0010000\0"
    );
    assert!(world.hears().is_none());
    world.acknowledge(from, 0);
    let numbers: Vec<u16> = std::iter::from_fn(|| world.hears())
        .map(|(_, _, number, _)| number)
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4], "a whole window");
}

#[test]
fn a_loss_inside_a_window_is_made_good_from_there_on() {
    let mut world = World::new(&[("a", 512 * 9)]);
    world.ask("a", "windowsize\x004\0");
    let from = world.sent.pop_front().unwrap().0;
    world.acknowledge(from, 0);
    world.sent.clear();
    world.acknowledge(from, 2);
    let numbers = |world: &mut World| -> Vec<u16> {
        std::iter::from_fn(|| world.hears())
            .map(|(_, _, number, _)| number)
            .collect()
    };
    assert_eq!(numbers(&mut world), [3, 4, 5, 6]);
    world.acknowledge(from, 2);
    assert_eq!(
        numbers(&mut world),
        [3, 4, 5, 6],
        "the first of a window was lost"
    );
    world.acknowledge(from, 2);
    assert_eq!(numbers(&mut world), [0; 0], "but once only, until time is up");
}

#[test]
fn an_old_acknowledgement_does_not_double_every_block_from_then_on() {
    let mut world = World::new(&[("a", 2000)]);
    world.ask("a", "");
    let (from, ..) = world.hears().unwrap();
    world.acknowledge(from, 1);
    world.acknowledge(from, 1);
    assert_eq!(world.hears().map(|heard| heard.2), Some(2));
    assert!(world.hears().is_none());
}

#[test]
fn a_client_that_is_gone_is_given_up() {
    let mut world = World::new(&[("a", 2000)]);
    world.ask("a", "");
    world.wait(Duration::from_secs(600));
    let sent = std::iter::from_fn(|| world.hears()).count();
    assert_eq!(sent, 6);
    assert!(world.open.is_empty() && world.server.slots.is_empty());
}

#[test]
fn block_numbers_begin_again_after_65535() {
    let mut world = World::new(&[("a", 65_540 * 8 + 3)]);
    world.ask("a", "blksize\x008\0windowsize\x0032\0");
    let from = world.sent.pop_front().unwrap().0;
    world.acknowledge(from, 0);
    let mut bytes = Vec::new();
    while !world.sent.is_empty() {
        let mut last = 0;
        while let Some((_, _, number, data)) = world.hears() {
            bytes.extend(data);
            last = number;
        }
        world.acknowledge(from, last);
    }
    assert_eq!(bytes, world.files["a"]);
}

#[test]
fn what_is_not_for_reading_is_refused_with_its_reason() {
    let mut world = World::new(&[("a", 10)]);
    world.ask("b", "");
    assert_eq!(world.is_refused(), 1);
    world.ask("../a", "");
    assert_eq!(world.is_refused(), 2);
    world.send(GUEST, SERVER, b"\0\x02a\0octet\0");
    assert_eq!(world.is_refused(), 2);
    world.send(GUEST, SERVER, b"\0\x01a\0netascii\0");
    assert_eq!(world.is_refused(), 4);
    assert!(world.server.slots.is_empty());
}

#[test]
fn who_speaks_to_anothers_transfer_is_told_so_and_disturbs_nobody() {
    let mut world = World::new(&[("a", 2000)]);
    world.ask("a", "");
    let (from, ..) = world.hears().unwrap();
    for stranger in [at(2, 2001), at(3, 2000)] {
        world.send(stranger, from, &[0, 4, 0, 1]);
        let (_, to, message) = world.sent.pop_front().unwrap();
        assert_eq!((to, &message[..4]), (stranger, &[0, 5, 0, 5][..]));
        world.send(stranger, from, &[0, 5, 0, 0, 0]);
        assert!(world.sent.is_empty(), "an error is not answered");
    }
    world.acknowledge(from, 1);
    assert_eq!(world.hears().map(|heard| heard.2), Some(2));
}

#[test]
fn one_port_has_so_many_transfers_and_leaves_places_for_others() {
    let mut world = World::new(&[("a", 10)]);
    let mut ask = |ingress, port| {
        let asker = Asker {
            ingress: PortId(ingress),
            guest: at(2, port),
            ours: SERVER,
        };
        let (server, rng) = (&mut world.server, &mut world.rng);
        server.handle_datagram(world.now, rng, asker, b"\0\x01a\0octet\0");
        world.settle();
        let (_, _, message) = world.sent.pop_front().unwrap();
        message[1] == 3
    };
    let served = (1..1000).filter(|port| ask(1, *port)).count();
    assert_eq!(served, TRANSFERS_OF_PORT);
    assert!(ask(2, 5000));
    world.server.forget_port(PORT);
    world.settle();
    assert_eq!(world.open.len(), 1);
}

#[test]
fn a_request_that_comes_again_is_the_one_that_is_under_way() {
    let mut world = World::new(&[("a", 10)]);
    world.ask("a", "");
    world.ask("a", "");
    assert_eq!(world.sent.len(), 1);
    assert_eq!(world.server.slots.len(), 1);
}

#[test]
fn a_client_that_asks_for_something_else_before_it_acknowledged_anything_gets_that() {
    let mut world = World::new(&[("a", 10), ("b", 20)]);
    world.ask("a", "blksize\x001024\0");
    assert_eq!(world.hears().map(|(_, opcode, ..)| opcode), Some(6));
    // It does not know what to do with options.
    world.ask("a", "");
    assert_eq!(
        world.hears().map(|(_, opcode, _, data)| (opcode, data.len())),
        Some((3, 10))
    );
    world.ask("b", "");
    assert_eq!(
        world.hears().map(|(_, opcode, _, data)| (opcode, data.len())),
        Some((3, 20))
    );
    assert_eq!(world.server.slots.len(), 1);
    assert_eq!(world.open.len(), 1);
}

/// A link that loses one packet of twenty and doubles two, by a stream of numbers (SplitMix64): how often the next one arrives.
fn copies(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    match (mixed ^ (mixed >> 27)) % 20 {
        0 => 0,
        1 | 2 => 2,
        _ => 1,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A client of RFC 7440 gets the file over a link that loses and doubles packets, as long as it does not lose all of a window's tries.
    #[test]
    fn the_file_arrives_whole_over_a_bad_link(
        len in 0_usize..20_000,
        block in 64_usize..2000,
        window in 1_usize..40,
        mut chance in any::<u64>(),
    ) {
        let mut world = World::new(&[("a", len)]);
        world.ask("a", &format!("blksize\0{block}\0windowsize\0{window}\0"));
        let from = world.sent.pop_front().unwrap().0;
        let block = block.min(1468);
        let (mut bytes, mut expected, mut is_done) = (Vec::<u8>::new(), 1_u16, false);
        world.acknowledge(from, 0);
        for _ in 0..20_000 {
            let Some((_, opcode, number, data)) = world.hears() else {
                if is_done { break; }
                // The client waits, and says again what it has.
                world.wait(Duration::from_millis(700));
                continue;
            };
            prop_assert_eq!(opcode, 3);
            for _ in 0..copies(&mut chance) {
                let is_next = number == expected && !is_done;
                if is_next {
                    is_done = data.len() < block;
                    bytes.extend(&data);
                    expected = expected.wrapping_add(1);
                }
                let is_window_end = usize::from(number) % window.min(32) == 0;
                if (is_window_end || is_done || !is_next) && world.server.takes(from) {
                    world.acknowledge(from, expected.wrapping_sub(1));
                }
            }
        }
        prop_assert_eq!(&bytes, &world.files["a"]);
    }

    #[test]
    fn no_datagram_makes_it_panic_or_keep_what_it_should_not(
        messages in prop::collection::vec((0_u16..3, any::<bool>(), prop::collection::vec(0_u8..7, 0..20)), 0..60),
    ) {
        let mut world = World::new(&[("\u{1}", 3000)]);
        for (port, is_request, message) in messages {
            let ours = world.server.slots.values().next().map_or(SERVER, |slot| slot.ours);
            let to = if is_request { SERVER } else { ours };
            world.send(at(2, 2000 + port), to, &message);
        }
        prop_assert!(world.open.len() == world.server.slots.len());
        world.wait(Duration::from_secs(3600 * 6));
        prop_assert!(world.server.slots.is_empty() && world.open.is_empty());
    }
}
