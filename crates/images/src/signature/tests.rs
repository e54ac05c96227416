//! Against the real verifiers, with keys of the test's own.

use super::*;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt as _;

/// A GnuPG home with a key.
pub(crate) struct Vendor {
    home: tempfile::TempDir,
}

impl Vendor {
    pub(crate) fn new() -> Self {
        // Short: the agent's socket lies in it.
        let home = tempfile::Builder::new().prefix("g").tempdir_in("/tmp").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let vendor = Self { home };
        vendor.gpg(
            &[
                "--passphrase",
                "",
                "--quick-generate-key",
                "Vendor <v@example.org>",
                "ed25519",
                "sign",
                "0",
            ],
            b"",
        );
        vendor
    }

    pub(crate) fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let file = self.home.path().join("input");
        fs::write(&file, input).unwrap();
        let mut command = Command::new("gpg");
        command
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--batch", "--yes", "-q"]);
        let output = command
            .args(arguments)
            .stdin(fs::File::open(&file).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// A keyring file of this vendor's, in binary or in armour.
    pub(crate) fn keyring(&self, armoured: bool) -> PathBuf {
        let file = self.home.path().join(format!("keyring-{armoured}.gpg"));
        let armour: &[&str] = if armoured { &["--armor"] } else { &[] };
        fs::write(&file, self.gpg(&[armour, &["--export"]].concat(), b"")).unwrap();
        file
    }

    pub(crate) fn detached(&self, text: &[u8]) -> Vec<u8> {
        self.gpg(&["--detach-sign"], text)
    }

    pub(crate) fn clear_signed(&self, text: &[u8]) -> Vec<u8> {
        self.gpg(&["--clear-sign"], text)
    }

    pub(crate) fn fingerprint(&self) -> String {
        let listed = self.gpg(&["--with-colons", "--list-keys"], b"");
        let listed = String::from_utf8(listed).unwrap();
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }
}

impl Drop for Vendor {
    /// Its agent ends with its folder; sooner is better.
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        command
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "gpg-agent"]);
        let _ = command.status();
    }
}

const SUMS: &[u8] = b"aa  disk.img\n";

fn check_at(signed: Signed<'_>, keyrings: &[PathBuf]) -> Result<(Signature, String), SignatureError> {
    check(signed, keyrings, tempfile::tempdir().unwrap().path())
}

fn signed<'a>(sums: &'a [u8], detached: Option<&'a [u8]>) -> Signed<'a> {
    Signed {
        what: "SUMS",
        sums,
        detached,
    }
}

#[test]
fn a_detached_signature_is_verified_with_a_keyring_of_either_form() {
    let vendor = Vendor::new();
    let signature = vendor.detached(SUMS);
    let key = vendor.fingerprint();
    for armoured in [false, true] {
        let absent = PathBuf::from("/nonexistent/keyring.gpg");
        let (found, text) = check_at(
            signed(SUMS, Some(&signature)),
            &[absent, vendor.keyring(armoured)],
        )
        .unwrap();
        assert_eq!(found, Signature::Verified { key: key.clone() });
        assert_eq!(text.as_bytes(), SUMS);
    }
}

#[test]
fn changed_checksums_are_an_error() {
    let vendor = Vendor::new();
    let signature = vendor.detached(SUMS);
    let error = check_at(
        signed(b"bb  disk.img\n", Some(&signature)),
        &[vendor.keyring(false)],
    )
    .unwrap_err();
    assert!(matches!(error, SignatureError::Bad { .. }), "{error}");
    assert!(error.kind().is_usage());
    let inside = String::from_utf8(vendor.clear_signed(SUMS))
        .unwrap()
        .replace("aa  ", "bb  ");
    let error = check_at(signed(inside.as_bytes(), None), &[vendor.keyring(false)]).unwrap_err();
    assert!(matches!(error, SignatureError::Bad { .. }), "{error}");
}

#[test]
fn only_what_the_signature_covers_is_used() {
    let vendor = Vendor::new();
    let inside = vendor.clear_signed(SUMS);
    let around = [b"cc  disk.img\n", &*inside, b"dd  disk.img\n"].concat();
    match check_at(signed(&around, None), &[vendor.keyring(true)]) {
        Ok((signature, text)) => {
            let is_safe = !signature.is_verified() || text.as_bytes() == SUMS;
            assert!(is_safe, "{signature}: {text}");
        }
        Err(error) => panic!("{error}"),
    }
    let (signature, text) = check_at(signed(&inside, None), &[vendor.keyring(true)]).unwrap();
    assert!(signature.is_verified());
    assert_eq!(text.as_bytes(), SUMS);
}

#[test]
fn what_cannot_be_checked_says_why() {
    let (vendor, other) = (Vendor::new(), Vendor::new());
    let signature = other.detached(SUMS);
    let why = |signed: Signed<'_>, keyrings: &[PathBuf]| match check_at(signed, keyrings).unwrap().0 {
        Signature::NotChecked { why } => why,
        verified @ Signature::Verified { .. } => panic!("{verified}"),
    };
    let absent = PathBuf::from("/nonexistent/keyring.gpg");
    assert_eq!(
        why(signed(SUMS, Some(&signature)), &[absent]),
        "the vendor's keyring is not installed (/nonexistent/keyring.gpg)"
    );
    let keyring = vendor.keyring(false);
    let unknown = why(signed(SUMS, Some(&signature)), std::slice::from_ref(&keyring));
    assert!(
        unknown.starts_with("it is by key ") && unknown.contains(", which is not in "),
        "{unknown}"
    );
    let none = "SUMS has no signature that is understood";
    assert_eq!(
        why(signed(SUMS, Some(b"junk")), std::slice::from_ref(&keyring)),
        none
    );
    assert_eq!(why(signed(SUMS, None), &[keyring]), none);
}

/// What `check` does, by each verifier alone where it is installed.
#[test]
fn every_verifier_judges_alike() {
    let (vendor, other) = (Vendor::new(), Vendor::new());
    let signature = vendor.detached(SUMS);
    for verifier in [Verifier::Gpgv, Verifier::Gpg, Verifier::Sqv] {
        let judge = |sums: &[u8], keyring: &Path| {
            let folder = tempfile::tempdir().unwrap();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
            let bench = Bench::lay_out(signed(sums, Some(&signature)), keyring, folder.path()).unwrap();
            let mut command = bench.command(verifier, false)?;
            Some(verifier.judge(&command.output().unwrap()))
        };
        let Some(good) = judge(SUMS, &vendor.keyring(true)) else {
            continue;
        };
        assert_eq!(good, Finding::Good(vendor.fingerprint()), "{verifier:?}");
        let bad = judge(b"bb  disk.img\n", &vendor.keyring(true)).unwrap();
        assert!(matches!(bad, Finding::Bad(_)), "{verifier:?}: {bad:?}");
        let unknown = judge(SUMS, &other.keyring(true)).unwrap();
        assert!(
            matches!(unknown, Finding::Unknown(_)),
            "{verifier:?}: {unknown:?}"
        );
    }
}

#[test]
fn an_expired_or_revoked_key_is_not_taken_for_a_good_one() {
    let expired = "[GNUPG:] EXPKEYSIG AB Vendor\n[GNUPG:] VALIDSIG ABCD 2026-01-01 1 0 4 0 22 8 00 ABCD\n";
    assert_eq!(finding(expired), Finding::Expired("AB".to_owned()));
    let revoked = "[GNUPG:] REVKEYSIG AB Vendor\n[GNUPG:] VALIDSIG ABCD 2026-01-01 1 0 4 0 22 8 00 ABCD\n";
    assert_eq!(finding(revoked), Finding::Revoked("AB".to_owned()));
    let mixed = format!(
        "[GNUPG:] GOODSIG AB Vendor\n{}[GNUPG:] BADSIG CD Other\n",
        expired.replace("EXPKEYSIG", "X")
    );
    assert_eq!(finding(&mixed), Finding::Bad("CD".to_owned()));
}

proptest! {
    #[test]
    fn no_text_without_both_lines_is_good(lines in proptest::collection::vec("(\\[GNUPG:\\] )?(GOODSIG|VALIDSIG|BADSIG|EXPSIG|NO_PUBKEY|X)?( [A-F0-9]{0,4}){0,3}", 0..6)) {
        let text = lines.join("\n");
        if let Finding::Good(_) = finding(&text) {
            prop_assert!(text.contains("[GNUPG:] GOODSIG") && text.contains("[GNUPG:] VALIDSIG") && !text.contains("[GNUPG:] BADSIG"));
        }
    }

    #[test]
    fn any_armour_is_taken_off_or_refused(text in "(-----BEGIN PGP PUBLIC KEY BLOCK-----|-----END PGP PUBLIC KEY BLOCK-----|[A-Za-z0-9+/=]{0,9}|Version: x|\n|.){0,20}") {
        let _ = dearmored(text.as_bytes());
    }
}
