//! Files of a resolver, in folders that are nobody's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn files() -> (TempDir, ResolverFiles) {
    let folder = tempfile::tempdir().unwrap();
    let files = ResolverFiles::new(folder.path().join("resolver"), folder.path().join("journal"));
    (folder, files)
}

fn request(domain: &str) -> NamesRequest {
    NamesRequest {
        network: "lan".parse().unwrap(),
        subnet: "192.168.77.0/24".parse().ok(),
        prefix: "fd77::/64".parse().ok(),
        domain: domain.parse().unwrap(),
        resolvers: vec!["192.168.77.254".parse().unwrap(), "fd77::ff".parse().unwrap()],
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// As a helper that is killed: the lock goes, what it wrote stays.
fn kill(file: ResolverFile) {
    let ResolverFile { entry, .. } = &file;
    flock(&entry._lock, FlockOperation::Unlock).unwrap();
    std::mem::forget(file);
}

#[test]
fn a_file_says_whose_it_is_and_where_names_are_answered_until_it_is_dropped() {
    let (_folder, files) = files();
    let file = files.write(&request("atoll.internal")).unwrap();
    let path = files.folder.join("atoll.internal");
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "# atoll-helper: names of the network lan, removed when its link ends\n\
         nameserver 192.168.77.254\nnameserver fd77::ff\nport 53\n"
    );
    assert_eq!((mode(&path), mode(&files.folder)), (0o644, 0o755));
    assert_eq!(mode(&files.journal), 0o700);
    assert_eq!(
        names(&files.folder),
        ["atoll.internal"],
        "no temporary file is left"
    );
    assert_eq!(names(&files.journal), ["atoll.internal"]);
    drop(file);
    assert!(names(&files.folder).is_empty() && names(&files.journal).is_empty());
}

#[test]
fn what_is_somebody_elses_is_neither_replaced_nor_removed() {
    let (folder, files) = files();
    fs::create_dir(&files.folder).unwrap();
    let path = files.folder.join("atoll.internal");
    let refused = || {
        let refusal = files.write(&request("atoll.internal")).unwrap_err();
        assert!(refusal.sentence.contains("is not atoll's"), "{refusal:?}");
        assert!(names(&files.journal).is_empty(), "nothing is left of a refusal");
        refusal.sentence
    };
    for text in ["nameserver 10.0.0.1\n", "", "# atoll-helper"] {
        fs::write(&path, text).unwrap();
        assert!(refused().starts_with(path.to_str().unwrap()));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::remove_file(&path).unwrap();
    let ours = folder.path().join("elsewhere");
    fs::write(&ours, text(&request("atoll.internal"))).unwrap();
    symlink(&ours, &path).unwrap();
    refused();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused();
    fs::remove_dir(&path).unwrap();
    fs::write(files.folder.join(".atoll.internal"), "mine").unwrap();
    refused();
    assert_eq!(names(&files.folder), [".atoll.internal"]);
}

#[test]
fn a_file_that_took_our_place_meanwhile_stays() {
    let (_folder, files) = files();
    let file = files.write(&request("atoll.internal")).unwrap();
    let path = files.path(&"atoll.internal".parse().unwrap());
    fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 10.0.0.1\n");
    assert!(names(&files.journal).is_empty());
}

#[test]
fn a_domain_is_one_sessions_at_a_time() {
    let (_folder, files) = files();
    let file = files.write(&request("atoll.internal")).unwrap();
    let refusal = files.write(&request("Atoll.internal")).unwrap_err();
    assert!(refusal.sentence.contains("another network's"), "{refusal:?}");
    let other = files.write(&request("other.internal")).unwrap();
    drop(other);
    assert_eq!(names(&files.folder), ["atoll.internal"]);
    drop(file);
    files.write(&request("atoll.internal")).unwrap();
}

#[test]
fn what_a_dead_helper_left_is_undone_and_a_living_ones_is_not() {
    let (_folder, files) = files();
    kill(files.write(&request("dead.internal")).unwrap());
    let living = files.write(&request("living.internal")).unwrap();
    // Killed before the file had its name, and before there was one.
    fs::write(files.journal.join("early.internal"), "").unwrap();
    fs::write(files.folder.join(".early.internal"), "").unwrap();
    fs::write(files.journal.join("earlier.internal"), "").unwrap();
    files.undo_the_dead();
    assert_eq!(names(&files.folder), ["living.internal"]);
    assert_eq!(names(&files.journal), ["living.internal"]);
    files.undo_the_dead();
    drop(living);
    assert!(names(&files.folder).is_empty() && names(&files.journal).is_empty());
}

#[test]
fn what_a_dead_helper_left_does_not_keep_its_domain() {
    let (_folder, files) = files();
    kill(files.write(&request("atoll.internal")).unwrap());
    let mut again = request("atoll.internal");
    again.resolvers.truncate(1);
    let _file = files.write(&again).unwrap();
    let path = files.path(&again.domain);
    assert_eq!(fs::read_to_string(path).unwrap(), text(&again));
}

#[test]
fn nothing_is_written_where_others_may_write() {
    let (_folder, files) = files();
    fs::create_dir(&files.folder).unwrap();
    fs::set_permissions(&files.folder, fs::Permissions::from_mode(0o777)).unwrap();
    let refusal = files.write(&request("atoll.internal")).unwrap_err();
    assert!(refusal.sentence.contains("others may write there"), "{refusal:?}");
    assert!(names(&files.folder).is_empty() && names(&files.journal).is_empty());
    // Nor by way of a symbolic link.
    fs::rename(&files.folder, files.folder.with_extension("real")).unwrap();
    symlink(files.folder.with_extension("real"), &files.folder).unwrap();
    files.write(&request("atoll.internal")).unwrap_err();
}

#[test]
fn the_longest_domain_has_a_file_and_a_temporary_one() {
    let (_folder, files) = files();
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(longest.len(), 253);
    let file = files.write(&request(&longest)).unwrap();
    assert_eq!(names(&files.folder), [longest]);
    drop(file);
}
