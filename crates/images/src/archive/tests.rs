use std::fs;
use std::io::Cursor;
use std::process::Command;

use proptest::prelude::*;

use super::*;

fn entry(path: &[u8], kind: Kind) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        mode: 0o640,
        mtime: 1_700_000_000,
    }
}

fn items(archive: &[u8]) -> io::Result<Vec<(Item, Vec<u8>)>> {
    let mut reader = Reader::new(Cursor::new(archive));
    let mut found = Vec::new();
    while let Some(item) = reader.next_item()? {
        let mut body = Vec::new();
        reader.read_to_end(&mut body)?;
        found.push((item, body));
    }
    Ok(found)
}

#[test]
fn what_tar_writes_is_read_in_all_its_formats() {
    let folder = tempfile::tempdir().unwrap();
    let long = format!("t/{}", "long-name-".repeat(12));
    for (name, content) in [("t/a", "abc"), (&*long, "long")] {
        fs::create_dir_all(folder.path().join("t")).unwrap();
        fs::write(folder.path().join(name), content).unwrap();
    }
    std::os::unix::fs::symlink(&long, folder.path().join("t/l")).unwrap();
    fs::hard_link(folder.path().join("t/a"), folder.path().join("t/b")).unwrap();
    for format in ["gnu", "pax", "posix", "oldgnu"] {
        let tar = Command::new("tar")
            .current_dir(&folder)
            .args([&format!("--format={format}"), "--sort=name", "-cf", "-", "./t"])
            .output()
            .unwrap();
        let found = items(&tar.stdout).unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|(item, body)| match item {
                Item::Entry(entry) => (entry.path, entry.kind, body),
                Item::Special(path) => panic!("{path:?}"),
            })
            .collect();
        let long = long.clone().into_bytes();
        let expected = [
            (b"t".to_vec(), Kind::Folder, b"".to_vec()),
            (b"t/a".to_vec(), Kind::File(3), b"abc".to_vec()),
            (b"t/b".to_vec(), Kind::HardLink(b"t/a".to_vec()), b"".to_vec()),
            (b"t/l".to_vec(), Kind::Symlink(long.clone()), b"".to_vec()),
            (long, Kind::File(4), b"long".to_vec()),
        ];
        assert_eq!(found, expected, "{format}");
    }
}

#[test]
fn tar_reads_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let long = "n".repeat(180);
    let mut archive = Vec::new();
    let mut writer = Writer::new(&mut archive);
    writer
        .add(b"d", &entry(b"", Kind::Folder), &mut io::empty())
        .unwrap();
    writer
        .add(b"d", &entry(long.as_bytes(), Kind::File(600)), &mut &[7; 600][..])
        .unwrap();
    let link = Kind::Symlink(long.clone().into_bytes());
    writer.add(b"d", &entry(b"link", link), &mut io::empty()).unwrap();
    writer.finish().unwrap();
    fs::write(folder.path().join("t.tar"), &archive).unwrap();
    let ended = Command::new("tar")
        .current_dir(&folder)
        .args(["-xf", "t.tar"])
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_eq!(fs::read(folder.path().join("d/link")).unwrap(), [7; 600]);
}

#[test]
fn a_path_that_leads_out_is_refused() {
    for path in [&b"/etc/passwd"[..], b"../x", b"a/../../x", b"a/.."] {
        let mut archive = Vec::new();
        let mut writer = Writer::new(&mut archive);
        // Written as the name itself, without a top before it.
        writer
            .add(path, &entry(b"", Kind::File(0)), &mut io::empty())
            .unwrap();
        writer.finish().unwrap();
        assert!(items(&archive).is_err(), "{path:?}");
    }
}

#[test]
fn an_archive_that_is_broken_off_anywhere_is_none() {
    let mut archive = Vec::new();
    let mut writer = Writer::new(&mut archive);
    writer
        .add(b"d", &entry(b"a", Kind::File(700)), &mut &[1; 700][..])
        .unwrap();
    writer
        .add(b"d", &entry(b"b", Kind::File(1)), &mut &[1; 1][..])
        .unwrap();
    writer.finish().unwrap();
    for end in (0..archive.len() - 1024).step_by(64) {
        assert!(items(&archive[..end]).is_err(), "at {end}");
    }
}

#[test]
fn a_size_beyond_octal_is_written_and_read() {
    let mut header = [0; BLOCK];
    put_number(&mut header, field::SIZE, 1 << 40);
    assert_eq!(number(&header, field::SIZE).unwrap(), 1 << 40);
}

proptest! {
    #[test]
    fn whatever_comes_ends(mut bytes in proptest::collection::vec(any::<u8>(), 0..4000), kind in prop::sample::select(b"01235LKxgS7".to_vec()), size in "[0-7]{0,11}", fix in any::<bool>()) {
        if fix && bytes.len() >= BLOCK {
            let (head, _) = bytes.split_first_chunk_mut::<BLOCK>().unwrap();
            for (from, length) in [field::MODE, field::SIZE, field::MTIME] {
                head[from..from + length].fill(0);
            }
            put(head, field::SIZE, size.as_bytes());
            put(head, field::KIND, &[kind]);
            let sum = format!("{:06o}\0 ", checksum(head));
            put(head, field::CHECKSUM, sum.as_bytes());
        }
        for (item, body) in items(&bytes).into_iter().flatten() {
            prop_assert!(body.len() <= bytes.len());
            let (Item::Entry(Entry { path, .. }) | Item::Special(path)) = item;
            prop_assert!(!path.starts_with(b"/") && !path.split(|byte| *byte == b'/').any(|name| name == b".."));
        }
    }

    #[test]
    fn records_of_any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "([0-9]{1,2} (path|size|mtime|linkpath)=[0-9a-z.-]{0,6}\n){0,4}") {
        let _ = records(&bytes, &mut Extended::default());
        let _ = records(text.as_bytes(), &mut Extended::default());
    }
}
