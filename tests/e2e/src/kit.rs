//! What has to be there before anything can run: the binary, QEMU, the micro image, the guest's probe.

use atoll_images::cpio;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

const QEMU: &str = "qemu-system-x86_64";

/// The source of the guest's probe.
const PROBE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest/probe.rs");

/// Everything the tests need, found or built once.
#[derive(Debug)]
pub struct Kit {
    /// The binary under test.
    pub atoll: PathBuf,
    /// The micro image's kernel.
    pub kernel: PathBuf,
    /// The micro image's initramfs with the probe added.
    pub initramfs: PathBuf,
    /// The kernel's command line.
    pub append: String,
    /// Where the micro image lies.
    micro: PathBuf,
    /// How `-netdev stream` is told to connect again: the option of this QEMU.
    pub(crate) reconnect: &'static str,
}

impl Kit {
    /// The kit, or `None` where something is missing: then the reason was printed and the test ends.
    ///
    /// # Panics
    /// With the reason, where `ATOLL_E2E` is `required`.
    pub fn find() -> Option<&'static Self> {
        static KIT: OnceLock<Result<Kit, String>> = OnceLock::new();
        match KIT.get_or_init(Self::assemble) {
            Ok(kit) => Some(kit),
            Err(reason) => {
                skip(reason);
                None
            }
        }
    }

    fn assemble() -> Result<Self, String> {
        if !cfg!(target_arch = "x86_64") {
            return Err("the micro guests of these tests are for x86_64".to_owned());
        }
        let reconnect = reconnect_option()?;
        let atoll = binary()?;
        let micro = micro_image(&atoll)?;
        let manifest =
            fs::read(micro.join("image.json")).map_err(|error| format!("{}: {error}", micro.display()))?;
        let manifest: serde_json::Value =
            serde_json::from_slice(&manifest).map_err(|error| error.to_string())?;
        let boot = |key: &str| {
            let value = manifest["boot"]["kernel"][key].as_str();
            value
                .map(str::to_owned)
                .ok_or(format!("the micro image's manifest has no boot.kernel.{key}"))
        };
        let initramfs = with_probe(&micro.join(boot("initramfs")?))?;
        Ok(Self {
            atoll,
            kernel: micro.join(boot("kernel")?),
            initramfs,
            append: boot("append")?,
            micro,
            reconnect,
        })
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
pub(crate) fn skip(reason: &str) {
    let required = env::var_os("ATOLL_E2E").is_some_and(|value| value == "required");
    assert!(!required, "end-to-end tests are required, but {reason}");
    eprintln!("skipped: {reason}");
}

/// `reconnect-ms` came with QEMU 9.2; `reconnect`, in seconds, with 8.0 for `stream`; before, nothing.
fn reconnect_option() -> Result<&'static str, String> {
    let output = Command::new(QEMU).arg("--version").output();
    let output = output.map_err(|error| format!("{QEMU} cannot be run: {error}"))?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = words.split_whitespace().nth(3).unwrap_or_default().to_owned();
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= (9, 2) => Ok(",reconnect-ms=100"),
        (Some(major), Some(_)) if major >= 8 => Ok(",reconnect=1"),
        (Some(7), Some(minor)) if minor >= 2 => Ok(""),
        _ => Err(format!("{QEMU} is too old or tells no version: {words:.60}")),
    }
}

/// `ATOLL_BIN`, or `atoll` in the folder above the test's own (`target/debug/deps/`).
pub(crate) fn binary() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("ATOLL_BIN") {
        return Ok(path.into());
    }
    let built = target_folder()?.join("atoll");
    if built.is_file() {
        Ok(built)
    } else {
        Err("the binary is not built (cargo build -p atoll-cli)".to_owned())
    }
}

fn target_folder() -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|error| error.to_string())?;
    own.ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .ok_or("the tests do not lie in a target folder".to_owned())
}

/// `ATOLL_MICRO`, or the image that the binary builds into its cache: again when what it is built from has changed since.
fn micro_image(atoll: &Path) -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("ATOLL_MICRO") {
        return Ok(path.into());
    }
    let cache = image_cache()?;
    if let Some((built, found)) = find_micro(&cache)
        && recipe_changed().is_none_or(|changed| changed < built)
    {
        return Ok(found);
    }
    let built = Command::new(atoll).args(["image", "build", "micro"]).output();
    let built = built.map_err(|error| format!("{} cannot be run: {error}", atoll.display()))?;
    if !built.status.success() {
        let words = String::from_utf8_lossy(&built.stderr).trim().to_owned();
        return Err(format!("`atoll image build micro` failed: {words}"));
    }
    let found = find_micro(&cache).map(|(_, found)| found);
    found.ok_or(format!(
        "`atoll image build micro` left no micro image in {}",
        cache.display()
    ))
}

/// When the files that go into the image were last written here.
fn recipe_changed() -> Option<SystemTime> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/images/src/build");
    let files = fs::read_dir(folder).ok()?.flatten();
    let times = files.filter_map(|file| file.metadata().ok()?.modified().ok());
    times.max()
}

fn image_cache() -> Result<PathBuf, String> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    cache
        .map(|cache| cache.join("atoll/images"))
        .ok_or("neither HOME nor XDG_CACHE_HOME is set".to_owned())
}

/// The latest folder in which an `image.json` names the micro image for this architecture, and when it was made.
fn find_micro(folder: &Path) -> Option<(SystemTime, PathBuf)> {
    let path = folder.join("image.json");
    let manifest = fs::read(&path).ok();
    let manifest = manifest.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    if manifest.is_some_and(|manifest| manifest["name"] == "micro" && manifest["arch"] == "x86_64") {
        let built = fs::metadata(&path).ok()?.modified().ok()?;
        return Some((built, folder.to_path_buf()));
    }
    let entries = fs::read_dir(folder).ok()?.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| find_micro(&entry.path())).max()
}

/// The initramfs with the probe in `/bin`: the kernel unpacks archives that follow each other, each
/// beginning at a multiple of four bytes (Documentation/driver-api/early-userspace/buffer-format.rst).
///
/// Made once for all tests' processes, and again when what it is made from has changed.
fn with_probe(initramfs: &Path) -> Result<PathBuf, String> {
    let folder = target_folder()?.join("e2e");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let place = folder.join("initramfs");
    if is_made(&place, initramfs) {
        return Ok(place);
    }
    let own = format!("{}", std::process::id());
    let probe = folder.join(format!("probe-{own}"));
    compile_probe(&probe)?;
    let combined = folder.join(format!("initramfs-{own}"));
    let written =
        combine(initramfs, &probe, &combined).map_err(|error| format!("{}: {error}", combined.display()));
    written.and_then(|()| fs::rename(&combined, &place).map_err(|error| error.to_string()))?;
    fs::remove_file(&probe).map_err(|error| error.to_string())?;
    Ok(place)
}

/// Whether it stands there, made from this initramfs and from the probe as it is now.
fn is_made(place: &Path, initramfs: &Path) -> bool {
    let written = |path: &Path| fs::metadata(path).and_then(|it| it.modified());
    let is_later = written(place).is_ok_and(|made| written(Path::new(PROBE)).is_ok_and(|probe| probe < made));
    is_later
        && fs::read(place).is_ok_and(|made| {
            fs::read(initramfs).is_ok_and(|part| !part.is_empty() && made.starts_with(&part))
        })
}

fn compile_probe(probe: &Path) -> Result<(), String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let built = Command::new(rustc)
        .args([
            "--edition=2024",
            "-Copt-level=1",
            "-Ctarget-feature=+crt-static",
            "-Cstrip=symbols",
            "-o",
        ])
        .args([probe, Path::new(PROBE)])
        .output()
        .map_err(|error| format!("rustc cannot be run: {error}"))?;
    let words = String::from_utf8_lossy(&built.stderr).into_owned();
    if built.status.success() {
        Ok(())
    } else {
        Err(format!("the guest's probe does not compile: {words}"))
    }
}

fn combine(initramfs: &Path, probe: &Path, combined: &Path) -> std::io::Result<()> {
    let mut bytes = fs::read(initramfs)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut archive = cpio::Writer::new(bytes);
    archive.file("bin/probe", 0o755, &fs::read(probe)?)?;
    let bytes = archive.finish()?;
    fs::File::create(combined)?.write_all(&bytes)
}

impl Kit {
    /// The keys of a machine of a cluster file that boot the micro guest, in flow style; its shell script runs once it has an address, and the guest
    /// powers off when that ends.
    #[must_use]
    pub fn scripted_machine(&self, script: &str) -> String {
        format!(
            "kernel: {}, initrd: {}, append: {} atoll.run={}",
            self.kernel.display(),
            self.initramfs.display(),
            self.append,
            base64(script.as_bytes())
        )
    }

    /// The folder of the micro image.
    pub(crate) fn micro_folder(&self) -> &Path {
        &self.micro
    }

    /// Makes sure that there is a micro image for a foreign architecture, and a QEMU that runs it. Where something is
    /// missing, the reason was printed and the test ends.
    ///
    /// # Panics
    /// With the reason, where `ATOLL_E2E` is `required`; when the image cannot be built.
    #[must_use]
    pub fn has_micro(&self, arch: &str) -> bool {
        let qemu = format!("qemu-system-{arch}");
        if let Err(error) = Command::new(&qemu).arg("--version").output() {
            skip(&format!("{qemu} cannot be run: {error}"));
            return false;
        }
        if self.image("micro", arch).is_none() {
            let built = Command::new(&self.atoll)
                .args(["image", "build", "micro", "--arch", arch])
                .output();
            let built = built.expect("the binary starts");
            let words = String::from_utf8_lossy(&built.stderr);
            assert!(built.status.success(), "no micro image for {arch}: {words}");
        }
        true
    }

    /// The manifest of an image that was built, if it is in the cache.
    pub(crate) fn image(&self, name: &str, arch: &str) -> Option<serde_json::Value> {
        let listed = Command::new(&self.atoll).args(["image", "ls", "--json"]).output();
        let listed = listed.expect("the binary starts").stdout;
        let images: serde_json::Value = serde_json::from_slice(&listed).expect("`--json` means JSON");
        let mut images = images.as_array().expect("a list of images").iter();
        let is_meant = |it: &&serde_json::Value| {
            it["name"] == name && it["arch"] == arch && it["origin"] == "built" && it["current"] == true
        };
        images.find(is_meant).cloned()
    }

    /// How a `-chardev` is told to connect again: it could before `-netdev stream` could.
    pub(crate) fn reconnect_chardev(&self) -> &'static str {
        match self.reconnect {
            "" => ",reconnect=1",
            option => option,
        }
    }

    /// Whether this QEMU connects again by itself when the network was restarted.
    #[must_use]
    pub fn reconnects(&self) -> bool {
        !self.reconnect.is_empty()
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = bytes.chunks(3).flat_map(|chunk| {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        (0..4_usize).map(move |digit| {
            let sextet = usize::try_from(word >> (18 - 6 * digit) & 0x3f).unwrap_or(0);
            if digit <= chunk.len() {
                char::from(ALPHABET[sextet])
            } else {
                '='
            }
        })
    });
    letters.collect()
}
