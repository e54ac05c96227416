//! Booting from the network: who gets which file, and from where.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Report};
use crate::hardware::{UnknownWord, word_list};
use crate::read::{FromYaml, Keys};
use crate::text::{Hint, Text, text_type};
use crate::yaml::Node;

word_list!(
    /// What a client that boots from the network is.
    BootClient, what: "kind of boot client", expected: "a kind of boot client like bios",
    {
        /// iPXE, on whatever firmware: what it is told comes before all else.
        Ipxe = "ipxe",
        /// A PC's BIOS.
        Bios = "bios",
        /// UEFI on x86-64, over TFTP.
        EfiX64 = "efi-x86-64",
        /// UEFI on 64-bit Arm, over TFTP.
        EfiArm64 = "efi-aarch64",
        /// UEFI on x86-64, over HTTP.
        HttpX64 = "http-x86-64",
        /// UEFI on 64-bit Arm, over HTTP.
        HttpArm64 = "http-aarch64",
        /// Any that has no file of its own, but for UEFI over HTTP.
        Any = "any",
    }
);

impl BootClient {
    /// Whether it loads its file over HTTP.
    fn is_http(self) -> bool {
        matches!(self, Self::HttpX64 | Self::HttpArm64)
    }

    /// That a client of this kind can load this file.
    ///
    /// # Errors
    /// It loads nothing but URIs.
    pub fn check(self, file: &BootFile) -> Result<(), BootFileError> {
        let is_uri = ["http://", "https://"]
            .iter()
            .any(|scheme| file.0.starts_with(scheme));
        match self.is_http() && !is_uri {
            true => Err(BootFileError::NotHttp(file.0.clone())),
            false => Ok(()),
        }
    }
}

/// A file of the TFTP server's, or a URI.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootFile(String);

/// Why a file cannot be told of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootFileError {
    /// It has no name.
    #[error("a boot file needs a name")]
    Empty,
    /// An option of DHCP cannot hold its name.
    #[error("the name of a boot file has 255 bytes at most, not {0}")]
    Long(usize),
    /// Firmware would not find it.
    #[error("{0:?} has a control character")]
    Control(String),
    /// The client takes URIs of HTTP.
    #[error("{0:?} is no URI of HTTP, and these clients load nothing else")]
    NotHttp(String),
}

impl Hint for BootFileError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotHttp(_) => "write one such as http://10.77.0.9/boot.efi".to_owned(),
            _ => "write a path below the TFTP server's folder, such as undionly.kpxe, or a URI".to_owned(),
        })
    }
}

impl FromStr for BootFile {
    type Err = BootFileError;

    fn from_str(text: &str) -> Result<Self, BootFileError> {
        match text.len() {
            0 => Err(BootFileError::Empty),
            1..=255 if text.contains(char::is_control) => Err(BootFileError::Control(text.to_owned())),
            1..=255 => Ok(Self(text.to_owned())),
            len => Err(BootFileError::Long(len)),
        }
    }
}

impl fmt::Display for BootFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_type!(
    BootFile,
    expected: "a boot file like undionly.kpxe",
    pattern: "^.{1,255}$",
    about: "A path below the TFTP server's folder, or a URI."
);

/// What clients that boot from the network are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct NetBoot {
    /// The TFTP server of IPv4; `None` for the gateway.
    pub server: Option<Ipv4Addr>,
    /// What each kind of client loads.
    pub files: BTreeMap<BootClient, BootFile>,
}

/// Which files clients that boot from the network load, by what they are.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, rename = "NetBoot")]
pub(crate) struct NetBootFile {
    /// The TFTP server of IPv4 that has the files; the gateway when left out.
    #[schemars(with = "Option<String>")]
    server: Option<Ipv4Addr>,
    /// What iPXE loads, on whatever firmware.
    ipxe: Option<BootFile>,
    /// What a PC's BIOS loads.
    bios: Option<BootFile>,
    /// What UEFI on x86-64 loads over TFTP.
    #[schemars(rename = "efi-x86-64")]
    efi_x64: Option<BootFile>,
    /// What UEFI on 64-bit Arm loads over TFTP.
    #[schemars(rename = "efi-aarch64")]
    efi_arm64: Option<BootFile>,
    /// What UEFI on x86-64 loads over HTTP, a URI.
    #[schemars(rename = "http-x86-64")]
    http_x64: Option<BootFile>,
    /// What UEFI on 64-bit Arm loads over HTTP, a URI.
    #[schemars(rename = "http-aarch64")]
    http_arm64: Option<BootFile>,
    /// What all others load, but for UEFI over HTTP.
    any: Option<BootFile>,
}

impl FromYaml for NetBootFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let file = Self {
            server: keys.take("server"),
            ipxe: keys.take("ipxe"),
            bios: keys.take("bios"),
            efi_x64: keys.take("efi-x86-64"),
            efi_arm64: keys.take("efi-aarch64"),
            http_x64: keys.take("http-x86-64"),
            http_arm64: keys.take("http-aarch64"),
            any: keys.take("any"),
        };
        for (client, boot_file) in file.files() {
            if let (Err(error), Some(span)) = (client.check(boot_file), keys.span(client.as_str())) {
                let title = format!("{} of {what}: {error}", client.as_str());
                keys.report
                    .push(Diagnostic::new(title, span).with_hint(error.hint()));
            }
        }
        keys.finish();
        Some(file)
    }
}

impl NetBootFile {
    fn files(&self) -> impl Iterator<Item = (BootClient, &BootFile)> {
        let all = [
            (BootClient::Ipxe, &self.ipxe),
            (BootClient::Bios, &self.bios),
            (BootClient::EfiX64, &self.efi_x64),
            (BootClient::EfiArm64, &self.efi_arm64),
            (BootClient::HttpX64, &self.http_x64),
            (BootClient::HttpArm64, &self.http_arm64),
            (BootClient::Any, &self.any),
        ];
        all.into_iter()
            .filter_map(|(client, file)| Some((client, file.as_ref()?)))
    }

    pub(crate) fn finish(self) -> NetBoot {
        let files = self.files();
        NetBoot {
            server: self.server,
            files: files.map(|(client, file)| (client, file.clone())).collect(),
        }
    }
}
