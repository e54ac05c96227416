//! The cluster file `atoll.yaml`: types, parsing, validation that points at the line, JSON schema. And the catalogue
//! file `images.yaml`.
//!
//! Text goes in, a [`Cluster`] or [`Diagnostics`] come out; no file, network or environment is touched. What depends on
//! where the file lies comes as a [`Source`], what it leaves open as [`Choices`], files that it includes through a function. The way of a file:
//!
//! 1. `yaml`: text to a tree whose nodes know their place; anchors and merge keys are resolved. `include` lays trees over each other.
//! 2. `expand`: references to `variables` are replaced, machines with a count become several.
//! 3. `read`, `file` and `sources`: tree to the file's own types, every value checked by its type ([`Name`], [`Subnet`], …).
//! 4. `check`, `networks`, `modes`, `nics`, `attach`, `route`: defaults filled in, names resolved, clashes found; `assign` derives what is left
//!    out.
//!
//! All but the first go on after a mistake, so that one run reports all of them. `config` writes down what came out.

#![forbid(unsafe_code)]

mod addresses;
mod assign;
mod attach;
pub mod automatic;
mod catalogue;
mod check;
mod choice;
mod choices;
mod circle;
mod cluster;
mod config;
mod depend;
mod dhcp_option;
mod dhcp_options;
mod diagnostic;
mod expand;
mod file;
mod files;
mod forward;
mod given;
mod hardware;
mod host_side;
mod host_ways;
mod image;
mod include;
pub mod insert;
mod joins;
mod kept;
pub mod kubeconfig;
mod lan;
mod limits;
pub mod loopback;
mod mac;
mod modes;
mod name;
mod net_boot;
mod network;
mod networks;
mod nics;
mod outputs;
mod period;
mod policy;
mod prefix;
mod read;
mod references;
mod resolution;
mod route;
mod rule;
mod scalar;
mod schema;
mod service;
mod several;
mod size;
mod sources;
mod subnet;
pub mod template;
mod templates;
mod text;
mod time_server;
mod variables;
mod write;
mod yaml;

pub use addresses::Addresses;
pub use automatic::{AutoForward, ForwardEntry};
pub use catalogue::{
    CatalogueImage, ImageName, ImageNameError, PLACEHOLDERS, PublishedDigest, PublishedSignature,
    SignatureError, parse_catalogue,
};
pub use choice::OrOff;
pub use choices::{Choices, ENVIRONMENT_PREFIX, Kept};
pub use cluster::{Assignment, Boot, Cluster, Machine, Network, Nic, Ssh};
pub use depend::{Condition, Dependency};
pub use dhcp_option::{DhcpVersion, OptionCode, OptionData, OptionError};
pub use dhcp_options::DhcpOptions;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use forward::{Bind, Forward, ForwardError, Guest, GuestForward, PortRange, Protocol};
pub use hardware::{Accel, Arch, Attach, NicModel, UnknownWord, VariableType};
pub use host_side::{HostPort, HostSideError, PortNumber, ProxyAddress};
pub use image::{
    Checksum, Hex, HexError, Image, ImageError, Sha256Hex, Sha512Hex, SshKey, SshKeyError, UserData,
};
pub use include::Reader as IncludeReader;
pub use lan::{InterfaceName, InterfaceNameError, Mode, Via};
pub use limits::{GuestLimits, LimitsError, Quantity};
pub use loopback::Loopback;
pub use mac::{Mac, MacError};
pub use name::{Domain, Name, NameError};
pub use net_boot::{BootClient, BootFile, BootFileError, NetBoot};
pub use network::{IpNetwork, IpNetworkError};
pub use outputs::{Output, OutputSource};
pub use period::{Period, PeriodError};
pub use policy::{MachinePolicy, NetworkPolicy, PolicyRule, Verdict};
pub use prefix::{Prefix, PrefixError};
pub use resolution::{CacheSize, CacheSizeError, Resolution};
pub use route::{Destination, Route, RouteError};
pub use rule::{RuleError, RulePattern, RuleProtocol, RuleTarget};
pub use service::{ServiceError, ServiceName, ServiceTarget};
pub use size::{ByteSize, SizeError};
pub use subnet::{Subnet, SubnetError};
pub use templates::FileTemplate;
pub use text::Hint;
pub use time_server::TimeServer;

use check::Surroundings;
use diagnostic::Report;
use file::ClusterFile;
use read::FromYaml;

/// Where a cluster file comes from, and what it leaves to its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// How messages call the file: `atoll.yaml`.
    pub file: &'a str,
    /// The name of the folder it lies in: the cluster's name when the file gives none.
    pub folder: &'a str,
    /// The architecture of machines that do not say; [`Arch`] parses what `std::env::consts::ARCH` holds.
    pub host_arch: Arch,
    /// Tells this host from others, so that MACs derived for one LAN differ between them.
    pub host: &'a str,
}

impl<'a> Source<'a> {
    /// A file by this name in a folder of no name, on an x86_64 host.
    pub fn new(file: &'a str) -> Self {
        Self {
            file,
            folder: "",
            host_arch: Arch::X86_64,
            host: "",
        }
    }

    fn default_name(&self) -> Name {
        Name::from_lossy(self.folder).unwrap_or_else(Name::fallback)
    }
}

/// Reads a cluster file that stands for itself: one that includes no others and leaves nothing to [`Choices`].
///
/// # Errors
///
/// Everything that is wrong with it, each mistake with its place in the text.
pub fn parse(source: &Source<'_>, text: &str) -> Result<Cluster, Diagnostics> {
    let alone = &mut |_: &std::path::Path| Err("files are not read here".to_owned());
    resolve(source, text, &Context::default(), alone).map(|resolved| resolved.cluster)
}

/// What a cluster file is read with.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// What the file leaves to who brings the cluster up.
    pub choices: Choices,
    /// What NICs had before. Where the file does not say, they keep it.
    pub kept: Vec<Kept>,
}

/// A cluster file that was read.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What it means.
    pub cluster: Cluster,
    config: yaml::Node,
}

impl Resolved {
    /// The file with nothing left to say, as a cluster file of which the same cluster comes out.
    pub fn to_yaml(&self) -> String {
        write::yaml(&self.config)
    }

    /// [`Resolved::to_yaml`] as JSON, which is read as well.
    pub fn to_json(&self) -> String {
        write::json(&self.config)
    }
}

/// Reads a cluster file with all that it includes.
///
/// # Errors
///
/// Everything that is wrong with them, each mistake with its place.
pub fn resolve(
    source: &Source<'_>,
    text: &str,
    context: &Context,
    read: &mut IncludeReader<'_>,
) -> Result<Resolved, Diagnostics> {
    let mut report = Report::default();
    let root = include::load(source, text, read, &mut report);
    let cluster = report.is_empty().then(|| {
        let expanded = expand::expand(root, &context.choices, &mut report);
        let file = ClusterFile::from_yaml(&expanded.root, "the cluster file", &mut report)?;
        let surroundings = Surroundings {
            source,
            context,
            expanded: &expanded,
        };
        let cluster = check::cluster(file, &surroundings, &mut report)?;
        let config = config::config(&expanded, &cluster);
        Some(Resolved { cluster, config })
    });
    cluster.flatten().ok_or_else(|| report.into_diagnostics())
}

/// The JSON schema (draft 2020-12) of the cluster file, for editors.
pub fn schema() -> serde_json::Value {
    schema::cluster_file()
}
