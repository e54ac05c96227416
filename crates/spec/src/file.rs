//! The cluster file as it is written: every key, all but `machines` optional. The JSON schema comes from here.
//!
//! Each type reads itself with [`Keys`]; the test `the_schema_has_every_key_that_is_read` keeps fields and keys together.
//! Doc comments are what an editor shows.

use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;

use crate::addresses::{Addresses, GivenAddresses};
use crate::automatic::ForwardEntry;
use crate::choice::OrOff;
use crate::depend::DependencyFile;
use crate::dhcp_options::OptionsFile;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::expand::{COUNT, OVERRIDES};
use crate::hardware::{Accel, Arch, Attach, NicModel};
use crate::host_side::{HostPort, PortNumber, ProxyAddress};
use crate::image::{Image, SshKey};
use crate::include::Include;
use crate::lan::{InterfaceName, Mode, Via};
use crate::mac::Mac;
use crate::name::{Domain, Name};
use crate::net_boot::NetBootFile;
use crate::outputs::OutputFile;
use crate::policy::{LimitsFile, PolicyFile};
use crate::prefix::Prefix;
use crate::read::{ByName, Entries, FromYaml, Keys, Noun, Spot};
use crate::resolution::DnsFile;
use crate::route::{Destination, Hop};
use crate::scalar::{AbsolutePath, Count, Mtu, UserName};
use crate::several::Several;
use crate::size::ByteSize;
use crate::sources::UserDataFile;
use crate::subnet::Subnet;
use crate::time_server::TimeServer;
use crate::variables::{VariableFile, VariableName};
use crate::yaml::{Kind, Node};

/// A cluster: machines and the networks they are on.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, rename = "atoll.yaml")]
pub(crate) struct ClusterFile {
    /// The cluster's name; the folder's name when left out.
    pub(crate) name: Option<Name>,
    /// The domain that the machines' names are in; NAME.internal when left out.
    pub(crate) domain: Option<Domain>,
    /// Other files, over which this one is laid: a path or several, from this file's folder.
    #[expect(dead_code, reason = "it was read before, with all that it leads to")]
    pub(crate) include: Option<Include>,
    /// What ${NAME} in the values of this file stands for.
    #[expect(dead_code, reason = "they were read before, and put in")]
    pub(crate) variables: Option<Entries<VariableName, VariableFile>>,
    /// Networks by name; one called "default" when left out.
    pub(crate) networks: Option<ByName<NetworkFile>>,
    /// What every machine has unless it says otherwise.
    pub(crate) defaults: Option<MachineFile>,
    /// Machines by name.
    #[schemars(required)]
    pub(crate) machines: Option<ByName<MachineFile>>,
    /// Whether part of `networks` could not be read.
    #[schemars(skip)]
    pub(crate) networks_wrong: bool,
    /// Whether part of `machines` could not be read.
    #[schemars(skip)]
    pub(crate) machines_wrong: bool,
    /// Where the key `machines` stands.
    #[schemars(skip)]
    pub(crate) machines_key: Option<Span>,
}

/// A network: of its own with a gateway that translates to the host's, unless its mode says otherwise.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct NetworkFile {
    /// What it is to the host's network: user (apart, no privilege needed; when left out), bridged (on the host's LAN), shared (routed and
    /// translated by the host's kernel), host (the host and guests only). All but user need atoll-helper.
    pub(crate) mode: Option<Spot<Mode>>,
    /// The host's interface on the LAN, of a bridged network; of a shared one the way out, the host's usual one when left out.
    pub(crate) interface: Option<Spot<InterfaceName>>,
    /// How a bridged network gets onto the LAN. When left out: bridge where the interface is one, else macvtap.
    pub(crate) via: Option<Spot<Via>>,
    /// Its IPv4 addresses, or off; the first free one of 10.77.0.0/24, 10.77.1.0/24 and so on when left out.
    pub(crate) subnet: Option<Spot<OrOff<Subnet>>>,
    /// Its IPv6 addresses, a /64, or off; a unique local one that follows from the names when left out.
    pub(crate) ipv6: Option<Spot<OrOff<Prefix>>>,
    /// Whether guests reach the host's loopback at the host alias; false when left out.
    pub(crate) host_loopback: Option<bool>,
    /// Whether each machine has an address of the host's loopback for itself, at which its forwards are found; false when left out. Linux
    /// only, unless an administrator adds the addresses.
    pub(crate) loopback: Option<bool>,
    /// Whether guests are kept from each other; false when left out.
    pub(crate) isolate: Option<bool>,
    /// Whether frames with VLAN tags (802.1Q, 802.1ad) pass onto a LAN, and between guests that anti-spoof keeps to their own addresses; false
    /// when left out. On other networks they always pass.
    pub(crate) vlans: Option<bool>,
    /// The largest IP packet, 576 to 65535, with IPv6 from 1280. When left out: 65520 where the mode is user and every NIC virtio, else
    /// 1500.
    pub(crate) mtu: Option<Spot<Mtu>>,
    /// DNS servers to ask instead of the host's own, or a mapping that says more of what DNS does.
    pub(crate) dns: Option<DnsFile>,
    /// Further names and their addresses.
    pub(crate) hosts: Option<Entries<Domain, HostAddress>>,
    /// Time servers that DHCP announces, those of IPv6 DHCPv6.
    #[schemars(with = "Option<Vec<String>>")]
    pub(crate) ntp: Option<Vec<IpAddr>>,
    /// Whether the gateway hands on the host's time by NTP, and says so by DHCP where ntp names nobody; auto when left out.
    pub(crate) ntp_server: Option<TimeServer>,
    /// What DHCP tells guests beside what the network itself tells, or in its place.
    pub(crate) dhcp_options: Option<OptionsFile<false>>,
    /// The same of DHCPv6.
    pub(crate) dhcp6_options: Option<OptionsFile<true>>,
    /// A folder whose files guests may read over TFTP at the gateway.
    #[schemars(with = "Option<String>")]
    pub(crate) tftp: Option<PathBuf>,
    /// What clients that boot from the network load.
    pub(crate) boot: Option<NetBootFile>,
    /// Where the host listens for programs that are to be led to guests by SOCKS 5 or HTTP, with names looked up on the network.
    pub(crate) proxy: Option<Several<Spot<ProxyAddress>>>,
    /// Ports of the host's loopback that guests reach at the host alias, whether or not they reach all of it.
    pub(crate) host_ports: Option<Several<Spot<HostPort>>>,
    /// Unix sockets of the host that guests reach by TCP at these ports of the host alias.
    pub(crate) host_sockets: Option<Entries<PortNumber, AbsolutePath>>,
    /// What guests may do.
    pub(crate) policy: Option<PolicyFile>,
    /// Networks that lie behind a machine, told to the others by DHCP and router advertisements.
    pub(crate) routes: Option<Vec<RouteFile>>,
    /// Other networks to which the gateway routes: machines here may begin conversations with machines there, and not the other way round.
    pub(crate) routes_to: Option<Several<Spot<Name>>>,
    /// Whether part of it could not be read.
    #[schemars(skip)]
    pub(crate) wrong: bool,
    /// The keys it has, and where they stand.
    #[schemars(skip)]
    pub(crate) given: Vec<(&'static str, Span)>,
}

/// A network that lies behind a machine.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RouteFile {
    /// The network, such as 192.168.10.0/24.
    #[schemars(required)]
    pub(crate) to: Option<Spot<Destination>>,
    /// The machine that leads there, or its address on this network.
    #[schemars(required, with = "Option<String>")]
    pub(crate) via: Option<Spot<Hop>>,
    /// Where it stands.
    #[schemars(skip)]
    pub(crate) span: Span,
    /// Whether part of it could not be read.
    #[schemars(skip)]
    pub(crate) wrong: bool,
}

/// A machine. Needs an image or a kernel.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct MachineFile {
    /// What its disk starts as.
    pub(crate) image: Option<Image>,
    /// The processor architecture; the host's when left out.
    pub(crate) arch: Option<Arch>,
    /// The number of processors; 1 when left out.
    pub(crate) cpus: Option<Count>,
    /// Main memory; 1G when left out.
    pub(crate) memory: Option<Spot<ByteSize>>,
    /// The size of its disk; the image's own when left out.
    pub(crate) disk: Option<ByteSize>,
    /// Its NICs; one on the only network when left out.
    pub(crate) nics: Option<Vec<NicFile>>,
    /// A cloud-config or a script for the first boot, or the file that holds one.
    pub(crate) user_data: Option<UserDataFile>,
    /// What DHCP tells this machine, in place of what its networks tell all.
    pub(crate) dhcp_options: Option<OptionsFile<false>>,
    /// The same of DHCPv6.
    pub(crate) dhcp6_options: Option<OptionsFile<true>>,
    /// What it is started after: machines that are ready, or that something else holds of.
    pub(crate) depends_on: Option<Vec<DependencyFile>>,
    /// What others are given of it, by name: `${machine.NAME.outputs.OUTPUT}` in their user-data.
    pub(crate) outputs: Option<ByName<OutputFile>>,
    /// How `atoll ssh` logs in.
    pub(crate) ssh: Option<SshFile>,
    /// Ports of the host that lead to this machine.
    pub(crate) forwards: Option<Vec<Spot<ForwardEntry>>>,
    /// The group it is in: machines reach those of their own group and no others; those without one are a group, too.
    pub(crate) group: Option<Spot<Name>>,
    /// What it may do at most on each of its networks; what is left out here is as the network's policy has it.
    pub(crate) limits: Option<Spot<LimitsFile>>,
    /// A firmware image for QEMU in place of its own.
    #[schemars(with = "Option<String>")]
    pub(crate) firmware: Option<PathBuf>,
    /// How QEMU runs the guest; the fastest that works when left out.
    pub(crate) accel: Option<Accel>,
    /// QEMU's machine type; q35 on x86_64, virt on aarch64 when left out.
    pub(crate) machine: Option<String>,
    /// A kernel to start without a boot loader.
    #[schemars(with = "Option<String>")]
    pub(crate) kernel: Option<PathBuf>,
    /// The initial RAM disk of that kernel.
    #[schemars(with = "Option<String>")]
    pub(crate) initrd: Option<Spot<PathBuf>>,
    /// The command line of that kernel.
    pub(crate) append: Option<Spot<String>>,
    /// Further arguments for QEMU, one a word.
    pub(crate) qemu_args: Option<Vec<String>>,
    /// It is in use only with one of these profiles; always when left out.
    pub(crate) profiles: Option<Vec<Spot<Name>>>,
    /// Whether part of it could not be read.
    #[schemars(skip)]
    pub(crate) wrong: bool,
}

/// A NIC, or just the name of its network.
#[derive(Clone, Debug)]
pub(crate) struct NicFile {
    /// The network; may be left out where there is only one.
    pub(crate) network: Option<Spot<Name>>,
    pub(crate) model: Option<NicModel>,
    pub(crate) attach: Option<Spot<Attach>>,
    pub(crate) mac: Option<Spot<Mac>>,
    pub(crate) addresses: GivenAddresses,
    /// Where it stands; `None` for the NIC of a machine that lists none.
    pub(crate) span: Option<Span>,
    /// Whether part of it could not be read.
    pub(crate) wrong: bool,
}

/// How to log in.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SshFile {
    /// The user; the image's own when left out.
    pub(crate) user: Option<UserName>,
    /// Public keys, or paths of files that hold one.
    #[schemars(with = "Option<Vec<String>>")]
    pub(crate) keys: Option<Vec<SshKey>>,
}

/// The addresses of a further name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostAddress(pub(crate) Addresses);

impl Noun for NetworkFile {
    const NOUN: &'static str = "network";
}

impl Noun for MachineFile {
    const NOUN: &'static str = "machine";
}

impl Noun for HostAddress {
    const NOUN: &'static str = "host";
}

impl FromYaml for ClusterFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let (name, domain) = (keys.section("name"), keys.section("domain"));
        let (include, variables) = (keys.section("include"), keys.section("variables"));
        let before = keys.report.reported();
        let networks = keys.section("networks");
        let networks_wrong = keys.report.reported() > before;
        let defaults = keys.section("defaults");
        let before = keys.report.reported();
        let machines = keys.section("machines");
        let machines_wrong = keys.report.reported() > before;
        let machines_key = keys.span("machines");
        let file = Self {
            name,
            domain,
            include,
            variables,
            networks,
            defaults,
            machines,
            networks_wrong,
            machines_wrong,
            machines_key,
        };
        keys.finish();
        Some(file)
    }
}

impl FromYaml for NetworkFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let file = Self {
            mode: keys.take("mode"),
            interface: keys.take("interface"),
            via: keys.take("via"),
            subnet: keys.take("subnet"),
            ipv6: keys.take("ipv6"),
            host_loopback: keys.take("host-loopback"),
            loopback: keys.take("loopback"),
            isolate: keys.take("isolate"),
            vlans: keys.take("vlans"),
            mtu: keys.take("mtu"),
            dns: keys.take("dns"),
            hosts: keys.take("hosts"),
            ntp: keys.take_list("ntp", "time server"),
            ntp_server: keys.take("ntp-server"),
            tftp: keys.take("tftp"),
            boot: keys.take("boot"),
            dhcp_options: keys.take("dhcp-options"),
            dhcp6_options: keys.take("dhcp6-options"),
            proxy: keys.take("proxy"),
            host_ports: keys.take("host-ports"),
            host_sockets: keys.take("host-sockets"),
            policy: keys.take("policy"),
            routes: keys.take_list("routes", "route"),
            routes_to: keys.take("routes-to"),
            wrong: false,
            given: Vec::new(),
        };
        Some(Self {
            given: keys.given(),
            wrong: keys.finish(),
            ..file
        })
    }
}

impl FromYaml for RouteFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let file = Self {
            to: keys.take("to"),
            via: keys.take("via"),
            span: node.span.clone(),
            wrong: false,
        };
        Some(Self {
            wrong: keys.finish(),
            ..file
        })
    }
}

impl FromYaml for MachineFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let file = Self {
            image: keys.take("image"),
            arch: keys.take("arch"),
            cpus: keys.take("cpus"),
            memory: keys.take("memory"),
            disk: keys.take("disk"),
            nics: keys.take_list("nics", "NIC"),
            user_data: keys.take("user-data"),
            dhcp_options: keys.take("dhcp-options"),
            dhcp6_options: keys.take("dhcp6-options"),
            depends_on: keys.take_list("depends-on", "dependency"),
            outputs: keys.take("outputs"),
            ssh: keys.take("ssh"),
            forwards: keys.take_list("forwards", "forward"),
            group: keys.take("group"),
            limits: keys.take("limits"),
            firmware: keys.take("firmware"),
            accel: keys.take("accel"),
            machine: keys.take("machine"),
            kernel: keys.take("kernel"),
            initrd: keys.take("initrd"),
            append: keys.take("append"),
            qemu_args: keys.take_list("qemu-args", "QEMU argument"),
            profiles: keys.take_list("profiles", "profile"),
            wrong: false,
        };
        // Taken from every machine that has a count.
        for key in [COUNT, OVERRIDES] {
            if let Some(span) = keys.know(key) {
                let diagnostic = Diagnostic::new(format!("{what} cannot have {key}"), span);
                let hint = "a machine has a count, and with it overrides for single ones by their number";
                keys.report.push(diagnostic.with_hint(hint.to_owned()));
            }
        }
        Some(Self {
            wrong: keys.finish(),
            ..file
        })
    }
}

impl MachineFile {
    /// These keys, and those of `defaults` that are missing here.
    pub(crate) fn or(self, defaults: &Self) -> Self {
        let defaults = defaults.clone();
        Self {
            image: self.image.or(defaults.image),
            arch: self.arch.or(defaults.arch),
            cpus: self.cpus.or(defaults.cpus),
            memory: self.memory.or(defaults.memory),
            disk: self.disk.or(defaults.disk),
            nics: self.nics.or(defaults.nics),
            user_data: self.user_data.or(defaults.user_data),
            dhcp_options: OptionsFile::merge(self.dhcp_options, defaults.dhcp_options),
            dhcp6_options: OptionsFile::merge(self.dhcp6_options, defaults.dhcp6_options),
            depends_on: self.depends_on.or(defaults.depends_on),
            outputs: self.outputs.or(defaults.outputs),
            ssh: SshFile::merge(self.ssh, defaults.ssh),
            forwards: self.forwards.or(defaults.forwards),
            group: self.group.or(defaults.group),
            limits: self.limits.or(defaults.limits),
            firmware: self.firmware.or(defaults.firmware),
            accel: self.accel.or(defaults.accel),
            machine: self.machine.or(defaults.machine),
            kernel: self.kernel.or(defaults.kernel),
            initrd: self.initrd.or(defaults.initrd),
            append: self.append.or(defaults.append),
            qemu_args: self.qemu_args.or(defaults.qemu_args),
            profiles: self.profiles.or(defaults.profiles),
            wrong: self.wrong || defaults.wrong,
        }
    }
}

impl NicFile {
    /// What a machine has that lists no NICs.
    pub(crate) const EMPTY: Self = Self {
        network: None,
        model: None,
        attach: None,
        mac: None,
        addresses: GivenAddresses { v4: None, v6: None },
        span: None,
        wrong: false,
    };
}

impl FromYaml for NicFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        if let Kind::Scalar { .. } = node.kind {
            let network = Spot::from_yaml(node, what, report)?;
            return Some(Self {
                network: Some(network),
                span: Some(node.span.clone()),
                ..Self::EMPTY
            });
        }
        let mut keys = Keys::of(node, what, report)?;
        let file = Self {
            network: keys.take("network"),
            model: keys.take("model"),
            attach: keys.take("attach"),
            mac: keys.take("mac"),
            addresses: keys.take("address").unwrap_or_default(),
            span: Some(node.span.clone()),
            wrong: false,
        };
        Some(Self {
            wrong: keys.finish(),
            ..file
        })
    }
}

impl SshFile {
    /// Key by key, so that a machine with keys of its own still has the user of `defaults`.
    fn merge(own: Option<Self>, defaults: Option<Self>) -> Option<Self> {
        match (own, defaults) {
            (Some(own), Some(defaults)) => Some(Self {
                user: own.user.or(defaults.user),
                keys: own.keys.or(defaults.keys),
            }),
            (own, defaults) => own.or(defaults),
        }
    }
}

impl FromYaml for SshFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let file = Self {
            user: keys.take("user"),
            keys: keys.take_list("keys", "key").map(|given: Vec<Spot<SshKey>>| {
                let keys = given.into_iter().map(|key| match key.value {
                    SshKey::File(path) => SshKey::File(keys.report.files.rebase(&key.span, path)),
                    literal @ SshKey::Literal(_) => literal,
                });
                keys.collect()
            }),
        };
        keys.finish();
        Some(file)
    }
}

impl FromYaml for HostAddress {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let given = GivenAddresses::from_yaml(node, &format!("the address of {what}"), report)?;
        Some(Self(given.values()))
    }
}
