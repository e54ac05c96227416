//! The catalogue file `images.yaml`.

use atoll_spec::{Arch, PublishedDigest, PublishedSignature, parse_catalogue};
use insta::assert_snapshot;
use proptest::prelude::*;

fn refused(text: &str) -> String {
    parse_catalogue("images.yaml", text).unwrap_err().to_string()
}

#[test]
fn an_entry_says_where_its_image_is_and_how_the_right_one_is_known() {
    let text = "images:
  own-1.2:
    also: [own]
    arch: [aarch64]
    user: admin
    url: https://h.example/own-{arch}.img
    checksums: https://h.example/SHA256SUMS
    signature: inline
    keyrings: [/k/own.gpg]
    mirrors: [http://m.example/x]
  plain: {url: 'http://h.example/plain.img'}
";
    let images = parse_catalogue("images.yaml", text).unwrap();
    let [own, plain] = images.as_slice() else {
        panic!("{images:?}");
    };
    assert_eq!((own.name.as_str(), own.also[0].as_str()), ("own-1.2", "own"));
    assert_eq!(
        (own.archs.as_slice(), own.user.as_deref()),
        (&[Arch::Aarch64][..], Some("admin"))
    );
    assert!(matches!(&own.digest, Some(PublishedDigest::File(url)) if url.ends_with("/SHA256SUMS")));
    assert_eq!(own.signature, Some(PublishedSignature::Inline));
    assert_eq!(plain.archs, [Arch::X86_64, Arch::Aarch64]);
    assert_eq!((&plain.digest, &plain.signature), (&None, &None));
}

#[test]
fn an_empty_catalogue_is_one() {
    for text in ["", "images:\n", "images: {}\n"] {
        assert_eq!(parse_catalogue("images.yaml", text).unwrap(), [], "{text:?}");
    }
}

#[test]
fn every_mistake_is_shown_at_its_place() {
    let text = "images:
  Own: {url: https://h.example/a}
  a:
    url: ftp://h.example/a
    mirror: [x]
  b:
    url: https://h.example/{arhc}.img
    signature: inline
  c:
    also: [a]
    url: https://h.example/c
    sha256: aa
    mirrors: [h.example]
";
    assert_snapshot!(refused(text));
}

#[test]
fn one_name_leads_to_one_image() {
    let text = "images:\n  a: {url: 'https://h/a'}\n  b: {url: 'https://h/b', also: [a]}\n";
    assert_snapshot!(refused(text));
}

#[test]
fn a_digest_of_one_file_is_not_taken_for_several() {
    let text = format!(
        "images:\n  a:\n    url: https://h/a\n    sha256: {}\n",
        "a".repeat(64)
    );
    assert_snapshot!(refused(&text));
    let one = format!("{text}    arch: [x86_64]\n");
    parse_catalogue("images.yaml", &one).unwrap();
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in "(?s)(images:\n)?([ a-z]{0,6}[:\\[{-] ?[ -~]{0,12}\n?){0,20}") {
        if let Err(mistakes) = parse_catalogue("images.yaml", &text) {
            for mistake in mistakes.iter() {
                let (line, column) = mistakes.position(mistake);
                prop_assert!(line <= text.matches('\n').count() + 1 && column >= 1);
            }
        }
    }
}
