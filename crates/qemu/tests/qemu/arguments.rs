//! The command line: exact words, quoting, and that real QEMU agrees.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::Command;

use atoll_qemu::{
    Accel, Arch, Attach, Capabilities, CommandLine, Console, Disk, DiskFormat, Firmware, Kernel, Launch, Nic,
    Version, shell_line,
};
use proptest::prelude::*;

fn capabilities(arch: Arch, major: u32, minor: u32) -> Capabilities {
    Capabilities {
        binary: PathBuf::from("/usr/bin").join(arch.binary_name()),
        arch,
        version: Version::new(major, minor, 0),
        accelerators: vec![Accel::Tcg],
        data_dirs: Vec::new(),
    }
}

fn nic(id: &str, model: &str, attach: Attach) -> Nic {
    let mac = [0x52, 0x54, 0, 0xab, 0xcd, 0xef];
    Nic {
        id: id.into(),
        model: model.into(),
        mac,
        attach,
        host_mtu: Some(1400),
        network_boot: false,
    }
}

fn stream(path: &str) -> Attach {
    Attach::Stream { path: path.into() }
}

fn words(line: &CommandLine) -> Vec<String> {
    line.args()
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// The value after the n-th `flag`.
fn value(line: &CommandLine, flag: &str, n: usize) -> String {
    let words = words(line);
    let mut places = words.iter().enumerate().filter(|(_, word)| *word == flag);
    let (place, _) = places.nth(n).expect("the flag is there");
    words[place + 1].clone()
}

#[test]
fn a_whole_x86_machine() {
    let mut launch = Launch::new("a", Arch::X86_64, Accel::Kvm);
    launch.cpus = 2;
    launch.memory = 2 << 30;
    let path = "/s/a.qcow2".into();
    launch.disks = vec![Disk {
        path,
        format: DiskFormat::Qcow2,
        read_only: false,
    }];
    launch.nics = vec![nic("net0", "virtio-net-pci", stream("/s/lan"))];
    launch.smbios_serial = Some("ds=nocloud;s=http://10.77.0.1/".into());
    launch.console = Some(Console {
        socket: "/s/console".into(),
        log: Some("/s/console.log".into()),
    });
    launch.qmp = Some("/s/qmp".into());
    launch.pidfile = Some("/s/pid".into());
    launch.daemonize = true;
    launch.extra = vec!["-device".into(), "usb-tablet".into()];
    let line = CommandLine::build(&launch, &capabilities(Arch::X86_64, 10, 0));
    let expected = "/usr/bin/qemu-system-x86_64 -nodefaults -no-user-config -name guest=a -machine q35 -accel kvm \
        -cpu host -smp 2 -m 2048M -display none -vga std -device virtio-rng-pci \
        -blockdev driver=qcow2,node-name=disk0,read-only=off,discard=unmap,file.driver=file,\
        file.filename=/s/a.qcow2,file.discard=unmap -device virtio-blk-pci,drive=disk0,bootindex=0 \
        -netdev stream,id=net0,server=off,addr.type=unix,addr.path=/s/lan,reconnect-ms=250 \
        -device driver=virtio-net-pci,netdev=net0,mac=52:54:00:ab:cd:ef,host_mtu=1400,romfile= \
        -smbios 'type=1,serial=ds=nocloud;s=http://10.77.0.1/' \
        -chardev socket,id=console,path=/s/console,server=on,wait=off,logfile=/s/console.log,logappend=on \
        -serial chardev:console -chardev socket,id=qmp,path=/s/qmp,server=on,wait=off -mon chardev=qmp,mode=control \
        -pidfile /s/pid -daemonize -device usb-tablet";
    assert_eq!(line.to_shell().to_string_lossy(), expected);
}

#[test]
fn a_whole_aarch64_machine() {
    let mut launch = Launch::new("b", Arch::Aarch64, Accel::Tcg);
    launch.firmware = Some(Firmware {
        code: "/f/code.fd".into(),
        vars: Some("/s/vars.fd".into()),
    });
    let line = CommandLine::build(&launch, &capabilities(Arch::Aarch64, 10, 0));
    let expected = "/usr/bin/qemu-system-aarch64 -nodefaults -no-user-config -name guest=b \
        -machine virt,pflash0=flash0,pflash1=flash1 -accel tcg -cpu max,pauth-impdef=on -smp 1 -m 512M -display none \
        -device virtio-rng-pci \
        -blockdev driver=raw,node-name=flash0,read-only=on,file.driver=file,file.filename=/f/code.fd \
        -blockdev driver=raw,node-name=flash1,read-only=off,file.driver=file,file.filename=/s/vars.fd";
    assert_eq!(line.to_shell().to_string_lossy(), expected);
}

#[test]
fn a_direct_kernel_takes_its_words_as_they_are() {
    let mut launch = Launch::new("k", Arch::X86_64, Accel::Tcg);
    let append = "console=ttyS0 a=1,2".to_owned();
    launch.kernel = Some(Kernel {
        image: "/k,1".into(),
        initrd: Some("/i".into()),
        append,
    });
    let line = CommandLine::build(&launch, &capabilities(Arch::X86_64, 8, 0));
    assert_eq!(value(&line, "-kernel", 0), "/k,1");
    assert_eq!(value(&line, "-initrd", 0), "/i");
    assert_eq!(value(&line, "-append", 0), "console=ttyS0 a=1,2");
}

#[test]
fn reconnect_is_spelt_as_the_version_knows_it() {
    let mut launch = Launch::new("n", Arch::X86_64, Accel::Tcg);
    launch.nics = vec![nic("net0", "e1000", stream("/s"))];
    let base = "stream,id=net0,server=off,addr.type=unix,addr.path=/s";
    for (major, minor, end) in [
        (7, 2, ""),
        (8, 0, ",reconnect=1"),
        (9, 1, ",reconnect=1"),
        (9, 2, ",reconnect-ms=250"),
        (10, 2, ",reconnect-ms=250"),
    ] {
        let line = CommandLine::build(&launch, &capabilities(Arch::X86_64, major, minor));
        assert_eq!(
            value(&line, "-netdev", 0),
            format!("{base}{end}"),
            "{major}.{minor}"
        );
    }
}

#[test]
fn datagram_cards_name_both_ends_and_only_virtio_learns_the_mtu() {
    let mut launch = Launch::new("n", Arch::X86_64, Accel::Tcg);
    let attach = Attach::Dgram {
        local: "/l".into(),
        remote: "/r".into(),
    };
    launch.nics = vec![nic("net0", "e1000", attach)];
    let line = CommandLine::build(&launch, &capabilities(Arch::X86_64, 7, 2));
    let expected = "dgram,id=net0,local.type=unix,local.path=/l,remote.type=unix,remote.path=/r";
    assert_eq!(value(&line, "-netdev", 0), expected);
    let device = value(&line, "-device", 1);
    assert_eq!(device, "driver=e1000,netdev=net0,mac=52:54:00:ab:cd:ef,romfile=");
}

#[test]
fn a_card_on_vhost_user_shares_the_memory_of_the_machine() {
    let mut launch = Launch::new("n", Arch::X86_64, Accel::Tcg);
    let attach = Attach::VhostUser { path: "/s,1".into() };
    launch.nics = vec![nic("net0", "virtio-net-pci", attach)];
    for (major, minor, reconnect) in [
        (7, 2, "reconnect=1"),
        (9, 1, "reconnect=1"),
        (10, 0, "reconnect-ms=250"),
    ] {
        let line = CommandLine::build(&launch, &capabilities(Arch::X86_64, major, minor));
        assert_eq!(value(&line, "-machine", 0), "q35,memory-backend=ram0");
        let kind = if std::env::consts::OS == "linux" {
            "memfd"
        } else {
            "shm"
        };
        let memory = format!("memory-backend-{kind},id=ram0,size=512M,share=on");
        assert_eq!(value(&line, "-object", 0), memory.as_str());
        let socket = format!("socket,id=net0-socket,path=/s,,1,{reconnect}");
        assert_eq!(value(&line, "-chardev", 0), socket);
        assert_eq!(
            value(&line, "-netdev", 0),
            "vhost-user,id=net0,chardev=net0-socket"
        );
        let device = "driver=virtio-net-pci,netdev=net0,mac=52:54:00:ab:cd:ef,host_mtu=1400,romfile=";
        assert_eq!(value(&line, "-device", 1), device);
    }
}

#[test]
fn a_card_on_a_tap_names_the_descriptor_and_who_moves_its_frames() {
    let mut launch = Launch::new("a", Arch::X86_64, Accel::Tcg);
    let tap = |descriptor, vhost| Attach::Tap { descriptor, vhost };
    launch.nics = vec![
        nic("net0", "virtio-net-pci", tap(17, true)),
        nic("net1", "e1000", tap(18, false)),
    ];
    launch.check().expect("no socket is bound for it");
    let line = CommandLine::build(&launch, &capabilities(Arch::X86_64, 10, 0));
    assert_eq!(value(&line, "-netdev", 0), "tap,id=net0,fd=17,vhost=on");
    assert_eq!(value(&line, "-netdev", 1), "tap,id=net1,fd=18,vhost=off");
}

#[test]
fn a_seed_is_a_drive_that_the_guest_cannot_write() {
    let mut launch = Launch::new("a", Arch::X86_64, Accel::Tcg);
    launch.seed = Some("/s/a,b/seed".into());
    let line = CommandLine::build(&launch, &capabilities(Arch::X86_64, 10, 0));
    assert_eq!(
        value(&line, "-blockdev", 0),
        "driver=vvfat,node-name=seed,dir=/s/a,,b/seed,label=cidata,read-only=on"
    );
    assert_eq!(value(&line, "-device", 1), "virtio-blk-pci,drive=seed");
}

#[test]
fn sizes_are_exact() {
    for (bytes, text) in [
        (1 << 30, "1024M"),
        ((1 << 20) + 1024, "1025K"),
        ((1 << 20) + 1, "1048577B"),
    ] {
        let mut launch = Launch::new("m", Arch::X86_64, Accel::Tcg);
        launch.memory = bytes;
        let line = CommandLine::build(&launch, &capabilities(Arch::X86_64, 10, 0));
        assert_eq!(value(&line, "-m", 0), text);
    }
}

#[test]
fn nonsense_is_refused_by_field() {
    let good = Launch::new("x", Arch::X86_64, Accel::Tcg);
    good.check().expect("a plain machine is fine");
    let refused = |change: fn(&mut Launch)| {
        let mut launch = good.clone();
        change(&mut launch);
        launch.check().expect_err("must be refused").to_string()
    };
    assert_eq!(
        refused(|l| l.cpus = 0),
        "machine x: cpus cannot be 0: a machine has at least one"
    );
    assert!(refused(|l| l.memory = 1).contains("memory cannot be 1 bytes"));
    assert!(refused(|l| l.name.clear()).contains("name cannot be"));
    let relative = |l: &mut Launch| (l.daemonize, l.qmp) = (true, Some("qmp".into()));
    assert_eq!(
        refused(relative),
        "machine x: path cannot be qmp: in the background it must be absolute"
    );
    assert!(refused(|l| l.qmp = Some(format!("/{}", "x".repeat(120)).into())).contains("too long"));
}

/// Takes QEMU's option syntax apart again, as `util/qemu-option.c` does.
fn split_option(text: &[u8]) -> Vec<Vec<u8>> {
    let mut values = vec![Vec::new()];
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let last = values.last_mut().expect("never empty");
        match (byte, tail.first()) {
            (b',', Some(b',')) => {
                last.push(b',');
                rest = &tail[1..];
            }
            (b',', _) => {
                values.push(Vec::new());
                rest = tail;
            }
            _ => {
                last.push(byte);
                rest = tail;
            }
        }
    }
    values
}

fn text_without_nul() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        prop_oneof![1..=255u8, Just(b','), Just(b'\''), Just(b'='), Just(b'\n')],
        0..20,
    )
}

proptest! {
    #[test]
    fn no_path_escapes_from_its_option(path in text_without_nul()) {
        let mut launch = Launch::new("p", Arch::X86_64, Accel::Tcg);
        let path = OsString::from_vec(path);
        let disk = Disk { path: path.clone().into(), format: DiskFormat::Raw, read_only: true };
        launch.disks = vec![disk];
        let line = CommandLine::build(&launch, &capabilities(Arch::X86_64, 10, 0));
        let place = line.args().iter().position(|word| word == "-blockdev").expect("a disk");
        let values = split_option(line.args()[place + 1].as_bytes());
        prop_assert_eq!(values.len(), 7);
        let mut expected = b"file.filename=".to_vec();
        expected.extend_from_slice(path.as_bytes());
        prop_assert!(values.contains(&expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_shell_reads_back_the_same_words(args in prop::collection::vec(text_without_nul(), 1..6)) {
        let args: Vec<OsString> = args.into_iter().map(OsString::from_vec).collect();
        let line = shell_line(args.iter().map(OsString::as_os_str));
        let mut script = OsString::from("printf '%s\\0' ");
        script.push(&line);
        let output = Command::new("sh").arg("-c").arg(script).output().expect("sh");
        let mut expected = Vec::new();
        for arg in &args {
            expected.extend_from_slice(arg.as_bytes());
            expected.push(0);
        }
        prop_assert_eq!(output.stdout, expected);
    }
}

#[test]
fn a_first_word_with_an_equals_sign_is_no_assignment() {
    assert_eq!(
        shell_line([OsStr::new("a=b"), OsStr::new("c=d"), OsStr::new("")]),
        "'a=b' c=d ''"
    );
}
