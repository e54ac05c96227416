//! A resolver with more to say than [`Resolver`](crate::Resolver): over UDP and TCP, signed answers and long ones, and a memory of what it was asked.
//!
//! | first label | answer |
//! |---|---|
//! | `signed` | its address with AD set, and an RRSIG where DO is; a DNSKEY where that is asked for |
//! | `long` | [`LONG`] TXT records, cut short over UDP where the client takes less |
//! | `silent` | none |
//! | any other | its address for A, no data for the rest |

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many TXT records a long answer has, of 100 bytes each.
pub const LONG: usize = 20;

const HEADER: usize = 12;
const A: u16 = 1;
const TXT: u16 = 16;
const DNSKEY: u16 = 48;
const RRSIG: u16 = 46;

/// A question as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its name, in its own letter case.
    pub name: String,
    /// Its id.
    pub id: u16,
    /// The port that it came from.
    pub port: u16,
    /// Over TCP.
    pub tcp: bool,
}

/// It answers until the test's process ends.
#[derive(Debug)]
pub struct Zone {
    /// Where it listens.
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Zone {
    /// Starts it at an address of this host's, such as `127.0.0.1:0`; every name that it knows is `192.0.2.LAST`.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(at: &str, last: u8) -> io::Result<Self> {
        let socket = UdpSocket::bind(at)?;
        let address = socket.local_addr()?;
        let listener = TcpListener::bind(address)?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok((len, from)) = socket.recv_from(&mut message) {
                note(&notes, &message[..len], from, false);
                if let Some(answer) = answer(&message[..len], last, false) {
                    // A client that is gone misses nothing.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        let notes = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that breaks off is no concern of the others.
                let _ = serve(stream, &notes, last);
            }
        });
        Ok(Self { address, heard })
    }

    /// What it was asked so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: std::net::TcpStream, notes: &Mutex<Vec<Heard>>, last: u8) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let from = stream.peer_addr()?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message)?;
        note(notes, &message, from, true);
        if let Some(answer) = answer(&message, last, true) {
            let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
            stream.write_all(&[&length.to_be_bytes(), &answer[..]].concat())?;
        }
    }
}

fn note(notes: &Mutex<Vec<Heard>>, message: &[u8], from: SocketAddr, tcp: bool) {
    let Some((name, _)) = labels(message) else { return };
    let id = u16::from_be_bytes([message[0], message[1]]);
    let heard = Heard {
        name: name.join("."),
        id,
        port: from.port(),
        tcp,
    };
    notes.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
}

/// The labels of the question, and where the question ends.
fn labels(message: &[u8]) -> Option<(Vec<String>, usize)> {
    let mut at = HEADER;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels, at + 4));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        at += length;
    }
}

/// One record of the question's name, for an hour.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    let mut record = vec![0xc0, 12];
    for field in [kind, 1, 0, 3600, length] {
        record.extend(field.to_be_bytes());
    }
    record.extend(data);
    record
}

/// What covers a record of a type (RFC 4034, 3.1), with a signature that nobody could check.
fn signature(covers: u16) -> Vec<u8> {
    let mut data = covers.to_be_bytes().to_vec();
    data.extend([13, 2, 0, 0, 14, 16]);
    data.extend([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0x30, 0x39]);
    data.extend(b"\x07example\x00");
    data.extend((0..64).collect::<Vec<u8>>());
    record(RRSIG, &data)
}

/// The answer to a question (RFC 1035, 4.1; RFC 6891).
fn answer(question: &[u8], last: u8, tcp: bool) -> Option<Vec<u8>> {
    let (labels, end) = labels(question)?;
    let kind = u16::from_be_bytes([*question.get(end - 4)?, *question.get(end - 3)?]);
    // An OPT record directly behind the question: root, type 41, payload, flags.
    let edns = question.get(end..end + 11).filter(|opt| opt[..3] == [0, 0, 41]);
    let wants_signatures = edns.is_some_and(|opt| opt[7] & 0x80 != 0);
    let room = edns.map_or(512, |opt| usize::from(u16::from_be_bytes([opt[3], opt[4]])));
    let address = || record(A, &[192, 0, 2, last]);
    let mut records: Vec<Vec<u8>> = Vec::new();
    let first = labels.first()?.to_ascii_lowercase();
    match (first.as_str(), kind) {
        ("silent", _) => return None,
        ("signed", DNSKEY) => records.push(record(DNSKEY, &[&[1, 1, 3, 13], &[7; 64][..]].concat())),
        ("long", TXT) => records.extend((0..LONG).map(|_| record(TXT, &[99; 100]))),
        (_, A) => records.push(address()),
        _ => {}
    }
    if first == "signed" && wants_signatures && !records.is_empty() {
        records.push(signature(kind));
    }
    let message = |records: &[Vec<u8>], flags: u8| {
        let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
        let mut bytes = question[..2].to_vec();
        let ad = if first == "signed" { 0x20 } else { 0 };
        bytes.extend([0x81 | flags, 0x80 | ad, 0, 1]);
        bytes.extend(count.to_be_bytes());
        bytes.extend([0, 0, 0, u8::from(edns.is_some())]);
        bytes.extend(&question[HEADER..end]);
        bytes.extend(records.concat());
        if edns.is_some() {
            let signatures = if wants_signatures { 0x80 } else { 0 };
            bytes.extend([0, 0, 41, 16, 0, 0, 0, signatures, 0, 0, 0]);
        }
        bytes
    };
    let whole = message(&records, 0);
    let cut = !tcp && whole.len() > room;
    Some(if cut { message(&[], 2) } else { whole })
}
