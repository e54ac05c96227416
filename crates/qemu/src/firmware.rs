//! Finding UEFI firmware for machines that cannot boot a disk without.
//!
//! Distributions describe theirs in `firmware/*.json` beside QEMU's other data, in order of preference (QEMU
//! `docs/interop/firmware.json`); QEMU's own build installs `edk2-*.fd`. The first is looked at first.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Arch, Capabilities, QemuError};

/// Firmware as it is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareFiles {
    /// The code; machines share it.
    pub code: PathBuf,
    /// An empty variable store; each machine gets a copy.
    pub vars_template: Option<PathBuf>,
}

/// A descriptor, as far as it matters here; one with another shape (firmware that is not flash) does not parse.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Descriptor {
    mapping: Mapping,
    targets: Vec<Target>,
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    executable: FlashFile,
    nvram_template: Option<FlashFile>,
}

#[derive(Deserialize)]
struct FlashFile {
    filename: PathBuf,
    #[serde(default)]
    format: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

/// The firmware that the installed packages prefer for the default machine type, without Secure Boot.
///
/// # Errors
///
/// [`QemuError::NoFirmware`].
pub fn find_firmware(capabilities: &Capabilities) -> Result<FirmwareFiles, QemuError> {
    let dirs = &capabilities.data_dirs;
    let described = dirs
        .iter()
        .find_map(|dir| from_descriptors(&dir.join("firmware"), capabilities.arch));
    let found = described.or_else(|| {
        dirs.iter()
            .find_map(|dir| from_known_names(dir, capabilities.arch))
    });
    found.ok_or_else(|| QemuError::NoFirmware {
        arch: capabilities.arch,
        path: capabilities.binary.clone(),
    })
}

fn from_descriptors(folder: &Path, arch: Arch) -> Option<FirmwareFiles> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let descriptors = files.iter().filter_map(|file| fs::read(file).ok());
    let mut descriptors = descriptors.filter_map(|bytes| serde_json::from_slice::<Descriptor>(&bytes).ok());
    descriptors.find_map(|descriptor| descriptor.files(arch))
}

impl Descriptor {
    fn files(self, arch: Arch) -> Option<FirmwareFiles> {
        let machine = match arch {
            Arch::X86_64 => "pc-q35-",
            Arch::Aarch64 => "virt-",
        };
        let fits = |target: &Target| {
            target.architecture == arch.to_string() && target.machines.iter().any(|m| m.starts_with(machine))
        };
        let unwanted = ["secure-boot", "enrolled-keys", "requires-smm"];
        let plain = !self
            .features
            .iter()
            .any(|feature| unwanted.contains(&feature.as_str()));
        let raw = |file: &FlashFile| file.format.as_deref().is_none_or(|format| format == "raw");
        let mapping = self.mapping;
        if !plain || !self.targets.iter().any(fits) || !raw(&mapping.executable) {
            return None;
        }
        let template = mapping
            .nvram_template
            .filter(|file| raw(file) && file.filename.is_file());
        let vars_template = template.map(|file| file.filename);
        let code = mapping.executable.filename;
        code.is_file().then_some(FirmwareFiles { code, vars_template })
    }
}

fn from_known_names(folder: &Path, arch: Arch) -> Option<FirmwareFiles> {
    let (code, vars) = match arch {
        Arch::X86_64 => ("edk2-x86_64-code.fd", "edk2-i386-vars.fd"),
        Arch::Aarch64 => ("edk2-aarch64-code.fd", "edk2-arm-vars.fd"),
    };
    let existing = |name| Some(folder.join(name)).filter(|path| path.is_file());
    Some(FirmwareFiles {
        code: existing(code)?,
        vars_template: existing(vars),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accel, Version};

    fn capabilities(arch: Arch, data_dir: &Path) -> Capabilities {
        let (version, binary) = (
            Version::OLDEST,
            PathBuf::from("/usr/bin").join(arch.binary_name()),
        );
        let (accelerators, data_dirs) = (vec![Accel::Tcg], vec![data_dir.to_owned()]);
        Capabilities {
            binary,
            arch,
            version,
            accelerators,
            data_dirs,
        }
    }

    fn describe(folder: &Path, name: &str, code: &str, features: &str) {
        let code = folder.join(code);
        fs::write(&code, "code").expect("code");
        fs::create_dir_all(folder.join("firmware")).expect("folder");
        let text = format!(
            r#"{{"description":"","interface-types":["uefi"],"mapping":{{"device":"flash",
            "executable":{{"filename":"{0}","format":"raw"}},"nvram-template":{{"filename":"{0}","format":"raw"}}}},
            "targets":[{{"architecture":"aarch64","machines":["virt-*"]}}],"features":[{features}],"tags":[]}}"#,
            code.display()
        );
        fs::write(folder.join("firmware").join(name), text).expect("descriptor");
    }

    #[test]
    fn the_first_descriptor_without_secure_boot_is_taken() {
        let dir = tempfile::tempdir().expect("folder");
        describe(dir.path(), "40-secure.json", "a.fd", "\"secure-boot\"");
        describe(dir.path(), "60-plain.json", "b.fd", "\"verbose-static\"");
        describe(dir.path(), "70-later.json", "c.fd", "");
        fs::write(dir.path().join("firmware/50-broken.json"), "{").expect("descriptor");
        let found = find_firmware(&capabilities(Arch::Aarch64, dir.path())).expect("firmware");
        assert_eq!(found.code, dir.path().join("b.fd"));
        assert_eq!(found.vars_template, Some(dir.path().join("b.fd")));
        let other = find_firmware(&capabilities(Arch::X86_64, dir.path()));
        assert!(
            matches!(
                other,
                Err(QemuError::NoFirmware {
                    arch: Arch::X86_64,
                    ..
                })
            ),
            "{other:?}"
        );
    }

    #[test]
    fn without_descriptors_the_names_of_qemus_own_build_are_tried() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join("edk2-x86_64-code.fd"), "code").expect("code");
        let found = find_firmware(&capabilities(Arch::X86_64, dir.path())).expect("firmware");
        assert_eq!(found.code, dir.path().join("edk2-x86_64-code.fd"));
        assert_eq!(found.vars_template, None);
    }
}
