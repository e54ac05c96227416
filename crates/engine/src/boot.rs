//! Booting from the network: which file a client is told of.
//!
//! A client says what it is by its class (option 60), its architecture (option 93, RFC 4578) and its user class (option 77, RFC 3004, as
//! iPXE uses it); over IPv6 by options 61 and 15 (RFC 5970, RFC 8415). iPXE comes first: firmware of any kind loads it, and it loads the rest.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What clients that boot from the network are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetBoot {
    /// The TFTP server of IPv4 that has the files; `None` for the gateway itself.
    pub server: Option<Ipv4Addr>,
    /// A file of the server's, or a URI, by what the client is.
    pub files: BTreeMap<BootClient, String>,
}

impl NetBoot {
    /// The file for a client of an architecture, if it says one.
    pub(crate) fn file(&self, architecture: Option<u16>, is_ipxe: bool) -> Option<(BootClient, &str)> {
        let kind = architecture.and_then(BootClient::of);
        let wanted = [is_ipxe.then_some(BootClient::Ipxe), kind];
        // A client of HTTP takes nothing but a URI that is for it.
        let any = (!kind.is_some_and(BootClient::is_http)).then_some(BootClient::Any);
        let mut wanted = wanted.into_iter().chain([any]).flatten();
        wanted.find_map(|client| Some((client, self.files.get(&client)?.as_str())))
    }
}

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BootClient {
    /// iPXE, on whatever firmware.
    Ipxe,
    /// A PC's BIOS.
    Bios,
    /// UEFI on x86-64, over TFTP.
    EfiX64,
    /// UEFI on 64-bit Arm, over TFTP.
    EfiArm64,
    /// UEFI on x86-64, over HTTP.
    HttpX64,
    /// UEFI on 64-bit Arm, over HTTP.
    HttpArm64,
    /// Any that has no file of its own, but for UEFI over HTTP.
    Any,
}

impl BootClient {
    /// By its number (IANA's "Processor Architecture Types"). 7 is what x86-64 firmware says, though the register has it the other way.
    fn of(architecture: u16) -> Option<Self> {
        match architecture {
            0 => Some(Self::Bios),
            7 | 9 => Some(Self::EfiX64),
            11 => Some(Self::EfiArm64),
            16 => Some(Self::HttpX64),
            19 => Some(Self::HttpArm64),
            _ => None,
        }
    }

    /// Whether it loads its file over HTTP, from a URI.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Self::HttpX64 | Self::HttpArm64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_its_own_file_and_ipxe_its_script() {
        let files = [
            (BootClient::Ipxe, "script"),
            (BootClient::EfiX64, "efi"),
            (BootClient::HttpX64, "http://a/efi"),
            (BootClient::Any, "any"),
        ];
        let boot = NetBoot {
            server: None,
            files: files.map(|(client, file)| (client, file.to_owned())).into(),
        };
        for (architecture, is_ipxe, expected) in [
            (Some(0), false, Some("any")),
            (Some(0), true, Some("script")),
            (Some(7), false, Some("efi")),
            (Some(9), false, Some("efi")),
            (Some(7), true, Some("script")),
            (Some(16), false, Some("http://a/efi")),
            (Some(19), false, None),
            (None, false, Some("any")),
        ] {
            let file = boot.file(architecture, is_ipxe).map(|(_, file)| file);
            assert_eq!(file, expected, "{architecture:?} {is_ipxe}");
        }
    }
}
