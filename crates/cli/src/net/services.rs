//! The arguments that say what the gateway offers guests beside names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use atoll_control::cluster::services as words;
use atoll_control::runtime::{Mac, NetworkOptions};
use atoll_control::spec::{self, Hint};
use clap::Args;

use super::arguments::{bad, hinted};
use crate::failure::Failure;

/// Time.
#[derive(Debug, Args)]
pub(crate) struct ServiceArguments {
    /// Whether the gateway hands on the host's time by NTP, and says so by DHCP where no --ntp does: auto, which tells guests to
    /// look elsewhere while nobody keeps the host's clock in time; always, where the host's clock counts as right; off. When left
    /// out: auto.
    #[arg(long, value_name = "auto|always|off")]
    ntp_server: Option<String>,

    /// Tell guests this by DHCP, beside what the network itself tells or in its place: an option's number or name, and its value.
    /// Options without a known type say it, as in 224=u16:7; text, hex, ip, u8, u16, u32, i32 and domain are the types. off means
    /// that nothing is told. With a MAC address before it, for that guest alone. Repeatable.
    #[arg(long, value_name = "[MAC,]OPTION=[TYPE:]VALUE[,VALUE]|off")]
    dhcp_option: Vec<String>,

    /// The same of DHCPv6, as in `59=tftp://[fd00::9]/boot.efi`.
    #[arg(long, value_name = "[MAC,]OPTION=[TYPE:]VALUE[,VALUE]|off")]
    dhcp6_option: Vec<String>,

    /// Let guests read the files of this folder over TFTP at the gateway.
    #[arg(long, value_name = "FOLDER")]
    tftp: Option<PathBuf>,

    /// What guests load that boot from the network: a path below --tftp, or a URI. With a kind of client before it for that kind alone:
    /// ipxe, bios, efi-x86-64, efi-aarch64, http-x86-64, http-aarch64. Repeatable, as in --boot ipxe=menu.ipxe --boot
    /// bios=undionly.kpxe.
    #[arg(long, value_name = "[CLIENT=]FILE")]
    boot: Vec<String>,

    /// The TFTP server of IPv4 that has the files of --boot. When left out: the gateway.
    #[arg(long, value_name = "ADDRESS")]
    boot_server: Option<String>,
}

impl ServiceArguments {
    /// The words, and whether they were said.
    pub(super) fn said(&self) -> [(&'static str, bool); 6] {
        [
            ("--ntp-server", self.ntp_server.is_some()),
            ("--dhcp-option", !self.dhcp_option.is_empty()),
            ("--dhcp6-option", !self.dhcp6_option.is_empty()),
            ("--tftp", self.tftp.is_some()),
            ("--boot", !self.boot.is_empty()),
            ("--boot-server", self.boot_server.is_some()),
        ]
    }

    /// The arguments, understood.
    pub(super) fn apply(&self, options: &mut NetworkOptions) -> Result<(), Failure> {
        if let Some(value) = &self.ntp_server {
            options.time_server = words::time_server(hinted("--ntp-server", value)?);
        }
        let mut told = Told::default();
        for value in &self.dhcp_option {
            told.add(("--dhcp-option", value), spec::DhcpVersion::V4)?;
        }
        for value in &self.dhcp6_option {
            told.add(("--dhcp6-option", value), spec::DhcpVersion::V6)?;
        }
        options.dhcp_options = words::dhcp_options(&told.all);
        let of_one = told.of_one.into_iter();
        options.dhcp_options_of = of_one
            .map(|(mac, one)| (mac, words::dhcp_options(&one)))
            .collect();
        options.tftp.clone_from(&self.tftp);
        self.apply_boot(options)
    }

    fn apply_boot(&self, options: &mut NetworkOptions) -> Result<(), Failure> {
        const ARGUMENT: &str = "--boot";
        for value in &self.boot {
            let kind = |(kind, file): (&str, &'_ str)| {
                Some((kind.parse::<spec::BootClient>().ok()?, file.to_owned()))
            };
            let (client, file) = value
                .split_once('=')
                .and_then(kind)
                .unwrap_or_else(|| (spec::BootClient::Any, value.clone()));
            let read: spec::BootFile = hinted(ARGUMENT, &file)?;
            client.check(&read).map_err(|error| {
                let hint = error.hint();
                Failure::usage(format!("{ARGUMENT} {value}: {error}"), hint)
            })?;
            let earlier = options
                .net_boot
                .files
                .insert(words::boot_client(client), read.to_string());
            if earlier.is_some() {
                let why = format!("{client} clients have a file already");
                return Err(bad(ARGUMENT, value, why, "give one file for each kind of client"));
            }
        }
        if let Some(value) = &self.boot_server {
            let hint = "write an IPv4 address such as 10.77.0.9";
            let server = value.parse();
            let server = server.map_err(|_| bad("--boot-server", value, "this is no IPv4 address", hint))?;
            options.net_boot.server = Some(server);
        }
        Ok(())
    }
}

/// Options for all guests, and for one each.
#[derive(Default)]
struct Told {
    all: spec::DhcpOptions,
    of_one: BTreeMap<Mac, spec::DhcpOptions>,
}

impl Told {
    fn add(&mut self, (argument, value): (&str, &str), version: spec::DhcpVersion) -> Result<(), Failure> {
        const HINT: &str = "write OPTION=VALUE, as in 66=boot.example, or MAC,OPTION=VALUE";
        let refuse = |error: &spec::OptionError| {
            let hint = error.hint();
            Failure::usage(format!("{argument} {value}: {error}"), hint)
        };
        let (mac, rest) = match value.split_once(',') {
            Some((mac, rest)) if !mac.contains('=') => {
                let mac: spec::Mac = hinted_part((argument, value), mac)?;
                (Some(Mac(mac.octets())), rest)
            }
            _ => (None, value),
        };
        let (code, words) = rest
            .split_once('=')
            .ok_or_else(|| bad(argument, value, "this is no option with a value", HINT))?;
        let code = spec::OptionCode::read(version, code).map_err(|error| refuse(&error))?;
        let data = code.value(words).map_err(|error| refuse(&error))?;
        let options = match mac {
            Some(mac) => self.of_one.entry(mac).or_default(),
            None => &mut self.all,
        };
        options.try_add(code, data).map_err(|code| {
            let why = format!("{code} is given twice");
            bad(
                argument,
                value,
                why,
                "give each option once; several values stand with commas between them",
            )
        })
    }
}

fn hinted_part((argument, value): (&str, &str), mac: &str) -> Result<spec::Mac, Failure> {
    mac.parse().map_err(|error: spec::MacError| {
        bad(
            argument,
            value,
            error,
            "write a MAC address such as 52:54:00:12:34:56",
        )
    })
}
