//! A client of `atoll-helper`: each line of its input is a command, and has a line of output.
//!
//! - a request in JSON is asked for in one session: `granted …`, or `refused SENTENCE`, or `failed SENTENCE`;
//! - `raw BYTES` sends something else in a session of its own: what came back;
//! - `ping MAC SOURCE HOP TARGET` sends an ARP request for HOP and then an ICMP echo request for TARGET from the last TAP, with these
//!   addresses of a guest: `pong`, `refused`, `silence`.
//!
//! At the end of its input it ends its session.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use atoll_helper::{Granted, HelperError, HelperPath, Request, Session};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What precedes a frame on a TAP that nobody has set up: a virtio_net_hdr of ten bytes.
const HEADER: usize = 10;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let path = HelperPath::find().map_err(|error| error.to_string());
    let mut session = path.and_then(|path| Session::open(&path).map_err(|error| error.to_string()));
    let mut granted: Vec<Granted> = Vec::new();
    for line in io::stdin().lines() {
        let line = line?;
        let answer = match (line.split_once(' '), &mut session) {
            (Some(("raw", bytes)), _) => raw(bytes)?,
            (Some(("ping", words)), _) => match granted.last() {
                Some(last) => ping(last, words)?,
                None => "no TAP".to_owned(),
            },
            (_, Ok(session)) => ask(session, &line, &mut granted),
            (_, Err(sentence)) => format!("failed {sentence}"),
        };
        println!("{answer}");
    }
    Ok(())
}

fn ask(session: &mut Session, line: &str, granted: &mut Vec<Granted>) -> String {
    let request = match Request::decode(line.as_bytes()) {
        Ok(request) => request,
        Err(refusal) => return format!("wrong {refusal}"),
    };
    match session.ask(&request) {
        Ok(it) => {
            let line = format!("granted {} {} {:?}", it.grant.interface, it.grant.mac, it.grant);
            granted.push(it);
            line
        }
        Err(HelperError::Refused(refusal)) => format!("refused {refusal}"),
        Err(error) => format!("failed {error}"),
    }
}

fn raw(bytes: &str) -> Result<String, Failure> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut child = Command::new("/usr/bin/sudo")
        .args(["-n", "/usr/libexec/atoll/atoll-helper"])
        .stdin(Stdio::from(theirs))
        .spawn()?;
    send(&ours, bytes.as_bytes(), SendFlags::empty())?;
    let mut buf = vec![0; 8192];
    let (_, count) = recv(&ours, &mut buf[..], RecvFlags::empty())?;
    drop(ours);
    child.wait()?;
    Ok(String::from_utf8_lossy(&buf[..count]).into_owned())
}

/// A guest's MAC address, its address, who it sends to, and whom it wants to reach.
fn ping(granted: &Granted, words: &str) -> Result<String, Failure> {
    let words: Vec<&str> = words.split(' ').collect();
    let [mac, source, hop, target] = &words[..] else {
        return Err("usage: ping MAC SOURCE HOP TARGET".into());
    };
    let mac: Vec<u8> = mac
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16))
        .collect::<Result<_, _>>()?;
    let (source, hop, target): (Ipv4Addr, Ipv4Addr, Ipv4Addr) =
        (source.parse()?, hop.parse()?, target.parse()?);
    let mut tap = File::from(granted.tap.try_clone()?);
    let is_arp = |frame: &[u8]| frame.get(12..14) == Some(&[8, 6]) && frame.get(21) == Some(&2);
    let Some(answer) = exchange(&mut tap, &arp_request(&mac, source, hop), is_arp)? else {
        return Ok("silence".to_owned());
    };
    let echo = echo_request(&mac, &answer[6..12], (source, target));
    let is_icmp = |frame: &[u8]| {
        frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&1) && frame.get(34) != Some(&8)
    };
    let answer = exchange(&mut tap, &echo, is_icmp)?;
    Ok(match answer.and_then(|frame| frame.get(34).copied()) {
        Some(0) => "pong",
        Some(_) => "refused",
        None => "silence",
    }
    .to_owned())
}

/// Send a frame every now and then until one comes that is wanted, for some seconds.
fn exchange(tap: &mut File, frame: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> io::Result<Option<Vec<u8>>> {
    for _ in 0..12 {
        tap.write_all(&[&[0; HEADER][..], frame].concat())?;
        let end = Instant::now() + Duration::from_millis(250);
        while Instant::now() < end {
            let mut buf = vec![0; 1 << 16];
            match tap.read(&mut buf) {
                Ok(count) if is_wanted(&buf[HEADER.min(count)..count]) => {
                    return Ok(Some(buf[HEADER..count].to_vec()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

fn arp_request(mac: &[u8], source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    let (source, target) = (source.octets(), target.octets());
    [
        &[0xff; 6][..],
        mac,
        &[8, 6],
        &head,
        mac,
        &source,
        &[0; 6],
        &target,
    ]
    .concat()
}

fn echo_request(mac: &[u8], to: &[u8], (source, target): (Ipv4Addr, Ipv4Addr)) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0, 7, 0, 1];
    icmp.extend([0x61; 56]);
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let total = u8::try_from(20 + icmp.len()).unwrap_or(0);
    let mut ip = vec![0x45, 0, 0, total, 0, 1, 0, 0, 64, 1, 0, 0];
    ip.extend(source.octets());
    ip.extend(target.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    [to, mac, &[8, 0], &ip, &icmp].concat()
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}
