//! A read-only TFTP server (RFC 1350), for firmware that boots from the network.
//!
//! It serves the files of one folder of the host's, which the runtime opens and reads when it is asked to: the engine sees names and
//! bytes. The options of RFC 2347 that there are: `blksize` (2348), `tsize` and `timeout` (2349), `windowsize` (7440). Blocks are as large
//! as asked for, but never larger than one packet of the link takes: firmware does not put fragments together.
//!
//! A request comes to port 69. Its transfer has a port of its own at the address that was asked (RFC 1350, 4), drawn at random, and is known
//! by both ends of the conversation: who speaks to that port from elsewhere is told "unknown transfer" and disturbs nobody. A request
//! that comes again, word by word, before its first block was acknowledged is the one that is under way; another one by the same client takes the place
//! of what it asked for before.
//!
//! | asked | answer |
//! |---|---|
//! | to read a regular file below the folder, mode `octet` | the file |
//! | to read anything else | error 1 when it is not there, 2 when it leads out of the folder or is no file |
//! | to write | error 2 |
//! | another mode | error 4 |
//! | more than [`TRANSFERS_MAX`] at a time, or [`TRANSFERS_OF_PORT`] by one port | error 0 |
//!
//! Bounds: these; a window of 32 blocks and 48 KiB in memory for each transfer; six tries of each window, after which the transfer is gone. Until a
//! client has acknowledged something one packet at a time is sent to it.
//!
//! Left out: mode `netascii`, which is for printers, and `mail`; writing; multicast (RFC 2090).

mod packet;
mod path;
mod transfer;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use atoll_wire::packet::{UDP_LEN, ip_len};
use atoll_wire::{Endpoint, Family};
use bytes::Bytes;

use self::packet::{ErrorCode, Reply, Request};
use self::transfer::{Output, Transfer};
use crate::rng::Rng;
use crate::{Config, FileError, Instant, PortId, TransferId};

/// Transfers at a time.
const TRANSFERS_MAX: usize = 128;
/// Those of them that came by one port.
const TRANSFERS_OF_PORT: usize = 16;
/// Ports of transfers: IANA's dynamic ones.
const FIRST_PORT: u16 = 49_152;
const PORTS: u16 = u16::MAX - FIRST_PORT;
/// Opcode and block number.
const HEAD: usize = 4;

/// What the server wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TftpOutput {
    /// Send a datagram.
    Send {
        from: Endpoint,
        to: Endpoint,
        message: Vec<u8>,
    },
    /// Open a file.
    Open { transfer: TransferId, path: String },
    /// Read so many bytes of it.
    Read {
        transfer: TransferId,
        offset: u64,
        len: u32,
    },
    /// The file is not needed any more.
    Close(TransferId),
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    /// The port by which it came.
    pub(crate) ingress: PortId,
    pub(crate) guest: Endpoint,
    /// Which end of ours it speaks to.
    pub(crate) ours: Endpoint,
}

/// One transfer's place.
#[derive(Debug)]
struct Slot {
    ingress: PortId,
    guest: Endpoint,
    /// Our end, with the transfer's own port.
    ours: Endpoint,
    /// What was asked for.
    request: Request,
    transfer: Transfer,
}

/// The server.
#[derive(Debug)]
pub(crate) struct TftpServer {
    is_on: bool,
    mtu: u16,
    last: u64,
    slots: BTreeMap<TransferId, Slot>,
    outputs: VecDeque<TftpOutput>,
    malformed: u64,
    refused: u64,
    given_up: u64,
}

impl TftpServer {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            is_on: config.tftp,
            mtu: config.mtu,
            last: 0,
            slots: BTreeMap::new(),
            outputs: VecDeque::new(),
            malformed: 0,
            refused: 0,
            given_up: 0,
        }
    }

    /// Whether a datagram to this end of ours is for this server.
    pub(crate) fn takes(&self, ours: Endpoint) -> bool {
        self.is_on && (ours.port == 69 || self.slots.values().any(|slot| slot.ours == ours))
    }

    /// What was counted, by name.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("tftp_malformed", self.malformed),
            ("tftp_refused", self.refused),
            ("tftp_given_up", self.given_up),
        ]
        .into_iter()
    }

    /// A datagram came that [`TftpServer::takes`].
    pub(crate) fn handle_datagram(&mut self, now: Instant, rng: &mut Rng, asker: Asker, payload: &[u8]) {
        let Asker { guest, ours, .. } = asker;
        if ours.port == 69 {
            return self.handle_request(rng, asker, payload);
        }
        let known = |(_, slot): &(&TransferId, &mut Slot)| slot.guest == guest && slot.ours == ours;
        let Some((&id, slot)) = self.slots.iter_mut().find(known) else {
            if Reply::parse(payload) == Some(Reply::Error) {
                // Errors are not answered, or two servers would go on for ever.
                return;
            }
            // RFC 1350, 4: it may be an old packet's copy, so the transfer goes on.
            return self.refuse((guest, ours), ErrorCode::UnknownTransfer, "unknown transfer");
        };
        match Reply::parse(payload) {
            Some(Reply::Ack(number)) => {
                let outputs = slot.transfer.handle_ack(now, number);
                self.carry_out(id, outputs);
            }
            Some(Reply::Error) => self.end(id),
            None => self.malformed += 1,
        }
    }

    fn handle_request(&mut self, rng: &mut Rng, asker: Asker, payload: &[u8]) {
        let Asker { ingress, guest, ours } = asker;
        let Some(request) = Request::parse(payload) else {
            self.malformed += 1;
            return;
        };
        let pair = (guest, ours);
        let path = match check(&request) {
            Ok(path) => path,
            Err((code, why)) => return self.refuse(pair, code, why),
        };
        let same = |slot: &Slot| slot.guest == guest && slot.ours.ip == ours.ip;
        let known = self.slots.iter().find(|(_, slot)| same(slot));
        match known {
            Some((_, slot)) if slot.request == request && !slot.transfer.is_under_way() => return,
            Some((&id, _)) => self.end(id),
            None => {}
        }
        let of_port = self.slots.values().filter(|slot| slot.ingress == ingress).count();
        if self.slots.len() >= TRANSFERS_MAX || of_port >= TRANSFERS_OF_PORT {
            return self.refuse(pair, ErrorCode::Undefined, "too many transfers");
        }
        let Some(port) = self.free_port(rng) else { return };
        self.last += 1;
        let id = TransferId(self.last);
        let room = usize::from(self.mtu) - ip_len(Family::of(guest.ip)) - UDP_LEN - HEAD;
        let room = u16::try_from(room).unwrap_or(u16::MAX);
        let slot = Slot {
            ingress,
            guest,
            ours: Endpoint::new(ours.ip, port),
            transfer: Transfer::new(&request.options, room),
            request,
        };
        self.slots.insert(id, slot);
        self.outputs.push_back(TftpOutput::Open { transfer: id, path });
    }

    /// The file of a transfer is open.
    pub(crate) fn handle_opened(&mut self, now: Instant, id: TransferId, size: u64) {
        match self.slots.get_mut(&id) {
            Some(slot) => {
                let outputs = slot.transfer.handle_opened(now, size);
                self.carry_out(id, outputs);
            }
            None => self.outputs.push_back(TftpOutput::Close(id)),
        }
    }

    /// Bytes of its file were read.
    pub(crate) fn handle_data(&mut self, now: Instant, id: TransferId, data: Bytes) {
        if let Some(slot) = self.slots.get_mut(&id) {
            let outputs = slot.transfer.handle_data(now, data);
            self.carry_out(id, outputs);
        }
    }

    /// Its file cannot be opened, or not be read.
    pub(crate) fn handle_failed(&mut self, id: TransferId, error: FileError) {
        let Some(slot) = self.slots.get(&id) else { return };
        let pair = (slot.guest, slot.ours);
        let (code, why) = match error {
            FileError::NotFound => (ErrorCode::NotFound, "no such file"),
            FileError::Forbidden => (ErrorCode::AccessViolation, "not for reading"),
            FileError::Other => (ErrorCode::Undefined, "the file cannot be read"),
        };
        self.refuse(pair, code, why);
        self.end(id);
    }

    /// The port is no more, and nobody behind it waits.
    pub(crate) fn forget_port(&mut self, port: PortId) {
        let gone = self.slots.iter().filter(|(_, slot)| slot.ingress == port);
        let gone: Vec<TransferId> = gone.map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.end(id));
    }

    /// The time of [`TftpServer::poll_timeout`] has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let due = |slot: &Slot| slot.transfer.due().is_some_and(|due| due <= now);
        let due = self.slots.iter().filter(|(_, slot)| due(slot));
        let due: Vec<TransferId> = due.map(|(id, _)| *id).collect();
        for id in due {
            if let Some(slot) = self.slots.get_mut(&id) {
                let outputs = slot.transfer.handle_timeout(now);
                self.given_up += u64::from(outputs.contains(&Output::Done));
                self.carry_out(id, outputs);
            }
        }
    }

    /// When [`TftpServer::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.slots.values().filter_map(|slot| slot.transfer.due()).min()
    }

    /// The next thing to be done.
    pub(crate) fn poll_output(&mut self) -> Option<TftpOutput> {
        self.outputs.pop_front()
    }

    fn carry_out(&mut self, id: TransferId, outputs: Vec<Output>) {
        for output in outputs {
            let Some(slot) = self.slots.get(&id) else { return };
            match output {
                Output::Packet(message) => self.outputs.push_back(TftpOutput::Send {
                    from: slot.ours,
                    to: slot.guest,
                    message,
                }),
                Output::Read { offset, len } => self.outputs.push_back(TftpOutput::Read {
                    transfer: id,
                    offset,
                    len,
                }),
                Output::Done => self.end(id),
            }
        }
    }

    fn end(&mut self, id: TransferId) {
        if self.slots.remove(&id).is_some() {
            self.outputs.push_back(TftpOutput::Close(id));
        }
    }

    fn refuse(&mut self, (guest, ours): (Endpoint, Endpoint), code: ErrorCode, why: &str) {
        self.refused += 1;
        self.outputs.push_back(TftpOutput::Send {
            from: ours,
            to: guest,
            message: packet::error(code, why),
        });
    }

    /// A port that no transfer has. There are far more than transfers, so a few draws find one.
    fn free_port(&self, rng: &mut Rng) -> Option<u16> {
        let mut draws = (0..32).map(|_| FIRST_PORT + rng.below(PORTS));
        let is_free = |port: &u16| self.slots.values().all(|slot| slot.ours.port != *port);
        draws.find(is_free)
    }
}

/// The path that a request means, or why it is refused.
fn check(request: &Request) -> Result<String, (ErrorCode, &'static str)> {
    if request.is_write {
        return Err((ErrorCode::AccessViolation, "this server is for reading"));
    }
    if request.mode != "octet" {
        return Err((ErrorCode::IllegalOperation, "octet is the only mode"));
    }
    path::below(&request.file).ok_or((ErrorCode::AccessViolation, "that is no path below the folder"))
}
