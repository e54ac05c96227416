//! Copies with a shell of this host where ssh would be: each machine is a folder.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct World {
    folder: tempfile::TempDir,
    stop: AtomicBool,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["host", "a", "b"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self {
            folder,
            stop: AtomicBool::new(false),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Copies as if from the folder `host`; `guest` starts what a machine runs.
    fn try_copy(
        &self,
        source: &str,
        destination: &str,
        guest: fn(&Path, &str) -> Command,
    ) -> Result<Vec<String>, CopyError> {
        let place = |word: &str| match Place::parse(word) {
            Place::Host(path) => Place::Host(self.at("host").join(path)),
            guest => guest,
        };
        let paths = ClusterPaths {
            state: self.at("s"),
            run: self.at("r"),
            images: self.at("i"),
        };
        let copier = Copier {
            paths: &paths,
            sudo: false,
            sized: true,
            tell: &|_| {},
            stop: &self.stop,
        };
        let reach = |machine: &str| {
            let home = self.at(machine);
            move |line: &str| guest(&home, line)
        };
        copier.copy_by(&place(source), &place(destination), false, &reach)
    }

    fn copy(&self, source: &str, destination: &str) {
        self.try_copy(source, destination, shell).unwrap();
    }

    /// Names below a folder, with modes and content.
    fn listed(&self, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        list(&self.at(path), "", &mut found);
        found.sort();
        found
    }
}

fn list(path: &Path, name: &str, found: &mut Vec<String>) {
    let meta = path.symlink_metadata().unwrap();
    let what = if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            list(
                &entry.path(),
                &format!("{name}/{}", entry.file_name().display()),
                found,
            );
        }
        "/".to_owned()
    } else if meta.is_symlink() {
        format!("-> {}", fs::read_link(path).unwrap().display())
    } else {
        format!(
            "{:o} {}",
            meta.permissions().mode() & 0o777,
            fs::read_to_string(path).unwrap()
        )
    };
    found.push(format!("{name} {what}"));
}

fn shell(home: &Path, line: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).current_dir(home);
    command
}

/// A folder with what folders have.
fn tree(world: &World) {
    let top = world.at("host/site");
    fs::create_dir_all(top.join("sub/empty")).unwrap();
    fs::write(top.join("it's \"a\" $name"), "quoted").unwrap();
    fs::write(top.join("sub/run"), "#!/bin/sh").unwrap();
    fs::set_permissions(top.join("sub/run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(top.join("sub").join("x".repeat(150)), "long").unwrap();
    symlink("sub/run", top.join("link")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
}

#[test]
fn a_folder_arrives_as_it_was_in_a_machine_in_another_and_back() {
    let world = World::new();
    tree(&world);
    world.copy("site", "a:");
    world.copy("a:site", "b:other");
    world.copy("b:other/", "back");
    let original = world.listed("host/site");
    assert_eq!(original.len(), 8);
    for place in ["a/site", "b/other", "host/back"] {
        assert_eq!(world.listed(place), original, "{place}");
    }
    // Over itself, and only its content.
    world.copy("site", "a:");
    world.copy("a:site/.", "b:other/sub");
    assert_eq!(world.listed("a/site"), original);
    assert!(world.at("b/other/sub/sub/run").exists());
    assert_eq!(world.listed("a").len(), original.len() + 1, "something is left");
}

#[test]
fn a_file_takes_the_name_that_is_said_or_keeps_its_own() {
    let world = World::new();
    fs::write(world.at("host/-f"), "one").unwrap();
    fs::create_dir(world.at("a/-d")).unwrap();
    for destination in ["a:new", "a:-d", "a:~/tilde", "b:"] {
        world.copy("-f", destination);
    }
    symlink("new", world.at("a/link")).unwrap();
    world.copy("a:link", "followed");
    world.copy("a:-d/-f", "-f2");
    for place in ["a/new", "a/-d/-f", "a/tilde", "b/-f", "host/followed", "host/-f2"] {
        assert_eq!(fs::read_to_string(world.at(place)).unwrap(), "one", "{place}");
        assert!(!world.at(place).is_symlink());
    }
}

#[test]
fn what_is_wrong_with_a_path_is_told_with_its_machine() {
    let world = World::new();
    fs::write(world.at("host/f"), "").unwrap();
    fs::create_dir_all(world.at("a/taken/f")).unwrap();
    for (source, destination, words) in [
        ("a:none", "x", "a: there is no none in ."),
        ("a:no/such", "x", "a: there is no folder no"),
        ("f", "a:no/such", "a: there is no folder no"),
        ("f", "a:no/", "a: there is no folder no/"),
        ("f", "a:taken", "/taken/f is a folder"),
        ("a:taken", "f", "/host/f is no folder already"),
        ("none", "a:", "/host/none: No such file"),
        ("f", "g", "neither side"),
    ] {
        let error = world
            .try_copy(source, destination, shell)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{source} {destination}: {error}");
    }
    assert_eq!(world.listed("a").len(), 3);
    assert_eq!(world.listed("host").len(), 2);
}

/// A machine whose tar says something and breaks off.
fn breaks_off(home: &Path, line: &str) -> Command {
    shell(
        home,
        &format!("{{ {line}; }} | head -c 3000; echo 'the disk burns' >&2; exit 2"),
    )
}

#[test]
fn a_copy_that_breaks_off_leaves_the_place_as_it_was() {
    let world = World::new();
    tree(&world);
    fs::write(world.at("a/f"), "n".repeat(9000)).unwrap();
    fs::write(world.at("host/f"), "old").unwrap();
    for destination in ["f", "b:f"] {
        fn only_a(home: &Path, line: &str) -> Command {
            if home.ends_with("a") {
                breaks_off(home, line)
            } else {
                shell(home, line)
            }
        }
        let error = world.try_copy("a:f", destination, only_a).unwrap_err();
        assert!(error.to_string().contains("status 2: the disk burns"), "{error}");
    }
    assert_eq!(fs::read_to_string(world.at("host/f")).unwrap(), "old");
    assert_eq!(world.listed("b").len(), 1);
    // The way to a machine: it gets no more than the beginning.
    fn gets_little(home: &Path, line: &str) -> Command {
        shell(home, &format!("head -c 2500 | ({line})"))
    }
    world.try_copy("site", "b:", gets_little).unwrap_err();
    fn gets_whole_files_only(home: &Path, line: &str) -> Command {
        shell(home, &format!("head -c 1024 | ({line})"))
    }
    world.try_copy("site", "b:", gets_whole_files_only).unwrap_err();
    assert_eq!(world.listed("b").len(), 1);
}

#[test]
fn a_copy_that_is_called_off_leaves_nothing() {
    let world = World::new();
    tree(&world);
    world.stop.store(true, Ordering::Relaxed);
    let error = world.try_copy("site", "a:", shell).unwrap_err();
    assert!(matches!(error, CopyError::CalledOff), "{error}");
    assert_eq!(world.listed("a").len(), 1);
}

#[test]
fn pipes_are_left_out_and_told() {
    let world = World::new();
    fs::create_dir(world.at("a/d")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(world.at("a/d/pipe"))
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(
        world.try_copy("a:d", ".", shell).unwrap(),
        ["d/pipe"].map(|it| it[2..].to_owned())
    );
    assert_eq!(world.listed("host/d").len(), 1);
}

#[test]
fn progress_is_told_in_bytes_of_files() {
    let world = World::new();
    fs::write(world.at("host/f"), vec![b'x'; 300_000]).unwrap();
    let last = Cell::new(None);
    let copier = Copier {
        paths: &ClusterPaths {
            state: world.at("s"),
            run: world.at("r"),
            images: world.at("i"),
        },
        sudo: false,
        sized: true,
        tell: &|progress| last.set(Some(progress)),
        stop: &world.stop,
    };
    let reach = |machine: &str| {
        let home = world.at(machine);
        move |line: &str| shell(&home, line)
    };
    let (source, destination) = (Place::Host(world.at("host/f")), Place::parse("a:"));
    copier.copy_by(&source, &destination, false, &reach).unwrap();
    let all = Progress {
        bytes: 300_000,
        total: Some(300_000),
    };
    assert_eq!(last.get(), Some(all));
}

#[test]
fn a_colon_makes_a_machine_unless_a_folder_comes_first() {
    assert_eq!(Place::parse("web:/etc").machine(), Some("web"));
    assert_eq!(Place::parse("./web:etc").machine(), None);
    assert_eq!(Place::parse(":x").machine(), None);
    assert_eq!(split("/etc/hosts"), ("/etc", "hosts"));
    assert_eq!(split("/hosts/"), ("/", "hosts"));
    assert_eq!(split("hosts"), (".", "hosts"));
    for path in ["/", ".", "a/..", "a/."] {
        assert_eq!(split(path), (path, ""));
    }
}
