//! What stays and what goes: serials, blobs, leftovers.

use super::*;

fn built(folder: &Path, content: &[u8]) -> Image {
    fs::write(folder.join("disk.img"), content).unwrap();
    Image {
        name: "debian".to_owned(),
        arch: Arch::X86_64,
        origin: Origin::Built,
        from: "a test".to_owned(),
        boot: Boot::Disk {
            path: "disk.img".into(),
            format: DiskFormat::Raw,
        },
        bytes: 1,
        digest: None,
        signature: None,
        content: None,
        ssh_user: None,
        packages: Vec::new(),
    }
}

#[test]
fn an_image_built_anew_stands_before_the_old_one_which_stays_until_pruned() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let old = store
        .build("debian", Arch::X86_64, |folder| Ok(built(folder, b"old")))
        .unwrap();
    let new = store
        .build("debian", Arch::X86_64, |folder| Ok(built(folder, b"new")))
        .unwrap();
    assert_eq!(
        (bytes_of(&old), bytes_of(&new)),
        (b"old".to_vec(), b"new".to_vec())
    );
    assert_eq!(store.get(&debian(), Arch::X86_64).unwrap(), Some(new));
    let told = store.prune(true, |stored| stored.current).unwrap();
    assert_eq!(store.list().unwrap().len(), 2, "a dry run removes nothing");
    let pruned = store.prune(false, |stored| stored.current).unwrap();
    assert_eq!(told, pruned);
    let images: Vec<_> = pruned.images.into_iter().map(|it| it.image).collect();
    assert_eq!((images, store.list().unwrap().len()), (vec![old], 1));
}

#[test]
fn a_failed_build_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let unsupported = || BuildError::UnsupportedArch {
        image: "debian",
        arch: Arch::X86_64,
    };
    store
        .build("debian", Arch::X86_64, |_| Err(unsupported()))
        .unwrap_err();
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(files_below(&folder.path().join("staging")), 0);
}

#[test]
fn removing_takes_the_image_and_says_so_when_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store
        .build("debian", Arch::X86_64, |folder| Ok(built(folder, b"x")))
        .unwrap();
    assert_eq!(store.remove("debian").unwrap().len(), 1);
    assert_eq!(files_below(&folder.path().join("images")), 0);
    let error = store.remove("debian").unwrap_err();
    assert_eq!(error.to_string(), "no image called `debian` is on this machine");
    assert!(error.kind().is_usage());
}

#[test]
fn pruning_clears_what_interrupted_work_left_but_not_work_in_progress() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let downloads = folder.path().join("downloads");
    for name in ["dead.part", "dead.origin.json", "alive.part"] {
        fs::write(downloads.join(name), "x").unwrap();
    }
    let lock = store.lock("alive").unwrap();
    store.prune(false, |_| true).unwrap();
    assert!(downloads.join("alive.part").exists());
    assert_eq!(files_below(&downloads), 1);
    drop(lock);
    store.prune(false, |_| true).unwrap();
    assert_eq!(files_below(&downloads), 0);
}

#[test]
fn a_short_name_removes_the_catalogues_image() {
    let server = Server::start(|request, _| match request.path.as_str() {
        DEBIAN => Answer::whole(&disk()),
        _ => Answer::whole(sums(&disk()).as_bytes()),
    });
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &server);
    let image = pull(&store, &debian()).unwrap();
    assert_eq!(store.remove("debian").unwrap()[0].image, image);
}

#[test]
fn one_content_lies_here_once_whatever_it_is_called() {
    let server = Server::start(|_, _| Answer::whole(&disk()));
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &server);
    let inode = |image: &Image| match &image.boot {
        Boot::Disk { path, .. } => std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap()),
        Boot::Kernel { .. } => 0,
    };
    let blobs = folder.path().join("blobs");
    let (a, b) = (url(server.url("/a")), url(server.url("/b")));
    let (a, b) = (pull(&store, &a).unwrap(), pull(&store, &b).unwrap());
    assert_eq!((inode(&a), &a.content), (inode(&b), &b.content));
    assert_eq!(files_below(&blobs), 1);
    store.remove(&a.name).unwrap();
    assert_eq!((bytes_of(&b), files_below(&blobs)), (disk(), 1));
    store.remove(&b.name).unwrap();
    assert_eq!(files_below(&blobs), 0);
}

#[test]
fn a_spoilt_blob_spoils_no_new_image() {
    let server = Server::start(|_, _| Answer::whole(&disk()));
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &server);
    let first = pull(&store, &url(server.url("/a"))).unwrap();
    let blob = fs::read_dir(folder.path().join("blobs"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::remove_file(blob.path()).unwrap();
    fs::write(blob.path(), b"cut").unwrap();
    let second = pull(&store, &url(server.url("/b"))).unwrap();
    assert_eq!((bytes_of(&first), bytes_of(&second)), (disk(), disk()));
}
