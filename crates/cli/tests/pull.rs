//! `image pull` by real processes, against a web server on loopback.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

#[expect(dead_code, reason = "other tests use the rest")]
mod home;
#[expect(dead_code, reason = "the store's own tests use the rest")]
#[path = "../../images/src/store/tests/server.rs"]
mod server;

use home::Home;
use server::{Answer, Server};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Of no format that is compressed.
fn disk() -> Vec<u8> {
    (0..3_000_000_u32)
        .map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}

fn start(home: &Home, url: &str) -> Child {
    let mut command = home.command(&["image", "pull", url]);
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn processes_that_want_one_image_download_it_once() {
    let server = Server::start(|request, _| Answer::ranged(request, &disk(), "\"v1\""));
    let home = Home::new();
    let pulls: Vec<_> = (0..4).map(|_| start(&home, &server.url("/d.img"))).collect();
    for pull in pulls {
        let output = pull.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(
            said,
            format!("{} is here: 3 MiB\n", server.url("/d.img")),
            "quiet in a pipe"
        );
    }
    assert_eq!(server.requests("/d.img").len(), 1);
}

#[test]
fn a_killed_process_leaves_what_the_next_one_goes_on_with() {
    let server = Server::start(|request, before| {
        let answer = Answer::ranged(request, &disk(), "\"v1\"");
        if before == 0 {
            answer.silent_after(2_000_000)
        } else {
            answer
        }
    });
    let home = Home::new();
    let mut first = start(&home, &server.url("/d.img"));
    let downloads = home.path("cache/atoll/images/downloads");
    let has_arrived = || {
        let parts = std::fs::read_dir(&downloads).into_iter().flatten().flatten();
        parts
            .filter_map(|part| part.metadata().ok())
            .any(|part| part.len() == 2_000_000)
    };
    let until = Instant::now() + Duration::from_secs(60);
    while !has_arrived() {
        assert!(Instant::now() < until, "nothing arrives");
        std::thread::yield_now();
    }
    let second = start(&home, &server.url("/d.img"));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait_with_output().unwrap().status.success());
    assert_eq!(server.requests("/d.img")[1].range(), Some(2_000_000));
}

#[test]
fn offline_says_what_is_missing_and_then_finds_it() {
    let server = Server::start(|request, _| Answer::ranged(request, &disk(), "\"v1\""));
    let home = Home::new();
    let url = server.url("/d.img");
    let said = home.fails(&["image", "pull", "--offline", &url], 2);
    insta::assert_snapshot!(said.replace(&server.base_url, "[SERVER]"));
    assert!(start(&home, &url).wait().unwrap().success());
    let here = home
        .command(&["image", "pull", "--offline", &url])
        .output()
        .unwrap();
    assert!(here.status.success(), "{here:?}");
    assert_eq!(server.requests("/d.img").len(), 1);
}

#[test]
fn what_is_known_of_a_signature_is_told_and_can_be_required() {
    let server = Server::start(|request, _| match request.path.as_str() {
        "/SUMS" => Answer::whole(format!("{}  d.img\n", digest()).as_bytes()),
        _ => Answer::ranged(request, &disk(), "\"v1\""),
    });
    let home = Home::new();
    let folder = home.path("home/.config/atoll");
    std::fs::create_dir_all(&folder).unwrap();
    let base = &server.base_url;
    let text = format!(
        "images:\n  own:\n    url: {base}/d.img\n    checksums: {base}/SUMS\n    signature: inline\n    keyrings: [/nonexistent/own.gpg]\n"
    );
    std::fs::write(folder.join("images.yaml"), text).unwrap();
    insta::assert_snapshot!(home.fails(&["image", "pull", "--require-signature", "own"], 2));
    let output = home.command(&["image", "pull", "own"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "own is here: 3 MiB\nits signature was not checked: the vendor's keyring is not installed (/nonexistent/own.gpg)\n"
    );
}

/// What the disk hashes to, by the host's own tool.
fn digest() -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &disk()).unwrap();
    let output = std::process::Command::new("sha256sum")
        .arg(file.path())
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}
