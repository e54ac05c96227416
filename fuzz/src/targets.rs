//! The targets, by name.

mod bytes;
mod engine;
mod files;
mod guest;
mod helper;
mod joined;
mod services;
mod streams;
mod vhost_user;
mod vmnet;
mod world;

/// One fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of its folder of seeds, and on the command line.
    pub name: &'static str,
    /// How many mutations of its seeds CI tries.
    pub mutations: u64,
    /// Takes any bytes; panics when something is wrong.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "engine",
        mutations: 5000,
        run: engine::script,
    },
    Target {
        name: "engine_uplinks",
        mutations: 5000,
        run: engine::script_with_uplinks,
    },
    Target {
        name: "engine_joined",
        mutations: 5000,
        run: joined::packets,
    },
    Target {
        name: "engine_frame",
        mutations: 10_000,
        run: engine::frame,
    },
    Target {
        name: "engine_policy",
        mutations: 5000,
        run: engine::policy,
    },
    Target {
        name: "dhcp",
        mutations: 10_000,
        run: services::dhcp,
    },
    Target {
        name: "dhcp6",
        mutations: 10_000,
        run: services::dhcp6,
    },
    Target {
        name: "dns",
        mutations: 10_000,
        run: services::dns,
    },
    Target {
        name: "dns_answer",
        mutations: 10_000,
        run: services::dns_answer,
    },
    Target {
        name: "ntp",
        mutations: 5000,
        run: services::ntp,
    },
    Target {
        name: "tftp",
        mutations: 5000,
        run: services::tftp,
    },
    Target {
        name: "http",
        mutations: 5000,
        run: services::http,
    },
    Target {
        name: "qemu_stream",
        mutations: 10_000,
        run: streams::qemu_stream,
    },
    Target {
        name: "qmp",
        mutations: 10_000,
        run: streams::qmp,
    },
    Target {
        name: "tcp_header",
        mutations: 20_000,
        run: files::tcp_header,
    },
    Target {
        name: "ipv6_headers",
        mutations: 20_000,
        run: files::ipv6_headers,
    },
    Target {
        name: "ndp",
        mutations: 20_000,
        run: files::ndp,
    },
    Target {
        name: "vlan_tags",
        mutations: 10_000,
        run: streams::vlan_tags,
    },
    Target {
        name: "vnet_header",
        mutations: 20_000,
        run: streams::vnet_header,
    },
    Target {
        name: "joined_segments",
        mutations: 20_000,
        run: streams::joined_segments,
    },
    Target {
        name: "vhost_user_messages",
        mutations: 3000,
        run: vhost_user::messages,
    },
    Target {
        name: "vhost_user_rings",
        mutations: 3000,
        run: vhost_user::rings,
    },
    Target {
        name: "proxy_head",
        mutations: 10_000,
        run: streams::proxy_head,
    },
    Target {
        name: "vmnet_port",
        mutations: 3000,
        run: vmnet::port,
    },
    Target {
        name: "vmnet_network_id",
        mutations: 5000,
        run: vmnet::network_id,
    },
    Target {
        name: "user_data",
        mutations: 5000,
        run: files::user_data,
    },
    Target {
        name: "kubeconfig",
        mutations: 3000,
        run: files::kubeconfig,
    },
    Target {
        name: "cluster_file",
        mutations: 3000,
        run: files::cluster_file,
    },
    Target {
        name: "policy_rule",
        mutations: 20_000,
        run: files::policy_rule,
    },
    Target {
        name: "catalogue_file",
        mutations: 3000,
        run: files::catalogue_file,
    },
    Target {
        name: "checksum_file",
        mutations: 5000,
        run: files::checksum_file,
    },
    Target {
        name: "helper_request",
        mutations: 20_000,
        run: helper::request,
    },
    Target {
        name: "helper_policy",
        mutations: 10_000,
        run: helper::policy,
    },
    Target {
        name: "key_armour",
        mutations: 10_000,
        run: files::key_armour,
    },
    Target {
        name: "ovf",
        mutations: 5000,
        run: files::ovf,
    },
    Target {
        name: "tar",
        mutations: 5000,
        run: files::tar,
    },
    Target {
        name: "archive",
        mutations: 5000,
        run: files::archive,
    },
    Target {
        name: "disk_header",
        mutations: 10_000,
        run: files::disk_header,
    },
    Target {
        name: "unpack",
        mutations: 3000,
        run: files::unpack,
    },
];
