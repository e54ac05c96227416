//! The store against a web server of the test's own, on loopback; the faults are the server's.

mod import;
mod places;
mod removal;
mod server;

use super::*;
use crate::Kind;
use crate::download::FetchError;
use crate::image::DiskFormat;
use crate::overlay;
use crate::store::StoreError;
use server::{Answer, Huge, Server};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const DEBIAN: &str = "/images/cloud/trixie/latest/debian-13-generic-amd64.qcow2";
const SUMS: &str = "/images/cloud/trixie/latest/SHA512SUMS";

/// A qcow2's header and bytes that do not repeat, so that misplaced pieces show.
fn disk() -> Vec<u8> {
    let mut seed = 0x2545_f491_u32;
    let noise = std::iter::repeat_with(move || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed.to_le_bytes()
    });
    let header = [&b"QFI\xfb\0\0\0\x03"[..], &[0; 96]].concat();
    header.into_iter().chain(noise.take(75_000).flatten()).collect()
}

const TAMPERED: &[u8] = b"QFI\xfb tampered with";

fn sums(body: &[u8]) -> String {
    let digest = Digest::of(Algorithm::Sha512, &mut &*body).unwrap().to_string();
    format!(
        "{}  debian-13-generic-amd64.qcow2\n",
        digest.trim_start_matches("sha512:")
    )
}

fn store(folder: &Path, server: &Server) -> Store {
    let patience = Patience {
        attempts: 3,
        pause: Duration::ZERO,
        silence: Duration::from_secs(30),
    };
    Store::open(folder)
        .unwrap()
        .with_catalogue(Catalogue::default().with_base_url(Some(server.base_url.clone())))
        .with_patience(patience)
}

fn url(url: String) -> Source {
    Source::Url { url, digest: None }
}

fn debian() -> Source {
    Source::Name("debian".to_owned())
}

fn pull(store: &Store, source: &Source) -> Result<Image, StoreError> {
    store.pull(source, Arch::X86_64, &mut |_| ())
}

fn bytes_of(image: &Image) -> Vec<u8> {
    match &image.boot {
        Boot::Disk { path, .. } => fs::read(path).unwrap(),
        Boot::Kernel { .. } => panic!("{image:?} has no disk"),
    }
}

fn files_below(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_catalogue_name_is_fetched_verified_and_kept() {
    let server = Server::start(|request, _| match request.path.as_str() {
        DEBIAN => Answer::whole(&disk()),
        SUMS => Answer::whole(sums(&disk()).as_bytes()),
        _ => Answer::status("404 Not Found"),
    });
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &server);
    let mut last = None;
    let image = store
        .pull(&debian(), Arch::X86_64, &mut |progress| last = Some(progress))
        .unwrap();
    let whole = u64::try_from(disk().len()).unwrap();
    assert_eq!(
        last,
        Some(Progress {
            bytes: whole,
            total: Some(whole)
        })
    );
    assert_eq!(bytes_of(&image), disk());
    assert_eq!(
        (image.name.as_str(), image.ssh_user.as_deref()),
        ("debian-13", Some("debian"))
    );
    assert!(matches!(
        image.boot,
        Boot::Disk {
            format: DiskFormat::Qcow2,
            ..
        }
    ));
    assert_eq!(pull(&store, &debian()).unwrap(), image);
    assert_eq!(server.requests(DEBIAN).len(), 1, "the second pull finds it here");
    assert_eq!(files_below(&folder.path().join("downloads")), 0);
}

#[test]
fn a_cut_download_goes_on_where_it_was_cut() {
    let server = Server::start(|request, before| {
        let answer = Answer::ranged(request, &disk(), "\"v1\"");
        if before == 0 {
            answer.cut_after(100_000)
        } else {
            answer
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let image = pull(&store(folder.path(), &server), &url(server.url("/d"))).unwrap();
    assert_eq!(bytes_of(&image), disk());
    let requests = server.requests("/d");
    assert_eq!(requests.len(), 2);
    let resumed = requests[1].range().unwrap();
    assert!((1..=100_000).contains(&resumed), "{resumed}");
    assert_eq!(requests[1].header("if-range"), Some("\"v1\""));
}

#[test]
fn a_later_run_goes_on_with_what_an_earlier_one_left() {
    let cut = Arc::new(AtomicU32::new(1));
    let server = {
        let cut = Arc::clone(&cut);
        Server::start(move |request, _| {
            let answer = Answer::ranged(request, &disk(), "\"v1\"");
            if cut.load(Ordering::SeqCst) == 1 {
                answer.cut_after(50_000)
            } else {
                answer
            }
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let patience = Patience {
        attempts: 1,
        pause: Duration::ZERO,
        silence: Duration::from_secs(30),
    };
    let store = store(folder.path(), &server).with_patience(patience);
    let error = pull(&store, &url(server.url("/d"))).unwrap_err();
    assert!(
        matches!(
            &error,
            StoreError::Fetch(FetchError::Unreachable { attempts: 1, .. })
        ),
        "{error}"
    );
    cut.store(0, Ordering::SeqCst);
    assert_eq!(bytes_of(&pull(&store, &url(server.url("/d"))).unwrap()), disk());
    assert!(server.requests("/d")[1].range().is_some());
}

#[test]
fn a_server_without_ranges_sends_the_whole_again() {
    let server = Server::start(|_, before| {
        let mut answer = Answer::whole(&disk());
        answer.headers = "ETag: \"v1\"\r\n".to_owned();
        if before == 0 {
            answer.cut_after(70_000)
        } else {
            answer
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let image = pull(&store(folder.path(), &server), &url(server.url("/d"))).unwrap();
    assert_eq!(bytes_of(&image), disk());
    assert!(
        server.requests("/d")[1].range().is_some(),
        "it was asked for a range"
    );
}

#[test]
fn a_file_that_changed_in_between_is_not_glued_to_the_old_half() {
    let newer = || disk().into_iter().rev().collect::<Vec<u8>>();
    let server = Server::start(move |request, before| {
        if before == 0 {
            Answer::ranged(request, &disk(), "\"v1\"").cut_after(90_000)
        } else {
            Answer::ranged(request, &newer(), "\"v2\"")
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let image = pull(&store(folder.path(), &server), &url(server.url("/d"))).unwrap();
    assert_eq!(bytes_of(&image), newer());
    assert_eq!(server.requests("/d")[1].header("if-range"), Some("\"v1\""));
}

#[test]
fn a_weak_etag_is_no_ground_to_resume_on() {
    let server = Server::start(|_, before| {
        let mut answer = Answer::whole(&disk());
        answer.headers = "ETag: W/\"v1\"\r\n".to_owned();
        if before == 0 {
            answer.cut_after(70_000)
        } else {
            answer
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let image = pull(&store(folder.path(), &server), &url(server.url("/d"))).unwrap();
    assert_eq!(bytes_of(&image), disk());
    assert_eq!(server.requests("/d")[1].range(), None);
}

#[test]
fn a_wrong_checksum_is_told_and_nothing_stays() {
    let server = Server::start(|request, _| match request.path.as_str() {
        DEBIAN => Answer::whole(TAMPERED),
        _ => Answer::whole(sums(&disk()).as_bytes()),
    });
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &server);
    let error = pull(&store, &debian()).unwrap_err();
    let StoreError::WrongChecksum {
        url,
        expected,
        actual,
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(url, &server.url(DEBIAN));
    assert_eq!(Some(expected), checksum_of(&disk()).as_ref());
    assert_eq!(Some(actual), checksum_of(TAMPERED).as_ref());
    assert!(error.kind().is_usage());
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(files_below(&folder.path().join("downloads")), 0);
}

fn checksum_of(body: &[u8]) -> Option<Digest> {
    crate::checksum::find(&sums(body), "debian-13-generic-amd64.qcow2")
}

#[test]
fn a_file_that_its_vendor_does_not_list_is_not_fetched() {
    let server = Server::start(|request, _| match request.path.as_str() {
        SUMS => Answer::whole(b"<html>moved</html>"),
        _ => Answer::whole(&disk()),
    });
    let folder = tempfile::tempdir().unwrap();
    let error = pull(&store(folder.path(), &server), &debian()).unwrap_err();
    assert!(matches!(error, StoreError::NotListed { .. }), "{error}");
    assert_eq!(server.requests(DEBIAN).len(), 0);
}

#[test]
fn not_found_is_final_and_a_failing_server_is_asked_a_bounded_number_of_times() {
    let server = Server::start(|request, _| match request.path.as_str() {
        "/gone" => Answer::status("404 Not Found"),
        _ => Answer::status("503 Service Unavailable"),
    });
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &server);
    let gone = pull(&store, &url(server.url("/gone"))).unwrap_err();
    assert_eq!(
        gone.to_string(),
        format!("cannot fetch {}: the server answered 404", server.url("/gone"))
    );
    assert_eq!((gone.kind(), server.requests("/gone").len()), (Kind::Usage, 1));
    let busy = pull(&store, &url(server.url("/busy"))).unwrap_err();
    assert_eq!(
        (busy.kind(), server.requests("/busy").len()),
        (Kind::Environment, 3)
    );
}

#[test]
fn more_than_fits_is_refused_before_it_is_fetched() {
    let server = Huge::start();
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(folder.path())
        .unwrap()
        .pull(&url(server), Arch::X86_64, &mut |_| ())
        .unwrap_err();
    let StoreError::Fetch(FetchError::NoSpace { needed, free, .. }) = &error else {
        panic!("{error}");
    };
    assert!((*needed, free < needed) == (Huge::BYTES, true), "{error}");
    assert!(error.kind().is_usage());
}

#[test]
fn redirects_are_followed() {
    let server = Server::start(|request, _| match request.path.as_str() {
        "/d" => {
            let mut answer = Answer::status("302 Found");
            answer.headers = "Location: /elsewhere\r\n".to_owned();
            answer
        }
        _ => Answer::ranged(request, &disk(), "\"v1\""),
    });
    let folder = tempfile::tempdir().unwrap();
    let image = pull(&store(folder.path(), &server), &url(server.url("/d"))).unwrap();
    assert_eq!(bytes_of(&image), disk());
}

#[test]
fn a_redirect_in_a_circle_ends() {
    let server = Server::start(|_, _| {
        let mut answer = Answer::status("302 Found");
        answer.headers = "Location: /d\r\n".to_owned();
        answer
    });
    let folder = tempfile::tempdir().unwrap();
    pull(&store(folder.path(), &server), &url(server.url("/d"))).unwrap_err();
    assert!(server.requests("/d").len() <= 60);
}

#[test]
fn a_length_that_is_a_lie_is_found_out() {
    let long = Server::start(|_, _| Answer::whole(&disk()).claiming(disk().len() + 1));
    let short = Server::start(|_, _| Answer::whole(&disk()).claiming(disk().len() - 1));
    let folder = tempfile::tempdir().unwrap();
    let digest = checksum_of(&disk());
    for (server, is_cut) in [(long, true), (short, false)] {
        let source = Source::Url {
            url: server.url("/d"),
            digest: digest.clone(),
        };
        match pull(&store(folder.path(), &server), &source).unwrap_err() {
            StoreError::Fetch(FetchError::Unreachable { .. }) => assert!(is_cut),
            StoreError::WrongChecksum { .. } => assert!(!is_cut),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn offline_asks_no_server_and_takes_what_is_here() {
    let server = Server::start(|request, _| match request.path.as_str() {
        DEBIAN => Answer::whole(&disk()),
        _ => Answer::whole(sums(&disk()).as_bytes()),
    });
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &server);
    let error = pull(&store.clone().offline(true), &debian()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the image `debian-13` is not on this machine, and nothing is to be fetched"
    );
    assert_eq!(server.requests(SUMS).len(), 0);
    let image = pull(&store, &debian()).unwrap();
    assert_eq!(pull(&store.offline(true), &debian()).unwrap(), image);
}

#[test]
fn parallel_pulls_share_one_download() {
    let server = Server::start(|request, _| match request.path.as_str() {
        DEBIAN => Answer::whole(&disk()),
        _ => Answer::whole(sums(&disk()).as_bytes()),
    });
    let folder = tempfile::tempdir().unwrap();
    let images: Vec<Image> = std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| pull(&store(folder.path(), &server), &debian()).unwrap()))
            .collect();
        pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
    });
    assert!(images.iter().all(|image| image == &images[0]));
    assert_eq!(server.requests(DEBIAN).len(), 1);
}

#[test]
fn a_download_is_called_off_while_its_server_is_silent_and_goes_on_later() {
    const BEFORE: usize = 1000;
    let server = Server::start(|request, before| {
        let answer = Answer::ranged(request, &disk(), "\"v1\"");
        match before {
            0 => answer.silent_after(BEFORE),
            _ => answer,
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let source = url(server.url("/d"));
    let called_off = Arc::new(AtomicBool::new(false));
    let store = store(folder.path(), &server);
    let stopped = store.clone().until(Arc::clone(&called_off));
    let end = stopped.pull(&source, Arch::X86_64, &mut |progress| {
        called_off.store(progress.bytes > 0, Ordering::Relaxed);
    });
    assert!(
        matches!(end, Err(StoreError::Fetch(FetchError::CalledOff))),
        "{end:?}"
    );
    assert_eq!(bytes_of(&pull(&store, &source).unwrap()), disk());
    let resumed = server.requests("/d").pop().unwrap();
    assert_eq!(resumed.range(), Some(BEFORE));
}

#[test]
fn waiting_for_another_ones_download_is_called_off() {
    let server = Server::start(|_, _| Answer::status("404 Not Found"));
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &server);
    let _other = store.lock("debian-13-x86_64").unwrap();
    let end = pull(&store.until(Arc::new(AtomicBool::new(true))), &debian());
    assert!(
        matches!(end, Err(StoreError::Fetch(FetchError::CalledOff))),
        "{end:?}"
    );
}

#[test]
fn a_packed_disk_is_unpacked_and_its_format_told_by_its_bytes() {
    let raw = vec![7; 200_000];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&raw).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    xz.write_all(&disk()).unwrap();
    let packed = [
        ("/raw.gz", gzip.finish().unwrap(), raw, DiskFormat::Raw),
        ("/d.qcow2.xz", xz.finish().unwrap(), disk(), DiskFormat::Qcow2),
        (
            "/d.img",
            zstd::encode_all(disk().as_slice(), 1).unwrap(),
            disk(),
            DiskFormat::Qcow2,
        ),
    ];
    for (path, body, unpacked, expected) in packed {
        let server = Server::start(move |_, _| Answer::whole(&body));
        let folder = tempfile::tempdir().unwrap();
        let image = pull(&store(folder.path(), &server), &url(server.url(path))).unwrap();
        assert_eq!(bytes_of(&image), unpacked, "{path}");
        assert!(
            matches!(image.boot, Boot::Disk { format, .. } if format == expected),
            "{path}"
        );
    }
}

#[test]
fn a_packed_disk_that_ends_early_is_not_taken_for_whole() {
    let mut packed = zstd::encode_all(disk().as_slice(), 1).unwrap();
    packed.truncate(packed.len() / 2);
    let server = Server::start(move |_, _| Answer::whole(&packed));
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), &server);
    let error = pull(&store, &url(server.url("/d.zst"))).unwrap_err();
    assert!(matches!(error, StoreError::Unpack { .. }), "{error}");
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn wrong_names_and_paths_are_the_users_to_mend() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let unknown = store
        .get(&Source::Name("debain".to_owned()), Arch::X86_64)
        .unwrap_err();
    assert_eq!(unknown.to_string(), "there is no image called `debain`");
    assert!(unknown.hint().unwrap().contains("debian-13"));
    let missing = store
        .get(&Source::Path("/no/such.img".into()), Arch::X86_64)
        .unwrap_err();
    assert_eq!(missing.to_string(), "the image /no/such.img does not exist");
    assert!(unknown.kind().is_usage() && missing.kind().is_usage());
}

#[test]
fn a_local_disk_is_used_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.raw");
    fs::write(&path, vec![0; 1 << 20]).unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let image = store
        .get(&Source::Path(path.clone()), Arch::X86_64)
        .unwrap()
        .unwrap();
    let Boot::Disk { path: found, format } = &image.boot else {
        panic!("{image:?}");
    };
    assert_eq!((found, *format), (&path.canonicalize().unwrap(), DiskFormat::Raw));
    overlay::create(found, *format, &folder.path().join("o.qcow2"), None).unwrap();
}
