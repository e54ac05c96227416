//! Datagrams that wait to be sent, and how few system calls send them.
//!
//! What the engine wants sent gathers here until it asks for nothing more, or until many wait. Then each socket's datagrams leave
//! as *messages*: a run of datagrams to one destination, all of one size but for the last, which may be shorter, is one message
//! that the kernel cuts again (`UDP_SEGMENT`); what makes no run is a message by itself. Many messages leave in one call. Nothing
//! is copied: a message consists of slices of the guests' own frames.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;

/// Datagrams that wait, of all sockets. More are no gain, and hold back the frames in which they lie.
const FULL: usize = 1024;

/// Datagrams in one message (Linux: `UDP_MAX_SEGMENTS`, 64 before 6.9).
const RUN: usize = 64;

/// Payload of one message: what the length of an IPv4 packet can tell.
const RUN_BYTES: usize = 65_507;

/// One datagram, or several that a guest sent as one.
#[derive(Clone, Debug)]
pub(crate) struct Datagram<K> {
    /// Which socket it leaves from.
    pub(crate) socket: K,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Bytes,
    /// Bytes of each datagram, where there are several.
    pub(crate) segment: Option<u16>,
}

/// All that wait, `K` being a socket's name.
#[derive(Debug)]
pub(crate) struct Outbox<K> {
    waiting: Vec<Datagram<K>>,
}

impl<K> Default for Outbox<K> {
    fn default() -> Self {
        Self { waiting: Vec::new() }
    }
}

impl<K: Copy + Ord> Outbox<K> {
    pub(crate) fn push(&mut self, mut datagram: Datagram<K>) {
        if let Some(segment) = datagram.segment {
            let most = RUN * usize::from(segment);
            while datagram.payload.len() > most {
                let payload = datagram.payload.split_to(most);
                self.waiting.push(Datagram {
                    payload,
                    ..datagram.clone()
                });
            }
        }
        self.waiting.push(datagram);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= FULL
    }

    /// Empty it: each socket's datagrams together and in order. `false` when it was empty.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(K, &[Datagram<K>])) -> bool {
        self.waiting.sort_by_key(|datagram| datagram.socket);
        let sockets = self.waiting.chunk_by(|one, next| one.socket == next.socket);
        for datagrams in sockets {
            if let Some(first) = datagrams.first() {
                send(first.socket, datagrams);
            }
        }
        let any = !self.waiting.is_empty();
        self.waiting.clear();
        any
    }
}

/// How datagrams leave.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    slices: Vec<IoSlice<'a>>,
    pub(crate) messages: Vec<Message>,
}

/// What the kernel gets as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) to: SocketAddr,
    /// How the kernel is to cut it.
    pub(crate) segment: Option<u16>,
    /// How many datagrams it is.
    pub(crate) datagrams: usize,
    /// The first of the [`Datagram`]s in it.
    pub(crate) first: usize,
    slices: Range<usize>,
    bytes: usize,
    /// Its last datagram is shorter than the others: none can follow.
    is_closed: bool,
}

impl<'a> Plan<'a> {
    /// For datagrams of one socket. `cuts`: the kernel cuts messages into datagrams.
    pub(crate) fn of<K>(waiting: &'a [Datagram<K>], cuts: bool) -> Self {
        let mut plan = Self {
            slices: Vec::with_capacity(waiting.len()),
            messages: Vec::new(),
        };
        for (number, datagram) in waiting.iter().enumerate() {
            let size = datagram.segment.map_or(datagram.payload.len(), usize::from);
            if !cuts && !datagram.payload.is_empty() {
                for payload in datagram.payload.chunks(size.max(1)) {
                    plan.begin(number, datagram.to, payload, payload.len());
                }
            } else if !cuts || !plan.append(datagram.to, &datagram.payload, size) {
                plan.begin(number, datagram.to, &datagram.payload, size);
            }
        }
        plan
    }

    /// The slices of a message.
    pub(crate) fn slices(&self, message: &Message) -> &[IoSlice<'a>] {
        &self.slices[message.slices.clone()]
    }

    /// A message that begins with datagrams of `size` bytes.
    fn begin(&mut self, first: usize, to: SocketAddr, payload: &'a [u8], size: usize) {
        let slice = self.slices.len();
        self.slices.push(IoSlice::new(payload));
        let datagrams = count(payload, size);
        self.messages.push(Message {
            to,
            segment: u16::try_from(size).ok().filter(|_| datagrams > 1),
            datagrams,
            first,
            slices: slice..slice + 1,
            bytes: payload.len(),
            is_closed: payload.is_empty() || !payload.len().is_multiple_of(size.max(1)),
        });
    }

    /// Make datagrams of `size` bytes part of the last message; `false` where they cannot be.
    fn append(&mut self, to: SocketAddr, payload: &'a [u8], size: usize) -> bool {
        let Some(last) = self.messages.last_mut().filter(|last| !last.is_closed) else {
            return false;
        };
        let run = last.segment.map_or(last.bytes, usize::from);
        let datagrams = count(payload, size);
        // Shorter datagrams can only be one, and end the run.
        let fits = size == run || (datagrams == 1 && payload.len() < run);
        if last.to != to
            || !fits
            || payload.is_empty()
            || last.datagrams + datagrams > RUN
            || last.bytes + payload.len() > RUN_BYTES
        {
            return false;
        }
        let Ok(segment) = u16::try_from(run) else {
            return false;
        };
        last.segment = Some(segment);
        last.datagrams += datagrams;
        last.bytes += payload.len();
        last.slices.end += 1;
        last.is_closed = !payload.len().is_multiple_of(run);
        self.slices.push(IoSlice::new(payload));
        true
    }
}

/// How many datagrams of `size` bytes a payload is.
fn count(payload: &[u8], size: usize) -> usize {
    payload.len().div_ceil(size.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.1:9";
    const THERE: &str = "192.0.2.2:9";

    fn waiting(of: &[(&str, usize, Option<u16>)]) -> Vec<Datagram<u8>> {
        let mut outbox = Outbox::default();
        for (number, (to, len, segment)) in (0_u8..).zip(of) {
            outbox.push(Datagram {
                socket: 0,
                to: to.parse().unwrap(),
                payload: vec![number; *len].into(),
                segment: *segment,
            });
        }
        outbox.waiting
    }

    /// Every datagram that a plan makes, and how many are in each message.
    fn carried_out(waiting: &[Datagram<u8>], cuts: bool) -> (Vec<(SocketAddr, Vec<u8>)>, Vec<usize>) {
        let plan = Plan::of(waiting, cuts);
        let mut datagrams = Vec::new();
        for message in &plan.messages {
            let bytes: Vec<u8> = plan
                .slices(message)
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            let size = message.segment.map_or(bytes.len().max(1), usize::from);
            if bytes.is_empty() {
                datagrams.push((message.to, Vec::new()));
            }
            datagrams.extend(bytes.chunks(size).map(|part| (message.to, part.to_vec())));
        }
        let counts = plan.messages.iter().map(|message| message.datagrams).collect();
        (datagrams, counts)
    }

    fn counts(of: &[(&str, usize, Option<u16>)]) -> Vec<usize> {
        carried_out(&waiting(of), true).1
    }

    #[test]
    fn a_run_ends_with_a_shorter_datagram_and_at_another_destination() {
        assert_eq!(counts(&[(HERE, 9, None); 5]), [5]);
        assert_eq!(
            counts(&[(HERE, 9, None), (HERE, 9, None), (HERE, 5, None), (HERE, 5, None)]),
            [3, 1]
        );
        assert_eq!(counts(&[(HERE, 5, None), (HERE, 9, None)]), [1, 1]);
        assert_eq!(
            counts(&[(HERE, 9, None), (THERE, 9, None), (HERE, 9, None)]),
            [1, 1, 1]
        );
        assert_eq!(counts(&[(HERE, 0, None), (HERE, 0, None)]), [1, 1]);
    }

    #[test]
    fn a_run_is_no_larger_than_the_kernel_takes() {
        assert_eq!(counts(&[(HERE, 9, None); 130]), [64, 64, 2]);
        assert_eq!(counts(&[(HERE, 30_000, None); 3]), [2, 1]);
        assert_eq!(counts(&[(HERE, 1280, Some(10))]), [64, 64]);
    }

    #[test]
    fn what_a_guest_sent_as_one_joins_what_it_sent_singly() {
        let one = (HERE, 10, None);
        assert_eq!(counts(&[one, (HERE, 25, Some(10)), one]), [4, 1]);
        assert_eq!(counts(&[(HERE, 30, Some(10)), one]), [4]);
        assert_eq!(counts(&[(HERE, 10, None), (HERE, 12, Some(6))]), [1, 2]);
    }

    #[test]
    fn without_the_kernels_help_each_datagram_is_a_message() {
        let of = waiting(&[
            (HERE, 25, Some(10)),
            (HERE, 0, None),
            (THERE, 10, None),
            (THERE, 10, None),
        ]);
        assert_eq!(carried_out(&of, false).1, [1; 6]);
    }

    #[test]
    fn both_ways_send_the_same_datagrams() {
        let sizes = [10, 10, 7, 0, 10, 10, 10, 12, 12, 1];
        let of: Vec<_> = (0..100)
            .map(|number| {
                let to = if number % 17 == 0 { THERE } else { HERE };
                let len = sizes[number % sizes.len()];
                (to, len * 3, (number % 5 == 0 && len > 1).then_some(10))
            })
            .collect();
        let of = waiting(&of);
        assert_eq!(carried_out(&of, true).0, carried_out(&of, false).0);
    }

    #[test]
    fn each_sockets_datagrams_are_together_and_in_order() {
        let mut outbox = Outbox::default();
        for (number, socket) in [(1_u8, 'a'), (2, 'b'), (3, 'a'), (4, 'b')] {
            outbox.push(Datagram {
                socket,
                to: HERE.parse().unwrap(),
                payload: vec![number].into(),
                segment: None,
            });
        }
        let mut order = Vec::new();
        outbox.drain(|socket, datagrams| {
            order.push((
                socket,
                datagrams.iter().map(|datagram| datagram.payload[0]).collect(),
            ));
        });
        assert_eq!(order, [('a', vec![1, 3]), ('b', vec![2, 4])]);
        assert!(!outbox.drain(|_, _| panic!("it is empty")));
    }
}
