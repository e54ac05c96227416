//! Memory of a guest in a file, with a guest that says once when it begins and obeys its power button.

use std::path::Path;
use std::time::Duration;

use crate::common::{Machine, PATIENCE, qemu, wait_until};
use atoll_qemu::{MemoryFile, Process, QemuError, Stopped};

fn file(path: &Path) -> MemoryFile<'_> {
    MemoryFile {
        path,
        deadline: PATIENCE,
        is_off: &|| false,
    }
}

#[test]
fn a_guest_goes_on_in_another_qemu_where_it_stood() {
    let first = Machine::new("sleeper").with_obedient_guest().start();
    wait_until("the guest's OK on its console", || {
        first.console_log().contains("OK")
    });
    let memory = first.dir.path().join("a memory");
    let mut control = first.process().control().expect("qmp");
    let kind = control.machine_type().expect("machine type");
    assert!(kind.starts_with("pc-q35-"), "{kind}");
    assert_eq!(control.memory_blocker().expect("blocker"), None);
    control.stop().expect("stop");
    control.save_memory(file(&memory), &qemu()).expect("save");
    assert_eq!(control.query_status().expect("status").state, "postmigrate");
    control.cont().expect("the one that was saved can go on");
    drop(control);
    first
        .process()
        .stop_within(Duration::ZERO, PATIENCE)
        .expect("stop");

    let mut second = Machine::new("sleeper");
    second.launch.extra.clone_from(&first.launch.extra);
    second.launch.machine = Some(kind);
    second.launch.waits_for_memory = true;
    let second = second.start();
    let mut control = second.process().control().expect("qmp");
    control.load_memory(file(&memory), &qemu()).expect("load");
    assert!(!control.query_status().expect("status").running);
    control.cont().expect("cont");
    drop(control);
    // It waits for the power button, as it did, and has not begun again.
    assert_eq!(
        second.process().stop(PATIENCE).expect("stop"),
        Stopped::PoweredDown
    );
    assert_eq!(second.console_log(), "");
}

#[test]
fn a_saving_that_is_called_off_leaves_a_guest_that_goes_on() {
    let machine = Machine::new("busy").with_obedient_guest().start();
    let memory = machine.dir.path().join("memory");
    let mut control = machine.process().control().expect("qmp");
    control.stop().expect("stop");
    let off = MemoryFile {
        is_off: &|| true,
        ..file(&memory)
    };
    match control.save_memory(off, &qemu()) {
        // One as small may be done at the first look.
        Ok(()) => {}
        Err(QemuError::Memory { reason, .. }) => assert_eq!(reason, "it was called off"),
        Err(error) => panic!("{error}"),
    }
    control.cont().expect("cont");
    assert!(control.query_status().expect("status").running);
}

#[test]
fn what_is_no_memory_is_refused_with_a_reason() {
    let mut machine = Machine::new("confused");
    machine.launch.waits_for_memory = true;
    let machine = machine.start();
    let wrong = machine.dir.path().join("wrong");
    std::fs::write(&wrong, [7; 4096]).expect("file");
    let process: &Process = machine.process();
    let mut control = process.control().expect("qmp");
    let error = control.load_memory(file(&wrong), &qemu()).expect_err("no memory");
    assert!(
        error.to_string().starts_with("cannot load its memory, "),
        "{error}"
    );
}
