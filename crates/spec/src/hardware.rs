//! Choices from a fixed list: architecture, accelerator, NIC model, how a NIC is attached, what a variable is. The spellings are QEMU's,
//! where it has them.

use std::fmt;
use std::str::FromStr;

use crate::text::{Hint, Text, nearest};

/// A word that is on no list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} {word:?}")]
pub struct UnknownWord {
    /// What the list is of: `NIC model`.
    pub what: &'static str,
    /// The word as written.
    pub word: String,
    /// The whole list.
    pub known: Vec<&'static str>,
}

impl Hint for UnknownWord {
    fn hint(&self) -> Option<String> {
        let list = self.known.join(", ");
        Some(match nearest(&self.word, self.known.iter().copied()) {
            Some(word) => format!("did you mean {word:?}? Known are: {list}"),
            None => format!("known are: {list}"),
        })
    }
}

/// A type whose values are the words of a list.
macro_rules! word_list {
    (
        $(#[$meta:meta])* $type:ident, what: $what:literal, expected: $expected:literal,
        { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $type {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)+
        }

        impl $type {
            /// Every choice, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|choice| choice.as_str() == word).ok_or_else(|| UnknownWord {
                    what: $what,
                    word: word.to_owned(),
                    known: vec![$($word),+],
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Text for $type {
            const EXPECTED: &'static str = $expected;
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),+] })
            }
        }
    };
}

pub(crate) use word_list;

word_list!(
    /// The processor architecture of a machine.
    #[derive(Default)]
    Arch, what: "architecture", expected: "an architecture like x86_64",
    {
        /// 64-bit x86.
        #[default]
        X86_64 = "x86_64",
        /// 64-bit Arm.
        Aarch64 = "aarch64",
    }
);

word_list!(
    /// How QEMU runs the guest's instructions.
    #[derive(Default)]
    Accel, what: "accelerator", expected: "an accelerator like auto",
    {
        /// The fastest that works on this host, found by trying.
        #[default]
        Auto = "auto",
        /// Linux.
        Kvm = "kvm",
        /// macOS.
        Hvf = "hvf",
        /// Translation in software: works everywhere.
        Tcg = "tcg",
    }
);

word_list!(
    /// The NIC that the guest sees.
    #[derive(Default)]
    NicModel, what: "NIC model", expected: "a NIC model like virtio-net-pci",
    {
        /// Paravirtual: the fastest, where the guest has the driver.
        #[default]
        VirtioNetPci = "virtio-net-pci",
        /// Intel 82540EM: in nearly every guest.
        E1000 = "e1000",
        /// Intel 82574L.
        E1000e = "e1000e",
        /// Realtek 8139.
        Rtl8139 = "rtl8139",
        /// VMware's paravirtual NIC.
        Vmxnet3 = "vmxnet3",
        /// NE2000 on PCI.
        Ne2kPci = "ne2k_pci",
        /// AMD PCnet.
        Pcnet = "pcnet",
        /// Virtio without PCI, for microvm and virt machines.
        VirtioNetDevice = "virtio-net-device",
        /// CDC Ethernet over USB.
        UsbNet = "usb-net",
    }
);

word_list!(
    /// How QEMU hands a NIC's frames to the network.
    #[derive(Default)]
    Attach, what: "way to attach", expected: "a way to attach like stream",
    {
        /// One by one, over a socket: with every NIC, on every host.
        #[default]
        Stream = "stream",
        /// In the guest's own memory, large segments whole: faster, with virtio NICs on Linux. All of the guest's memory is
        /// shared with the network.
        VhostUser = "vhost-user",
        /// Straight into a TAP on the host's LAN, with bridged networks on Linux: the least cost, and nothing of it is seen,
        /// named, captured or slowed down here.
        Tap = "tap",
        /// By QEMU's own connection to vmnet, with networks of mode bridged, shared or host on macOS: QEMU needs the right to use vmnet
        /// itself, the system gives the addresses, and nothing of it is seen, named, captured or slowed down here.
        Vmnet = "vmnet",
    }
);

word_list!(
    /// What the value of a variable must be.
    #[derive(Default)]
    VariableType, what: "type of variable", expected: "a type like number",
    {
        /// Anything.
        #[default]
        Text = "text",
        /// A whole number, not negative.
        Number = "number",
        /// true or false.
        Boolean = "boolean",
        /// Bytes: 512M, 2G.
        Size = "size",
    }
);

impl Attach {
    /// Whether frames go past the network's switch, straight to the host's kernel.
    #[must_use]
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Tap | Self::Vmnet)
    }

    /// Whether the host's interface for it is opened by `atoll-helper` and handed to QEMU.
    #[must_use]
    pub fn needs_tap(self) -> bool {
        self == Self::Tap
    }
}

impl NicModel {
    /// Whether it is virtio, which takes packets of any size and is told the network's by `host_mtu`.
    #[must_use]
    pub fn is_virtio(self) -> bool {
        matches!(self, Self::VirtioNetPci | Self::VirtioNetDevice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_parses_to_its_choice() {
        for model in NicModel::ALL {
            assert_eq!(model.as_str().parse(), Ok(*model));
        }
        assert_eq!(NicModel::ALL.len(), 9);
    }

    #[test]
    fn an_unknown_model_lists_the_known_ones() {
        let error = "e100".parse::<NicModel>().unwrap_err();
        insta::assert_snapshot!(error, @r#"there is no NIC model "e100""#);
        insta::assert_snapshot!(error.hint().unwrap(), @r#"did you mean "e1000"? Known are: virtio-net-pci, e1000, e1000e, rtl8139, vmxnet3, ne2k_pci, pcnet, virtio-net-device, usb-net"#);
    }
}
