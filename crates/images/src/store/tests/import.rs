//! Files from elsewhere, as the real tools write them, into a store.

use super::*;
use crate::qcow2;
use std::process::Command;

const MIB: usize = 1 << 20;

/// A raw disk: a boot record, something in its middle, holes.
fn raw() -> Vec<u8> {
    let mut disk = vec![0; 4 * MIB];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[2 * MIB..][..300_000].copy_from_slice(&super::disk()[104..][..300_000]);
    disk
}

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let status = Command::new(program).current_dir(folder).args(arguments).status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}

/// A folder with `raw.img`, and the disk in another format by the real `qemu-img`.
fn converted(arguments: &[&str], to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("raw.img"), raw()).unwrap();
    let all = [&["convert", "-f", "raw"], arguments, &["raw.img", to]].concat();
    run(folder.path(), "qemu-img", &all);
    folder
}

fn import(file: &Path) -> (tempfile::TempDir, Result<Image, StoreError>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let new = NewImage {
        name: "own".to_owned(),
        arch: Arch::X86_64,
        ssh_user: Some("admin".to_owned()),
    };
    let image = store.import(file, &new);
    let (staging, images) = (folder.path().join("staging"), folder.path().join("images"));
    assert_eq!(files_below(&staging), 0, "nothing in between stays");
    assert_eq!(files_below(&images), usize::from(image.is_ok()));
    (folder, image)
}

/// The sectors of an image, whatever its format.
fn sectors(image: &Image) -> Vec<u8> {
    let Boot::Disk { path, format } = &image.boot else {
        panic!("{image:?}");
    };
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", format.name(), "-O", "raw"]);
    assert!(command.arg(path).arg(out.path()).status().unwrap().success());
    fs::read(out.path()).unwrap()
}

fn refused(file: &Path) -> String {
    let error = import(file).1.unwrap_err();
    assert!(error.kind().is_usage(), "{error}");
    error
        .to_string()
        .replace(&format!("{}/", file.parent().unwrap().display()), "")
}

#[test]
fn disks_of_every_format_come_in_with_their_sectors_whatever_their_names() {
    let cases: [(&[&str], DiskFormat); 8] = [
        (&["-O", "raw"], DiskFormat::Raw),
        (&["-O", "qcow2"], DiskFormat::Qcow2),
        (&["-O", "qcow2", "-c", "-o", "compat=0.10"], DiskFormat::Qcow2),
        (
            &["-O", "vmdk", "-o", "subformat=monolithicSparse"],
            DiskFormat::Qcow2,
        ),
        (
            &["-O", "vmdk", "-o", "subformat=streamOptimized"],
            DiskFormat::Qcow2,
        ),
        (&["-O", "vdi"], DiskFormat::Qcow2),
        (&["-O", "vhdx"], DiskFormat::Qcow2),
        (&["-O", "vpc", "-o", "force_size=on"], DiskFormat::Qcow2),
    ];
    for (arguments, expected) in cases {
        let folder = converted(arguments, "disk.iso");
        let (_store, image) = import(&folder.path().join("disk.iso"));
        let image = image.unwrap();
        assert!(sectors(&image) == raw(), "{arguments:?}");
        assert!(
            matches!(image.boot, Boot::Disk { format, .. } if format == expected),
            "{arguments:?}"
        );
        assert_eq!(
            (image.origin, image.ssh_user.as_deref()),
            (Origin::Imported, Some("admin"))
        );
    }
}

#[test]
fn compressed_disks_come_in_unpacked() {
    let tools: [(&str, &str); 3] = [
        ("gzip", "raw.img.gz"),
        ("xz", "raw.img.xz"),
        ("zstd", "raw.img.zst"),
    ];
    for (tool, name) in tools {
        let folder = converted(&["-O", "qcow2"], "d.qcow2");
        let arguments: &[&str] = if tool == "zstd" {
            &["-q", "raw.img"]
        } else {
            &["raw.img"]
        };
        run(folder.path(), tool, arguments);
        let (_store, image) = import(&folder.path().join(name));
        assert!(sectors(&image.unwrap()) == raw(), "{tool}");
    }
}

#[test]
fn holes_stay_holes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large.img");
    fs::write(&file, [7; 512]).unwrap();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let (_store, image) = import(&file);
    let image = image.unwrap();
    let Boot::Disk { path, .. } = &image.boot else {
        panic!("{image:?}")
    };
    assert_eq!(image.bytes, 1 << 30);
    assert!(
        files::allocated(path) <= 1 << 20,
        "{} bytes",
        files::allocated(path)
    );
}

#[test]
fn disks_that_lead_to_other_files_are_refused() {
    let folder = converted(&["-O", "qcow2"], "base.qcow2");
    let here = folder.path();
    let create = |arguments: &[&str]| run(here, "qemu-img", &[&["create", "-q"], arguments].concat());
    create(&["-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", "backed.qcow2"]);
    create(&["-f", "qcow2", "-o", "data_file=data.raw", "external.qcow2", "1M"]);
    create(&["-f", "vmdk", "base.vmdk", "4M"]);
    create(&["-f", "vmdk", "-F", "vmdk", "-b", "base.vmdk", "backed.vmdk"]);
    create(&["-f", "vmdk", "-o", "subformat=monolithicFlat", "flat.vmdk", "1M"]);
    let said: Vec<_> = ["backed.qcow2", "external.qcow2", "backed.vmdk", "flat.vmdk"]
        .iter()
        .map(|name| refused(&here.join(name)))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_vmdk_without_capacity_does_not_reach_its_extents() {
    let folder = converted(&["-O", "vmdk"], "d.vmdk");
    let file = folder.path().join("d.vmdk");
    let mut bytes = fs::read(&file).unwrap();
    bytes[12..20].fill(0);
    fs::write(&file, bytes).unwrap();
    assert_eq!(
        refused(&file),
        "d.vmdk keeps its data in other files, which an image must not"
    );
}

#[test]
fn such_disks_are_refused_where_they_lie_and_when_they_are_fetched() {
    let folder = converted(&["-O", "qcow2"], "base.qcow2");
    let arguments = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "own.qcow2",
    ];
    run(folder.path(), "qemu-img", &arguments);
    let file = folder.path().join("own.qcow2");
    let body = fs::read(&file).unwrap();
    let server = Server::start(move |_, _| Answer::whole(&body));
    let cache = tempfile::tempdir().unwrap();
    let store = store(cache.path(), &server);
    for source in [Source::Path(file), url(server.url("/own.qcow2"))] {
        let error = pull(&store, &source).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("own.qcow2 lies on a backing file, which an image must not"),
            "{error}"
        );
    }
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn what_is_no_disk_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let mut medium = vec![0; 64 * 1024];
    medium[32769..32774].copy_from_slice(b"CD001");
    let said = [
        refused(&file("installer.qcow2", &medium)),
        refused(&file("page.img", b"<html>not found</html>")),
        refused(&file("empty.img", b"")),
        refused(&file("cut.vhdx", b"vhdxfile and no more")),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

/// Packs an OVA with these files, as `tar` does.
fn ova(folder: &Path, files: &[&str]) -> PathBuf {
    run(
        folder,
        "tar",
        &[&["--format=ustar", "-cf", "m.ova"], files].concat(),
    );
    folder.join("m.ova")
}

fn ovf(disks: &[&str]) -> String {
    let file = |(at, href): (usize, &&str)| format!("<File ovf:id=\"f{at}\" ovf:href=\"{href}\"/>");
    let files: String = disks.iter().enumerate().map(file).collect();
    let disk = |at: usize| format!("<Disk ovf:diskId=\"d{at}\" ovf:fileRef=\"f{at}\"/>");
    let disks: String = (0..disks.len()).map(disk).collect();
    format!("<Envelope><References>{files}</References><DiskSection>{disks}</DiskSection></Envelope>")
}

fn vmdk_folder() -> tempfile::TempDir {
    converted(&["-O", "vmdk", "-o", "subformat=streamOptimized"], "m-disk1.vmdk")
}

fn sha256_line(folder: &Path, name: &str) -> String {
    let digest = Digest::of(Algorithm::Sha256, &mut fs::File::open(folder.join(name)).unwrap()).unwrap();
    format!(
        "SHA256({name})= {}\n",
        digest.to_string().trim_start_matches("sha256:")
    )
}

#[test]
fn the_disk_of_an_ova_comes_in() {
    let folder = vmdk_folder();
    let here = folder.path();
    fs::write(here.join("m.ovf"), ovf(&["m-disk1.vmdk"])).unwrap();
    fs::write(here.join("m.mf"), sha256_line(here, "m-disk1.vmdk")).unwrap();
    let (_store, image) = import(&ova(here, &["m.ovf", "m.mf", "m-disk1.vmdk"]));
    assert!(sectors(&image.unwrap()) == raw());
    run(here, "gzip", &["m.ova"]);
    let (_store, image) = import(&here.join("m.ova.gz"));
    assert!(sectors(&image.unwrap()) == raw());
}

#[test]
fn an_ova_that_is_not_whole_or_not_of_one_disk_is_refused() {
    let folder = vmdk_folder();
    let here = folder.path();
    let mut said = vec![refused(&ova(here, &["m-disk1.vmdk"]))];
    for (disks, files) in [
        (
            &["m-disk1.vmdk", "m-disk2.vmdk"][..],
            &["m.ovf", "m-disk1.vmdk"][..],
        ),
        (&[], &["m.ovf"]),
        (&["../m-disk1.vmdk"], &["m.ovf", "m-disk1.vmdk"]),
        (&["/etc/passwd"], &["m.ovf", "m-disk1.vmdk"]),
    ] {
        fs::write(here.join("m.ovf"), ovf(disks)).unwrap();
        said.push(refused(&ova(here, files)));
    }
    fs::write(here.join("m.ovf"), ovf(&["m-disk1.vmdk"])).unwrap();
    let file = ova(here, &["m.ovf", "m-disk1.vmdk"]);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    said.push(refused(&file));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_disk_that_its_ova_does_not_vouch_for_is_refused() {
    let folder = vmdk_folder();
    let here = folder.path();
    fs::write(here.join("m.ovf"), ovf(&["m-disk1.vmdk"])).unwrap();
    fs::write(
        here.join("m.mf"),
        sha256_line(here, "m.ovf").replace("m.ovf", "m-disk1.vmdk"),
    )
    .unwrap();
    let file = ova(here, &["m.ovf", "m.mf", "m-disk1.vmdk"]);
    let said = refused(&file);
    assert!(
        said.starts_with("m-disk1.vmdk in m.ova has the wrong checksum: "),
        "{said}"
    );
}

/// Names with `..`, absolute ones, links and devices.
#[test]
fn a_hostile_ova_writes_nowhere() {
    let folder = vmdk_folder();
    let here = folder.path();
    fs::write(here.join("m.ovf"), ovf(&["m-disk1.vmdk"])).unwrap();
    let outside = here.join("outside");
    std::os::unix::fs::symlink(&outside, here.join("l.vmdk")).unwrap();
    let arguments = [
        "--format=ustar",
        "-P",
        "--transform=flags=r;s,^m-disk1,../../../m-disk1,",
        "-cf",
        "m.ova",
        "l.vmdk",
        "m.ovf",
        "m-disk1.vmdk",
    ];
    run(here, "tar", &arguments);
    let said = refused(&here.join("m.ova"));
    assert_eq!(said, "m.ova is an archive without its disk \"m-disk1.vmdk\"");
    fs::write(here.join("m.ovf"), ovf(&["../../../m-disk1.vmdk"])).unwrap();
    run(here, "tar", &arguments);
    let (store, image) = import(&here.join("m.ova"));
    image.unwrap();
    assert!(!outside.exists());
    assert!(
        !store.path().join("../../../m-disk1.vmdk").exists() && !store.path().join("m-disk1.vmdk").exists()
    );
}

#[test]
fn a_machines_disk_is_saved_whole_without_its_base() {
    let folder = converted(&["-O", "qcow2"], "base.qcow2");
    let base = folder.path().join("base.qcow2");
    let own = folder.path().join("disk.qcow2");
    overlay::create(&base, DiskFormat::Qcow2, &own, None).unwrap();
    run(
        folder.path(),
        "qemu-io",
        &["-f", "qcow2", "-c", "write -P 7 1M 64k", "disk.qcow2"],
    );
    let cache = tempfile::tempdir().unwrap();
    let store = Store::open(cache.path()).unwrap();
    let new = NewImage {
        name: "golden".to_owned(),
        arch: Arch::X86_64,
        ssh_user: None,
    };
    let image = store.save(&own, "machine web of demo", &new).unwrap();
    let Boot::Disk { path, .. } = &image.boot else {
        panic!("{image:?}")
    };
    assert_eq!(qcow2::backing_file(path).unwrap(), None);
    let mut expected = raw();
    expected[MIB..MIB + 65536].fill(7);
    assert!(sectors(&image) == expected);
}
