//! The small types that the rest of the crate speaks in: architecture, accelerator, version, capabilities.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Architecture of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// The architecture that Atoll itself was built for, if it is one of ours.
    #[must_use]
    pub fn host() -> Option<Self> {
        std::env::consts::ARCH.parse().ok()
    }

    /// QEMU's system emulator for it.
    #[must_use]
    pub fn binary_name(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// The machine type a guest gets unless it asks for another.
    #[must_use]
    pub fn default_machine(self) -> &'static str {
        match self {
            Self::X86_64 => "q35",
            Self::Aarch64 => "virt",
        }
    }

    pub(crate) fn debian_package(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86",
            Self::Aarch64 => "qemu-system-arm",
        }
    }

    pub(crate) fn fedora_package(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86-core",
            Self::Aarch64 => "qemu-system-aarch64-core",
        }
    }

    pub(crate) fn debian_firmware_package(self) -> &'static str {
        match self {
            Self::X86_64 => "ovmf",
            Self::Aarch64 => "qemu-efi-aarch64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

/// A name that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is none of {known}")]
pub struct UnknownName {
    /// What was given.
    pub value: String,
    /// What is known.
    pub known: &'static str,
}

impl FromStr for Arch {
    type Err = UnknownName;

    fn from_str(value: &str) -> Result<Self, UnknownName> {
        match value {
            "x86_64" | "amd64" => Ok(Self::X86_64),
            "aarch64" | "arm64" => Ok(Self::Aarch64),
            _ => Err(UnknownName {
                value: value.to_owned(),
                known: "x86_64, aarch64",
            }),
        }
    }
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// Apple's Hypervisor.framework.
    Hvf,
    /// Linux's kernel virtual machine.
    Kvm,
    /// QEMU's own translator; works everywhere, about ten times slower.
    Tcg,
}

impl Accel {
    /// Whether the guest runs on the host's own processor.
    #[must_use]
    pub fn is_hardware(self) -> bool {
        self != Self::Tcg
    }

    /// The CPU model a guest gets unless it asks for another: everything the accelerator can show it.
    ///
    /// Under tcg, `max` on aarch64 would compute pointer authentication with the architected cipher, which takes
    /// most of the time of a boot; `pauth-impdef` is QEMU's cheap one (docs/system/arm/cpu-features.rst).
    #[must_use]
    pub fn default_cpu(self, arch: Arch) -> &'static str {
        match (self, arch) {
            (Self::Hvf | Self::Kvm, _) => "host",
            (Self::Tcg, Arch::X86_64) => "max",
            (Self::Tcg, Arch::Aarch64) => "max,pauth-impdef=on",
        }
    }
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hvf => "hvf",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

impl FromStr for Accel {
    type Err = UnknownName;

    fn from_str(value: &str) -> Result<Self, UnknownName> {
        match value {
            "hvf" => Ok(Self::Hvf),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(UnknownName {
                value: value.to_owned(),
                known: "hvf, kvm, tcg",
            }),
        }
    }
}

/// A release of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number; 50 and above are development snapshots.
    pub micro: u32,
}

impl Version {
    /// The oldest release that has `-netdev stream` and `-netdev dgram`.
    pub const OLDEST: Self = Self::new(7, 2, 0);

    /// `major.minor.micro`.
    #[must_use]
    pub const fn new(major: u32, minor: u32, micro: u32) -> Self {
        Self { major, minor, micro }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// How `-netdev stream` spells "connect again when the other end goes away".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reconnect {
    /// Not at all: a guest that loses its network keeps it lost (7.2).
    Unsupported,
    /// `reconnect=SECONDS` (8.0 to 9.1; deprecated in 9.2, gone in 10.2).
    Seconds,
    /// `reconnect-ms=MILLISECONDS` (9.2 and later).
    Milliseconds,
}

/// What one QEMU binary can do, as the argument builder needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The binary.
    pub binary: PathBuf,
    /// The architecture it emulates.
    pub arch: Arch,
    /// Its release.
    pub version: Version,
    /// The accelerators compiled into it, best first; whether they work is what [`crate::accel`] finds out.
    pub accelerators: Vec<Accel>,
    /// Folders where it looks for firmware, in its order.
    pub data_dirs: Vec<PathBuf>,
}

impl Capabilities {
    /// The spelling of the reconnect option.
    ///
    /// Source: QEMU `qapi/net.json`, `NetdevStreamOptions`: `reconnect` since 8.0, `reconnect-ms` since 9.2.
    #[must_use]
    pub fn reconnect(&self) -> Reconnect {
        let version = (self.version.major, self.version.minor);
        if version >= (9, 2) {
            Reconnect::Milliseconds
        } else if version >= (8, 0) {
            Reconnect::Seconds
        } else {
            Reconnect::Unsupported
        }
    }
}
