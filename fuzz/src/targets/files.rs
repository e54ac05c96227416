//! What is read from files, headers included.

use atoll_images::Catalogue;
use atoll_images::archive;
use atoll_images::checksum::{self, Digest};
use atoll_images::import::{Format, ovf, tar};
use atoll_images::signature::dearmored;
use atoll_images::{qcow2, unpack};
use atoll_spec::insert;
use atoll_spec::kubeconfig::{self, Admin};
use atoll_spec::{
    Context, GuestLimits, Hint, IpNetwork, RulePattern, Source, parse, parse_catalogue, resolve,
};
use atoll_wire::ipv6;
use atoll_wire::ndp::Message;
use atoll_wire::tcp::Header;
use atoll_wire::{FrameBuf, Offload};
use std::io::{Cursor, Read};
use std::net::Ipv4Addr;
use std::path::Path;

/// The cluster file: read, or refused with words for every mistake. What it includes, by any name, is itself. What comes out is
/// printed so that it means the same.
pub(super) fn cluster_file(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let source = Source::new("atoll.yaml");
    let read = &mut |_: &Path| Ok(text.clone().into_owned());
    match resolve(&source, &text, &Context::default(), read) {
        Err(mistakes) => assert!(!mistakes.to_string().is_empty(), "refused without a word"),
        Ok(resolved) => {
            let printed = resolved.to_yaml();
            let again = parse(&source, &printed).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            assert_eq!(
                again.assignments().count(),
                resolved.cluster.assignments().count()
            );
        }
    }
}

/// A value and a user-data: the value is put in as text, or the user-data refused with words. [`atoll_spec::insert`] reads back what it made.
pub(super) fn user_data(input: &[u8]) {
    let (value, text) = input.split_at(input.iter().position(|byte| *byte == 0).unwrap_or(0));
    let value = String::from_utf8_lossy(value).into_owned();
    let text = String::from_utf8_lossy(text);
    let text = text.strip_prefix('\0').unwrap_or(&text);
    match insert::fill(text, &|_| Some(value.clone())) {
        Err(mistake) => assert!(!mistake.to_string().is_empty(), "refused without a word"),
        Ok(None) => assert_eq!(insert::mentions(text, false), Ok(Vec::new()), "left alone"),
        Ok(Some(_)) => {}
    }
}

/// A guest's kubeconfig, and behind a NUL a user's: the guest's is refused with words or put in, and taken out again. [`atoll_spec::kubeconfig`]
/// reads back what it made.
pub(super) fn kubeconfig(input: &[u8]) {
    let (guests, users) = input.split_at(input.iter().position(|byte| *byte == 0).unwrap_or(input.len()));
    let (guests, users) = (String::from_utf8_lossy(guests), String::from_utf8_lossy(users));
    let admin = match Admin::parse(&guests) {
        Ok(admin) => admin,
        Err(mistake) => return assert!(!mistake.to_string().is_empty(), "refused without a word"),
    };
    let entry = admin.entry("fuzzed", ([127, 0, 0, 1], 6443).into());
    assert!(
        Admin::parse(&entry.alone()).is_ok(),
        "what we write is what we take"
    );
    if let Ok(merged) = entry.merged_into(users.strip_prefix('\0').unwrap_or(&users), true) {
        assert_eq!(kubeconfig::has(&merged, "fuzzed"), Ok(true));
        let without = kubeconfig::without(&merged, "fuzzed").expect("what was put in is taken out");
        assert_eq!(kubeconfig::has(&without, "fuzzed"), Ok(false));
    }
}

/// The catalogue file: read, or refused with words; what was read is offered with addresses that are filled in.
pub(super) fn catalogue_file(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match parse_catalogue("images.yaml", &text) {
        Err(mistakes) => assert!(!mistakes.to_string().is_empty(), "refused without a word"),
        Ok(images) => {
            let catalogue = Catalogue::of(images, true);
            for (offer, entry) in catalogue.entries() {
                let place = entry.places.first().expect("an entry has a place");
                let filled = !["{arch}", "{debian-arch}", "{firmware}"]
                    .iter()
                    .any(|it| place.url.contains(it));
                assert!(filled, "{}: {}", offer.name(), place.url);
            }
        }
    }
}

/// A vendor's checksum file: the first line is the name that is looked for, the rest is the file. A digest that is
/// found stands there, and is the same when it is written and read again.
pub(super) fn checksum_file(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (name, sums) = text.split_once('\n').unwrap_or((&text, ""));
    let _ = name.parse::<Digest>();
    let Some(digest) = checksum::find(sums, name) else {
        return;
    };
    let written = digest.to_string();
    let (_, hex) = written.split_once(':').unwrap_or_default();
    assert!(
        sums.to_ascii_lowercase().contains(hex),
        "{written} came out of nowhere"
    );
    assert_eq!(written.parse(), Ok(digest));
}

/// The description in an OVA: a disk's file that is found is one that the text names, with entities or without.
pub(super) fn ovf(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for disk in ovf::disks(&text).unwrap_or_default() {
        assert!(
            disk.href.len() <= text.len(),
            "{:?} came out of nowhere",
            disk.href
        );
    }
}

/// An OVA's archive: every file that is found lies in it.
pub(super) fn tar(input: &[u8]) {
    let end = input.len() as u64;
    for member in tar::members(&mut Cursor::new(input)).unwrap_or_default() {
        assert!(
            member
                .offset
                .checked_add(member.length)
                .is_some_and(|after| after <= end)
        );
    }
}

/// An archive from a guest: what is found lies within it, and comes back the same when it is written again.
pub(super) fn archive(input: &[u8]) {
    let mut reader = archive::Reader::new(Cursor::new(input));
    let mut writer = archive::Writer::new(Vec::new());
    let mut found = Vec::new();
    while let Ok(Some(item)) = reader.next_item() {
        let archive::Item::Entry(entry) = item else {
            continue;
        };
        let mut names = entry.path.split(|byte| *byte == b'/');
        assert!(entry.path.is_empty() || names.all(|name| !matches!(name, b"" | b"." | b"..")));
        let mut body = Vec::new();
        if reader.read_to_end(&mut body).is_err() {
            break;
        }
        assert!(body.len() <= input.len());
        writer.add(b"top", &entry, &mut &*body).expect("memory takes all");
        found.push((entry, body));
    }
    writer.finish().expect("memory takes all");
    let mut again = archive::Reader::new(Cursor::new(writer.into_inner()));
    for (entry, body) in found {
        let Ok(Some(archive::Item::Entry(read))) = again.next_item() else {
            panic!("an entry is gone");
        };
        let mut same = Vec::new();
        again.read_to_end(&mut same).expect("it was written whole");
        assert_eq!(
            (read.path, read.mode, read.mtime, same),
            (below_top(&entry.path), entry.mode, entry.mtime, body)
        );
    }
}

fn below_top(path: &[u8]) -> Vec<u8> {
    match path {
        [] => b"top".to_vec(),
        path => [b"top", path].join(&b'/'),
    }
}

/// The first bytes of a disk: told, and a qcow2's header is one only behind its magic number.
pub(super) fn disk_header(input: &[u8]) {
    let _ = Format::tell(input, input, input.len() as u64);
    if qcow2::Header::parse(input).is_some() {
        assert!(input.starts_with(&qcow2::MAGIC));
        assert_eq!(Format::tell(input, b"", 0), Format::Qcow2);
    }
}

/// A vendor's key in armour: what comes out is shorter than what went in.
pub(super) fn key_armour(input: &[u8]) {
    if let Some(keys) = dearmored(input) {
        assert!(!keys.is_empty() && keys.len() < input.len());
    }
}

/// A compressed image: at most this much of it is unpacked here.
pub(super) fn unpack(input: &[u8]) {
    const MOST: u64 = 1 << 20;
    if let Ok(decoder) = unpack::decoder(input) {
        // A broken archive is an error, which is right; a panic is not.
        let _ = std::io::copy(&mut decoder.take(MOST), &mut std::io::sink());
    }
}

/// An IPv6 packet: what was walked lies inside it, and begins with the header that says so.
pub(super) fn ipv6_headers(input: &[u8]) {
    let Ok(walked) = ipv6::walk(input) else {
        return;
    };
    assert!((ipv6::IPV6_LEN..=walked.end).contains(&walked.transport));
    assert!(walked.end <= input.len());
    assert_eq!(input[walked.next_header_at], u8::from(walked.header.protocol));
}

/// What rules of a policy are written as: what is understood is written so that it is understood again, and what is not is told
/// in words.
pub(super) fn policy_rule(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match text.parse::<RulePattern>() {
        Ok(pattern) => assert_eq!(pattern.to_string().parse(), Ok(pattern)),
        Err(error) => assert!(!error.to_string().is_empty() && error.hint() != Some(String::new())),
    }
    if let Ok(network) = text.parse::<IpNetwork>() {
        assert_eq!(network.to_string().parse(), Ok(network));
    }
    let _ = text.parse::<GuestLimits>();
}

/// A message of neighbor discovery: one that is understood is no shorter than its fields.
pub(super) fn ndp(input: &[u8]) {
    match Message::parse(input) {
        None => {}
        Some(Message::RouterSolicitation { .. }) => assert!(input.len() >= 8),
        Some(
            Message::NeighborSolicitation { target, .. } | Message::NeighborAdvertisement { target, .. },
        ) => {
            assert!(input.len() >= 24 && !target.is_multicast());
        }
    }
}

/// A TCP header: what was understood is written and understood again.
pub(super) fn tcp_header(input: &[u8]) {
    let Some((header, len)) = Header::parse(input) else {
        return;
    };
    assert!(
        (20..=input.len().min(60)).contains(&len),
        "a header of {len} bytes"
    );
    let (src, dst) = (Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(192, 0, 2, 7));
    let mut frame = FrameBuf::copy_from(b"payload");
    header.push(&mut frame, src, dst);
    let segment = frame.freeze(Offload::default()).bytes;
    let packet = atoll_wire::TcpPacket::new_unchecked(&segment[..]);
    assert!(packet.verify_checksum(&src.into(), &dst.into()));
    let again = Header::parse(&segment).map(|(header, _)| header);
    assert_eq!(again, Some(header));
}
