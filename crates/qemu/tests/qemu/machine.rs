//! Machines on the real QEMU, under tcg: start, talk, stop, and what must not be stopped.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Machine, PATIENCE, qemu, qemu_aarch64, script, wait_until};
use atoll_qemu::firmware::find_firmware;
use atoll_qemu::qmp::QmpError;
use atoll_qemu::{Arch, Attach, ErrorKind, Firmware, Nic, Process, QemuError, Reconnect, Stopped};
use rustix::process::{Pid, Signal, kill_process};

fn nic(model: &str, socket: &std::path::Path) -> Nic {
    Nic {
        id: "net0".to_owned(),
        model: model.to_owned(),
        mac: [0x52, 0x54, 0, 1, 2, 3],
        attach: Attach::Stream {
            path: socket.to_owned(),
        },
        host_mtu: None,
        network_boot: false,
    }
}

#[test]
fn a_machine_that_waits_is_told_to_quit_and_leaves_no_file() {
    let machine = Machine::new("waits").extra(&["-S"]).start();
    let process = machine.process();
    let mut control = process.control().expect("qmp");
    let status = control.query_status().expect("status");
    assert_eq!((status.state.as_str(), status.running), ("prelaunch", false));
    assert_eq!(control.query_name().expect("name").as_deref(), Some("waits"));
    assert_eq!(
        control.query_uuid().expect("uuid"),
        "00000000-0000-0000-0000-000000000000"
    );
    drop(control);
    assert!(process.is_alive());
    assert_eq!(process.stop(PATIENCE).expect("stop"), Stopped::Quit);
    assert!(!process.is_alive());
    for left in ["pid", "qmp", "console"] {
        assert!(!machine.dir.path().join(left).exists(), "{left} is left behind");
    }
    assert_eq!(process.stop(PATIENCE).expect("stop"), Stopped::AlreadyGone);
}

#[test]
fn the_power_button_turns_off_a_guest_that_obeys() {
    let machine = Machine::new("obeys").with_obedient_guest().start();
    wait_until("the guest's OK on its console", || {
        machine.console_log().contains("OK")
    });
    assert_eq!(
        machine.process().stop(PATIENCE).expect("stop"),
        Stopped::PoweredDown
    );
}

#[test]
fn a_guest_that_ignores_the_power_button_is_ended_after_its_grace() {
    let machine = Machine::new("ignores").start();
    let stopped = machine.process().stop_within(Duration::from_millis(50), PATIENCE);
    assert_eq!(stopped.expect("stop"), Stopped::Quit);
}

#[test]
fn a_process_that_does_not_answer_is_killed() {
    let machine = Machine::new("frozen").extra(&["-S"]).start();
    let process = machine.process();
    let pid = Pid::from_raw(process.pid).expect("pid");
    kill_process(pid, Signal::STOP).expect("the machine just started");
    let stopped = process.stop_within(PATIENCE, Duration::from_millis(200));
    assert_eq!(stopped.expect("stop"), Stopped::Killed);
    assert!(!process.is_alive());
    for left in ["pid", "qmp", "console"] {
        assert!(!machine.dir.path().join(left).exists(), "{left} is left behind");
    }
}

#[test]
fn a_machine_is_in_a_session_of_its_own() {
    let machine = Machine::new("alone").extra(&["-S"]).start();
    let theirs = session(&machine.process().pid.to_string());
    assert_ne!(theirs, session("self"));
}

/// The session of a process, by its field in `/proc`: 0 where the leader is outside the PID namespace,
/// as it is for a test in a container, and `getsid` of rustix does not expect that.
fn session(process: &str) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("stat");
    let (_, fields) = stat.rsplit_once(')').expect("the name ends in a parenthesis");
    fields
        .split_whitespace()
        .nth(3)
        .and_then(|field| field.parse().ok())
        .expect("session")
}

#[test]
fn cpus_stop_and_go_on_and_events_tell() {
    let machine = Machine::new("events").with_obedient_guest().start();
    let mut control = machine.process().control().expect("qmp");
    control.stop().expect("stop");
    assert!(control.wait_event("STOP", PATIENCE).expect("events").is_some());
    assert!(!control.query_status().expect("status").running);
    control.cont().expect("cont");
    assert!(control.wait_event("RESUME", PATIENCE).expect("events").is_some());
    assert!(control.query_status().expect("status").running);
    let none = control
        .wait_event("NO_SUCH_EVENT", Duration::from_millis(10))
        .expect("events");
    assert_eq!(none, None);
}

#[test]
fn a_refused_command_carries_the_words_of_qemu() {
    let machine = Machine::new("refuses").extra(&["-S"]).start();
    let mut control = machine.process().control().expect("qmp");
    let error = control
        .execute("no-such-command", None)
        .expect_err("must be refused");
    let QemuError::Qmp {
        source: QmpError::Refused {
            command,
            class,
            description,
        },
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(
        (command.as_str(), class.as_str()),
        ("no-such-command", "CommandNotFound")
    );
    assert!(description.contains("no-such-command"), "{description}");
    assert!(
        control.query_status().is_ok(),
        "the connection is as good as before"
    );
}

#[test]
fn a_second_client_is_told_that_qemu_does_not_greet() {
    let machine = Machine::new("busy").extra(&["-S"]).start();
    let _first = machine.process().control().expect("qmp");
    let path = &machine.process().qmp;
    let error = atoll_qemu::Qmp::connect(path, Duration::from_millis(100)).expect_err("QEMU serves one");
    assert!(
        matches!(
            error,
            QemuError::Qmp {
                source: QmpError::Timeout { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn death_at_start_shows_the_words_of_qemu() {
    let machine = Machine::new("dies").extra(&["-no-such-option"]);
    let started = Process::start(&machine.launch, &qemu(), &machine.stderr(), &[], PATIENCE);
    let error = started.expect_err("QEMU must refuse");
    assert_eq!(
        error.to_string(),
        "machine dies: QEMU died at start (exit status: 1): -no-such-option: invalid option"
    );
    assert_eq!(error.kind(), ErrorKind::Environment);
}

#[test]
fn a_background_machine_needs_its_pidfile() {
    let mut machine = Machine::new("bare");
    machine.launch.pidfile = None;
    let started = Process::start(&machine.launch, &qemu(), &machine.stderr(), &[], PATIENCE);
    assert_eq!(
        started.expect_err("must be refused").to_string(),
        "machine bare: pidfile cannot be left out: the machine is to run in the background"
    );
}

#[test]
fn an_unknown_card_is_named() {
    let mut machine = Machine::new("card");
    machine
        .launch
        .nics
        .push(nic("no-such-card", &machine.dir.path().join("net")));
    let started = Process::start(&machine.launch, &qemu(), &machine.stderr(), &[], PATIENCE);
    let error = started.expect_err("QEMU must refuse");
    assert_eq!(
        error.to_string(),
        "machine card: this QEMU has no device no-such-card"
    );
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn a_disk_in_use_is_explained() {
    let mut first = Machine::new("first").extra(&["-S"]);
    let disk = first.dir.path().join("a,disk:1.img");
    fs::write(&disk, vec![0; 1 << 20]).expect("disk");
    let format = atoll_qemu::DiskFormat::Raw;
    first.launch.disks.push(atoll_qemu::Disk {
        path: disk,
        format,
        read_only: false,
    });
    let mut second = Machine::new("second");
    second.launch.disks.clone_from(&first.launch.disks);
    let _first = first.start();
    let started = Process::start(&second.launch, &qemu(), &second.stderr(), &[], PATIENCE);
    let error = started.expect_err("the disk is locked");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("already running")),
        "{error}"
    );
}

#[test]
fn a_qemu_that_hangs_at_start_is_given_up_and_ended() {
    let dir = tempfile::tempdir().expect("folder");
    let marker = dir.path().join("pid-of-script");
    let body = format!(
        "echo $$ > {}; echo thinking >&2; exec sleep 1000",
        marker.display()
    );
    let mut capabilities = qemu();
    capabilities.binary = script(dir.path(), &body);
    let machine = Machine::new("hangs");
    let limit = Duration::from_secs(2);
    let started = Process::start(&machine.launch, &capabilities, &machine.stderr(), &[], limit);
    let error = started.expect_err("it never detaches");
    assert_eq!(
        error.to_string(),
        "machine hangs: QEMU did not start within 2 s: thinking"
    );
    let pid: i32 = fs::read_to_string(&marker)
        .expect("marker")
        .trim()
        .parse()
        .expect("pid");
    let pid = Pid::from_raw(pid).expect("pid");
    assert!(
        rustix::process::test_kill_process(pid).is_err(),
        "the script still runs"
    );
}

#[test]
fn a_running_machine_is_recognised_by_name() {
    let machine = Machine::new("known").extra(&["-S"]).start();
    let process = machine.process();
    let adopted = Process::adopt("known", &process.pidfile, &process.qmp).expect("adopt");
    let adopted = adopted.expect("it runs");
    assert_eq!((adopted.pid, &adopted.started), (process.pid, &process.started));
    assert!(adopted.is_alive());
    let other = Process::adopt("other", &process.pidfile, &process.qmp).expect("adopt");
    assert_eq!(other, None);
}

#[test]
fn a_pidfile_that_names_a_stranger_harms_nobody() {
    let dir = tempfile::tempdir().expect("folder");
    let mut stranger = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .expect("sleep");
    let pid = i32::try_from(stranger.id()).expect("pid");
    let (pidfile, qmp) = (dir.path().join("pid"), dir.path().join("qmp"));
    fs::write(&pidfile, format!("{pid}\n")).expect("pidfile");
    assert_eq!(Process::adopt("gone", &pidfile, &qmp).expect("adopt"), None);
    let name = "gone".to_owned();
    let stale = Process {
        name,
        pid,
        started: "an earlier boot:1".to_owned(),
        pidfile,
        qmp,
        sockets: Vec::new(),
    };
    assert!(!stale.is_alive());
    assert_eq!(stale.stop(PATIENCE).expect("stop"), Stopped::AlreadyGone);
    assert_eq!(stranger.try_wait().expect("wait"), None, "the stranger was ended");
    stranger.kill().expect("our own child");
    stranger.wait().expect("our own child");
}

fn accept(listener: &UnixListener) -> UnixStream {
    listener.set_nonblocking(true).expect("nonblocking");
    let mut accepted = None;
    wait_until("QEMU's connection", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    accepted.expect("wait_until says so").0
}

#[test]
fn cards_connect_and_connect_again_after_the_network_was_away() {
    for model in ["virtio-net-pci", "e1000", "e1000e", "rtl8139"] {
        let mut machine = Machine::new("net").extra(&["-S"]);
        let socket = machine.dir.path().join("net,0");
        let listener = UnixListener::bind(&socket).expect("bind");
        machine.launch.nics.push(nic(model, &socket));
        let machine = machine.start();
        let connection = accept(&listener);
        if qemu().reconnect() == Reconnect::Unsupported {
            continue;
        }
        drop((connection, listener));
        fs::remove_file(&socket).expect("socket");
        let listener = UnixListener::bind(&socket).expect("bind again");
        drop(accept(&listener));
        assert!(machine.process().is_alive(), "{model}");
    }
}

#[test]
fn a_datagram_card_binds_its_end_and_leaves_nothing() {
    let mut machine = Machine::new("dgram").extra(&["-S"]);
    let (local, remote) = (
        machine.dir.path().join("local"),
        machine.dir.path().join("remote"),
    );
    let network = UnixDatagram::bind(&remote).expect("bind");
    let attach = Attach::Dgram {
        local: local.clone(),
        remote,
    };
    machine.launch.nics.push(Nic {
        attach,
        ..nic("virtio-net-pci", &local)
    });
    let machine = machine.start();
    network.send_to(&[0xff; 60], &local).expect("QEMU's end");
    machine.process().stop(PATIENCE).expect("stop");
    assert!(!local.exists());
}

#[test]
fn what_qemu_inherits_is_closed_when_it_has_ended_and_not_before() {
    let machine = Machine::new("inherit").extra(&["-S"]);
    let (ours, its) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("nonblocking");
    let started = Process::start(
        &machine.launch,
        &qemu(),
        &machine.stderr(),
        &[its.as_fd()],
        PATIENCE,
    );
    let process = started.expect("start");
    drop(its);
    let mut byte = [0; 1];
    let still_open = (&ours).read(&mut byte).expect_err("nothing was written");
    assert_eq!(still_open.kind(), std::io::ErrorKind::WouldBlock);
    process.stop(Duration::ZERO).expect("stop");
    wait_until("the end of the pair", || {
        (&ours).read(&mut byte).is_ok_and(|read| read == 0)
    });
}

#[test]
fn qemu_reads_the_folder_of_a_seed() {
    let mut machine = Machine::new("seed").extra(&["-S"]);
    let folder = machine.dir.path().join("seed");
    fs::create_dir(&folder).expect("folder");
    fs::write(folder.join("meta-data"), "instance-id: a\n").expect("a document");
    machine.launch.seed = Some(folder);
    let machine = machine.start();
    assert!(machine.process().is_alive());
}

#[test]
fn an_aarch64_machine_runs_its_firmware() {
    let Some(capabilities) = qemu_aarch64() else {
        return;
    };
    let files = match find_firmware(&capabilities) {
        Ok(files) => files,
        Err(missing) => return eprintln!("skipped: {missing}"),
    };
    let mut machine = Machine::new("arm");
    let vars = machine.dir.path().join("vars.fd");
    fs::copy(files.vars_template.expect("a template"), &vars).expect("copy");
    machine.launch.arch = Arch::Aarch64;
    machine.launch.memory = 256 << 20;
    machine.launch.firmware = Some(Firmware {
        code: files.code,
        vars: Some(vars),
    });
    let started = Process::start(&machine.launch, &capabilities, &machine.stderr(), &[], PATIENCE);
    machine.process = Some(started.expect("start"));
    wait_until("the firmware's words", || machine.console_log().contains("UEFI"));
}

#[test]
fn the_console_is_a_socket_as_well_as_a_log() {
    let machine = Machine::new("console")
        .extra(&["-S"])
        .with_obedient_guest()
        .start();
    let mut console = UnixStream::connect(machine.dir.path().join("console")).expect("console");
    console.set_read_timeout(Some(PATIENCE)).expect("timeout");
    machine.process().control().expect("qmp").cont().expect("cont");
    let mut said = [0; 2];
    console.read_exact(&mut said).expect("the guest's words");
    assert_eq!(&said, b"OK");
    wait_until("the log", || machine.console_log() == "OK");
}
