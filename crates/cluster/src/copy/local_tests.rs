use std::io;

use super::*;

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o755,
        mtime: 0,
    }
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, Kind::Symlink(target.as_bytes().to_vec()))
}

#[test]
fn no_link_of_a_guest_leads_out_of_the_copy() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.display().to_string();
    // A file below a link: the link is made last, and finds a folder in its place.
    let mut maker = Maker::new(folder.path(), Some(b"copy"), false).unwrap();
    maker.add(&entry("", Kind::Folder), &mut io::empty()).unwrap();
    maker.add(&link("l", &target), &mut io::empty()).unwrap();
    maker
        .add(&entry("l/evil", Kind::File(1)), &mut &b"x"[..])
        .unwrap();
    maker.finish().unwrap_err();
    // Links below links, in either order.
    let mut maker = Maker::new(folder.path(), Some(b"copy"), false).unwrap();
    maker.add(&link("l", &target), &mut io::empty()).unwrap();
    maker
        .add(&link("l/evil", "/etc/passwd"), &mut io::empty())
        .unwrap();
    maker.finish().unwrap_err();
    // A hard link by way of one.
    let mut maker = Maker::new(folder.path(), Some(b"copy"), false).unwrap();
    maker.add(&link("l", "/etc"), &mut io::empty()).unwrap();
    maker
        .add(
            &entry("h", Kind::HardLink(b"l/passwd".to_vec())),
            &mut io::empty(),
        )
        .unwrap_err();
    drop(maker);
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(left, ["outside"]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_folder_that_is_there_is_filled_and_its_links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let copy = |entries: &[Entry]| {
        let mut maker = Maker::new(folder.path(), Some(b"site"), false).unwrap();
        for entry in entries {
            maker.add(entry, &mut &b"new"[..]).unwrap();
        }
        maker.finish()
    };
    let site = folder.path().join("site");
    fs::create_dir_all(site.join("sub")).unwrap();
    fs::write(site.join("kept"), "kept").unwrap();
    fs::write(site.join("sub/a"), "old").unwrap();
    symlink(outside.path(), site.join("out")).unwrap();
    copy(&[
        entry("", Kind::Folder),
        entry("sub", Kind::Folder),
        entry("sub/a", Kind::File(3)),
    ])
    .unwrap();
    assert_eq!(fs::read_to_string(site.join("sub/a")).unwrap(), "new");
    assert_eq!(fs::read_to_string(site.join("kept")).unwrap(), "kept");
    let refused = copy(&[
        entry("", Kind::Folder),
        entry("out", Kind::Folder),
        entry("out/a", Kind::File(3)),
    ]);
    assert!(matches!(refused, Err(CopyError::InTheWay { .. })), "{refused:?}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn what_its_owner_may_not_change_is_copied_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut maker = Maker::new(folder.path(), Some(b"c"), false).unwrap();
    let closed = Entry {
        mode: 0o555,
        ..entry("s", Kind::Folder)
    };
    maker.add(&entry("", Kind::Folder), &mut io::empty()).unwrap();
    maker.add(&closed, &mut io::empty()).unwrap();
    maker.add(&entry("s/a", Kind::File(1)), &mut &b"x"[..]).unwrap();
    maker.finish().unwrap();
    let mode = fs::metadata(folder.path().join("c/s")).unwrap().mode();
    assert_eq!(mode & 0o200, 0, "{mode:o}");
}
