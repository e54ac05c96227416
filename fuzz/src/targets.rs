//! The targets, by name.

mod bytes;
mod engine;
mod files;
mod guest;
mod services;
mod streams;
mod vhost_user;
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
        name: "engine_frame",
        mutations: 10_000,
        run: engine::frame,
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
        name: "vnet_header",
        mutations: 20_000,
        run: streams::vnet_header,
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
        name: "cluster_file",
        mutations: 3000,
        run: files::cluster_file,
    },
    Target {
        name: "checksum_file",
        mutations: 5000,
        run: files::checksum_file,
    },
    Target {
        name: "unpack",
        mutations: 3000,
        run: files::unpack,
    },
];
