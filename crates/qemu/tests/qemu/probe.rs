//! Finding, asking and remembering QEMUs: the real one, and shell scripts for versions that are not installed.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::{PATIENCE, pretended, qemu, qemu_aarch64, script};
use atoll_qemu::accel::{TRIAL_DEADLINE, choose};
use atoll_qemu::{Accel, AccelChoice, Arch, Cache, ErrorKind, QemuError, Reconnect, Version, probe};

#[test]
fn the_installed_qemu_is_found_and_understood() {
    let capabilities = qemu();
    assert!(
        capabilities.version >= Version::OLDEST,
        "{}",
        capabilities.version
    );
    assert!(
        capabilities.accelerators.contains(&Accel::Tcg),
        "{capabilities:?}"
    );
    assert!(
        capabilities.data_dirs.iter().any(|dir| dir.is_dir()),
        "{capabilities:?}"
    );
}

#[test]
fn each_version_gets_its_own_reconnect() {
    let table = [
        ("7.2.22", Reconnect::Unsupported),
        ("8.0.0", Reconnect::Seconds),
        ("8.2.2", Reconnect::Seconds),
        ("9.1.3", Reconnect::Seconds),
        ("9.2.0", Reconnect::Milliseconds),
        ("10.0.2", Reconnect::Milliseconds),
        ("10.2.0", Reconnect::Milliseconds),
    ];
    for (version, reconnect) in table {
        let dir = tempfile::tempdir().expect("folder");
        let binary = pretended(dir.path(), version, "exit 1");
        let capabilities = probe::probe(&binary, Arch::X86_64).expect(version);
        assert_eq!(capabilities.reconnect(), reconnect, "{version}");
        assert_eq!(capabilities.accelerators, [Accel::Tcg]);
    }
}

#[test]
fn too_old_is_said_with_both_versions() {
    let dir = tempfile::tempdir().expect("folder");
    let binary = pretended(dir.path(), "7.1.0", "exit 1");
    let error = probe::probe(&binary, Arch::X86_64).expect_err("too old");
    let expected = format!("{} is QEMU 7.1.0; Atoll needs 7.2.0 or later", binary.display());
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.kind(), ErrorKind::Environment);
}

#[test]
fn what_is_no_qemu_is_quoted() {
    let dir = tempfile::tempdir().expect("folder");
    let binary = script(dir.path(), "echo I am a teapot");
    let error = probe::probe(&binary, Arch::X86_64).expect_err("no QEMU");
    assert!(
        error
            .to_string()
            .ends_with("which version of QEMU it is: \"I am a teapot\""),
        "{error}"
    );
}

#[test]
fn a_missing_qemu_names_binary_and_package() {
    let empty = tempfile::tempdir().expect("folder");
    let error = probe::find_binary(Arch::Aarch64, None, Some(empty.path().as_os_str()));
    let error = error.expect_err("nothing there");
    assert_eq!(
        error.to_string(),
        "no QEMU for aarch64 guests: qemu-system-aarch64 was not found in PATH"
    );
    assert!(
        error.hint().is_some_and(|hint| hint.contains("qemu-system-arm")),
        "{error}"
    );
    let relative = probe::find_binary(Arch::X86_64, None, Some(OsStr::new("bin:.")));
    assert!(
        matches!(relative, Err(QemuError::NotFound { .. })),
        "{relative:?}"
    );
}

#[test]
fn a_chosen_qemu_must_be_executable() {
    let dir = tempfile::tempdir().expect("folder");
    let chosen = dir.path().join("qemu");
    for make in [
        |_: &Path| (),
        |path: &Path| fs::write(path, "text").expect("file"),
    ] {
        make(&chosen);
        let error = probe::find_binary(Arch::X86_64, Some(&chosen), None).expect_err("not executable");
        assert!(matches!(error, QemuError::NotRunnable { .. }), "{error}");
    }
    let good = script(dir.path(), "exit 0");
    assert_eq!(
        probe::find_binary(Arch::X86_64, Some(&good), None).expect("executable"),
        good
    );
}

#[test]
fn answers_are_remembered_until_the_binary_changes() {
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("cache/qemu.json");
    let runs = dir.path().join("runs");
    let count = || fs::read_to_string(&runs).map_or(0, |text| text.lines().count());
    let write = |version: &str| {
        let body = format!(
            "echo >> {}; echo 'QEMU emulator version {version}'",
            runs.display()
        );
        script(dir.path(), &body)
    };
    let binary = write("8.0.0");
    let first = Cache::load(&file).probe(&binary, Arch::X86_64).expect("probe");
    let asked = count();
    assert!(asked > 0);
    assert_eq!(
        Cache::load(&file).probe(&binary, Arch::X86_64).expect("probe"),
        first
    );
    assert_eq!(count(), asked, "it was asked again");
    // Another length, so that the change shows even within one tick of the file system's clock.
    write("10.2.11");
    let changed = Cache::load(&file).probe(&binary, Arch::X86_64).expect("probe");
    assert_eq!(changed.version, Version::new(10, 2, 11));
    let others = fs::read_dir(dir.path().join("cache")).expect("folder").count();
    assert_eq!(others, 1, "only the cache file itself");
}

#[test]
fn a_broken_cache_file_is_no_trouble() {
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("qemu.json");
    let binary = pretended(dir.path(), "9.2.0", "exit 1");
    for content in ["", "{", "[]", "{\"format\":99,\"binaries\":{}}"] {
        fs::write(&file, content).expect("cache");
        Cache::load(&file).probe(&binary, Arch::X86_64).expect(content);
    }
}

#[test]
fn tcg_passes_its_trial_and_that_is_remembered() {
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("qemu.json");
    let mut cache = Cache::load(&file);
    let capabilities = cache.probe(&qemu().binary, Arch::X86_64).expect("probe");
    let tcg = AccelChoice::Named(Accel::Tcg);
    let chosen = choose(tcg, &capabilities, &mut cache, PATIENCE).expect("tcg works everywhere");
    assert_eq!((chosen.accel, chosen.refused.len()), (Accel::Tcg, 0));
    // No guest finishes in no time: only the remembered verdict can say that it works.
    let again = choose(tcg, &capabilities, &mut Cache::load(&file), Duration::ZERO);
    assert_eq!(again.expect("remembered").accel, Accel::Tcg);
    let mut forgetful = Cache::load(&file);
    forgetful.forget_trials();
    let error = choose(tcg, &capabilities, &mut forgetful, Duration::ZERO).expect_err("no time");
    assert!(
        matches!(
            error,
            QemuError::AccelRefused {
                accel: Accel::Tcg,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn tcg_passes_its_trial_on_aarch64() {
    let Some(capabilities) = qemu_aarch64() else {
        return;
    };
    let mut cache = Cache::in_memory();
    let chosen = choose(AccelChoice::Auto, &capabilities, &mut cache, PATIENCE).expect("tcg works");
    assert_eq!(chosen.accel, Accel::Tcg, "{chosen:?}");
}

#[test]
fn auto_says_why_it_passed_over_the_better_ones() {
    let mut cache = Cache::in_memory();
    let capabilities = qemu();
    let chosen = choose(AccelChoice::Auto, &capabilities, &mut cache, TRIAL_DEADLINE).expect("one works");
    let before = capabilities
        .accelerators
        .iter()
        .take_while(|&&accel| accel != chosen.accel);
    let passed_over: Vec<Accel> = chosen.refused.iter().map(|refusal| refusal.accel).collect();
    assert_eq!(passed_over, before.copied().collect::<Vec<_>>());
    for refusal in &chosen.refused {
        eprintln!("{}: {}", refusal.accel, refusal.reason);
        assert!(!refusal.reason.is_empty());
    }
}

#[test]
fn a_trial_guest_that_crawls_or_crashes_is_refused() {
    for (body, expected) in [
        (
            "exec sleep 1000",
            "a trial guest did not finish its work within 1.2 s",
        ),
        (
            "echo 'qemu-system-x86_64: no MSR' >&2; exit 134",
            "(exit status: 134): no MSR",
        ),
    ] {
        let dir = tempfile::tempdir().expect("folder");
        let mut cache = Cache::in_memory();
        let binary = pretended(dir.path(), "10.0.0", body);
        let capabilities = cache.probe(&binary, Arch::X86_64).expect("probe");
        let deadline = Duration::from_millis(100);
        let error =
            choose(AccelChoice::Auto, &capabilities, &mut cache, deadline).expect_err("no accelerator");
        assert!(matches!(error, QemuError::NoAccel { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn an_accelerator_that_is_not_built_in_is_refused() {
    let error = choose(
        AccelChoice::Named(Accel::Hvf),
        &linux_only(),
        &mut Cache::in_memory(),
        PATIENCE,
    );
    assert_eq!(
        error.expect_err("not there").to_string(),
        "accelerator hvf does not work here: this QEMU was built without it"
    );
}

fn linux_only() -> atoll_qemu::Capabilities {
    let mut capabilities = qemu();
    capabilities.accelerators.retain(|&accel| accel != Accel::Hvf);
    capabilities
}
