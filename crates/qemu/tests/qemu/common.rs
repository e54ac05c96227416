//! What the tests with a real or a pretended QEMU share.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atoll_qemu::{Accel, Arch, Cache, Capabilities, Console, Launch, Process, probe};
use tempfile::TempDir;

/// Long enough for a loaded machine; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The machine's own QEMU; these tests mean nothing without.
pub(crate) fn qemu() -> Capabilities {
    let path = std::env::var_os("PATH");
    let binary = probe::find_binary(Arch::X86_64, None, path.as_deref()).expect("a QEMU to test with");
    Cache::in_memory()
        .probe(&binary, Arch::X86_64)
        .expect("capabilities")
}

/// The machine's own QEMU for 64-bit ARM. Where there is none, says so: the test that asks is skipped.
#[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
pub(crate) fn qemu_aarch64() -> Option<Capabilities> {
    let path = std::env::var_os("PATH");
    let binary = match probe::find_binary(Arch::Aarch64, None, path.as_deref()) {
        Ok(binary) => binary,
        Err(missing) => {
            eprintln!("skipped: {missing}");
            return None;
        }
    };
    let capabilities = Cache::in_memory().probe(&binary, Arch::Aarch64);
    Some(capabilities.expect("capabilities"))
}

/// A shell script in the place of QEMU.
pub(crate) fn script(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("qemu-system-x86_64");
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
    path
}

/// A script that answers the probe as QEMU of that version does.
pub(crate) fn pretended(folder: &Path, version: &str, otherwise: &str) -> PathBuf {
    let body = format!(
        "case \"$1\" in\n\
         --version) echo 'QEMU emulator version {version} (Debian)';;\n\
         -accel) printf 'Accelerators supported in QEMU binary:\\ntcg\\n';;\n\
         -L) echo /usr/share/qemu;;\n\
         *) {otherwise};;\nesac"
    );
    script(folder, &body)
}

pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// A machine in a folder of its own, ended when the test is over, however it is over.
pub(crate) struct Machine {
    pub(crate) dir: TempDir,
    pub(crate) launch: Launch,
    pub(crate) process: Option<Process>,
}

impl Machine {
    pub(crate) fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let mut launch = Launch::new(name, Arch::X86_64, Accel::Tcg);
        launch.memory = 32 << 20;
        launch.qmp = Some(dir.path().join("qmp"));
        launch.pidfile = Some(dir.path().join("pid"));
        launch.console = Some(Console {
            socket: dir.path().join("console"),
            log: Some(dir.path().join("console.log")),
        });
        launch.daemonize = true;
        Self {
            dir,
            launch,
            process: None,
        }
    }

    pub(crate) fn extra(mut self, args: &[&str]) -> Self {
        self.launch.extra.extend(args.iter().map(Into::into));
        self
    }

    /// A guest that writes "OK" to its console and turns itself off at the power button.
    pub(crate) fn with_obedient_guest(self) -> Self {
        let rom = self.dir.path().join("guest.rom");
        fs::write(&rom, obedient_guest()).expect("rom");
        let rom = rom
            .to_str()
            .expect("temporary folders have plain names")
            .to_owned();
        self.extra(&["-bios", &rom])
    }

    pub(crate) fn stderr(&self) -> PathBuf {
        self.dir.path().join("stderr")
    }

    pub(crate) fn start(mut self) -> Self {
        let process = Process::start(&self.launch, &qemu(), &self.stderr(), &[], PATIENCE).expect("start");
        self.process = Some(process);
        self
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("a started machine")
    }

    pub(crate) fn console_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("console.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            process.stop_within(Duration::ZERO, PATIENCE).ok();
        }
    }
}

/// A ROM in place of the BIOS, 16-bit code at 0xfff0:0 with the reset vector at its usual place. It puts the ICH9's
/// power management registers at port 0x600, enables the power button, waits for it, and enters S5.
#[rustfmt::skip]
fn obedient_guest() -> Vec<u8> {
    const CODE: &[u8] = &[
        0xba, 0xf8, 0x03,                   // mov $0x3f8,%dx       COM1
        0xb0, b'O', 0xee,                   // mov $'O',%al; out %al,%dx
        0xb0, b'K', 0xee,                   // mov $'K',%al; out %al,%dx
        0x66, 0xb8, 0x40, 0xf8, 0x00, 0x80, // mov $0x8000f840,%eax PMBASE of 00:1f.0
        0xba, 0xf8, 0x0c, 0x66, 0xef,       // mov $0xcf8,%dx; out %eax,%dx
        0x66, 0xb8, 0x01, 0x06, 0x00, 0x00, // mov $0x601,%eax
        0xba, 0xfc, 0x0c, 0x66, 0xef,       // mov $0xcfc,%dx; out %eax,%dx
        0x66, 0xb8, 0x44, 0xf8, 0x00, 0x80, // mov $0x8000f844,%eax ACPI_CNTL
        0xba, 0xf8, 0x0c, 0x66, 0xef,       // mov $0xcf8,%dx; out %eax,%dx
        0xb0, 0x80, 0xba, 0xfc, 0x0c, 0xee, // mov $0x80,%al; mov $0xcfc,%dx; out %al,%dx
        0xb8, 0x00, 0x01,                   // mov $0x100,%ax       PWRBTN
        0xba, 0x02, 0x06, 0xef,             // mov $0x602,%dx; out %ax,%dx   PM1_EN
        0xba, 0x00, 0x06,                   // mov $0x600,%dx       PM1_STS
        0xed, 0xa9, 0x00, 0x01, 0x74, 0xfa, // 1: in %dx,%ax; test $0x100,%ax; jz 1b
        0xb8, 0x00, 0x20,                   // mov $0x2000,%ax      SLP_EN, S5
        0xba, 0x04, 0x06, 0xef,             // mov $0x604,%dx; out %ax,%dx   PM1_CNT
        0xf4, 0xeb, 0xfd,                   // 2: hlt; jmp 2b
    ];
    let mut rom = vec![0; 0xff00];
    rom.extend_from_slice(CODE);
    rom.resize(0xfff0, 0);
    rom.extend_from_slice(&[0xe9, 0x0d, 0xff]); // jmp 0xff00
    rom.resize(0x1_0000, 0);
    rom
}
