//! Which of an image's places is taken, and what its signature is worth.

use super::*;
use crate::signature::tests::Vendor;

fn with_mirrors(folder: &Path, text: &str) -> Store {
    let images = atoll_spec::parse_catalogue("images.yaml", text).unwrap();
    Store::open(folder)
        .unwrap()
        .with_catalogue(Catalogue::default().with_users(images))
        .with_patience(Patience {
            attempts: 1,
            pause: Duration::ZERO,
            silence: Duration::from_secs(30),
        })
}

fn own() -> Source {
    Source::Name("own".to_owned())
}

#[test]
fn mirrors_are_tried_in_turn_until_one_gives_the_right_file() {
    let sums_of = |body: &[u8]| sums(body).replace("debian-13-generic-amd64", "d");
    let refusing = Server::start(|_, _| Answer::status("500 Internal Server Error"));
    let tampering = Server::start(move |request, _| match request.path.as_str() {
        "/SUMS" => Answer::whole(sums_of(&disk()).as_bytes()),
        _ => Answer::whole(TAMPERED),
    });
    let right = Server::start(move |request, _| match request.path.as_str() {
        "/SUMS" => Answer::whole(sums_of(&disk()).as_bytes()),
        _ => Answer::whole(&disk()),
    });
    let unasked = Server::start(|_, _| Answer::status("404 Not Found"));
    let text = format!(
        "images:\n  own:\n    url: {0}/d.qcow2\n    checksums: {0}/SUMS\n    mirrors: [{1}, {2}, {3}]\n",
        refusing.base_url, tampering.base_url, right.base_url, unasked.base_url
    );
    let folder = tempfile::tempdir().unwrap();
    let image = pull(&with_mirrors(folder.path(), &text), &own()).unwrap();
    assert_eq!(bytes_of(&image), disk());
    assert_eq!(image.from, right.url("/d.qcow2"));
    assert_eq!(tampering.requests("/d.qcow2").len(), 1);
    assert_eq!(unasked.requests("/SUMS").len(), 0);
}

#[test]
fn when_no_place_gives_the_image_the_vendors_failure_is_told() {
    let vendor = Server::start(|_, _| Answer::status("404 Not Found"));
    let mirror = Server::start(|_, _| Answer::status("503 Service Unavailable"));
    let text = format!(
        "images:\n  own: {{url: '{}/d.qcow2', mirrors: ['{}']}}\n",
        vendor.base_url, mirror.base_url
    );
    let folder = tempfile::tempdir().unwrap();
    let error = pull(&with_mirrors(folder.path(), &text), &own()).unwrap_err();
    assert!(
        error.to_string().ends_with("/d.qcow2: the server answered 404"),
        "{error}"
    );
    assert_eq!(mirror.requests("/d.qcow2").len(), 1);
}

/// A store whose catalogue has `own` with checksums signed in this way, and its server.
fn signing_server(vendor: &Vendor, how: &str, tamper: bool) -> (Server, String) {
    let text = sums(&disk()).replace("debian-13-generic-amd64", "d").into_bytes();
    let (inside, detached) = (vendor.clear_signed(&text), vendor.detached(&text));
    let other = sums(TAMPERED)
        .replace("debian-13-generic-amd64", "d")
        .into_bytes();
    let server = Server::start(move |request, _| match request.path.as_str() {
        "/d.qcow2" => Answer::whole(&disk()),
        "/SUMS" if tamper => Answer::whole(&other),
        "/SUMS" => Answer::whole(&text),
        "/SUMS.inside" => Answer::whole(&inside),
        "/SUMS.sign" => Answer::whole(&detached),
        _ => Answer::status("404 Not Found"),
    });
    let base = &server.base_url;
    let (sums_file, signature) = match how {
        "inline" => ("SUMS.inside", "inline".to_owned()),
        file => ("SUMS", format!("{base}/{file}")),
    };
    let keyring = vendor.keyring(true);
    let text = format!(
        "images:\n  own:\n    url: {base}/d.qcow2\n    checksums: {base}/{sums_file}\n    signature: {signature}\n    keyrings: [{}]\n",
        keyring.display()
    );
    (server, text)
}

#[test]
fn an_image_whose_checksums_its_vendor_signed_says_by_which_key() {
    let vendor = Vendor::new();
    for how in ["inline", "SUMS.sign"] {
        let (_server, text) = signing_server(&vendor, how, false);
        let folder = tempfile::tempdir().unwrap();
        let store = with_mirrors(folder.path(), &text).signed_only(true);
        let image = pull(&store, &own()).unwrap();
        let key = vendor.fingerprint();
        assert_eq!(image.signature, Some(Signature::Verified { key }), "{how}");
        assert_eq!(pull(&store, &own()).unwrap(), image);
        assert_eq!(files_below(&folder.path().join("staging")), 0);
    }
}

#[test]
fn a_wrong_signature_ends_the_pull_before_the_image_is_fetched() {
    let vendor = Vendor::new();
    let (server, text) = signing_server(&vendor, "SUMS.sign", true);
    let folder = tempfile::tempdir().unwrap();
    let error = pull(&with_mirrors(folder.path(), &text), &own()).unwrap_err();
    assert!(matches!(error, StoreError::Signature(_)), "{error}");
    assert_eq!(server.requests("/d.qcow2").len(), 0);
    assert_eq!(files_below(&folder.path().join("staging")), 0);
}

#[test]
fn an_image_that_is_not_signed_is_taken_unless_that_is_required() {
    let vendor = Vendor::new();
    let (server, text) = signing_server(&vendor, "absent.sign", false);
    let folder = tempfile::tempdir().unwrap();
    let store = with_mirrors(folder.path(), &text);
    let strict = store.clone().signed_only(true);
    let expected = format!(
        "the signature of `own` was not checked: {}/absent.sign is not there (404)",
        server.base_url
    );
    assert_eq!(pull(&strict, &own()).unwrap_err().to_string(), expected);
    let image = pull(&store, &own()).unwrap();
    assert!(!image.signature.unwrap().is_verified());
    let error = pull(&strict, &own()).unwrap_err();
    assert_eq!(error.to_string(), expected, "also once it is here");
    assert!(error.kind().is_usage());
}
