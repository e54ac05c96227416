//! What the gateway offers guests beside names: from the words of the file and the command line to a network's options. Pure.

use atoll_runtime::{BootClient, DhcpOptions, NetBoot, TimeServer};
use atoll_spec as spec;

/// The runtime's word for DHCP options.
#[must_use]
pub fn dhcp_options(options: &spec::DhcpOptions) -> DhcpOptions {
    DhcpOptions {
        v4: options.v4.clone(),
        v6: options.v6.clone(),
    }
}

/// The runtime's words for what clients load that boot from the network.
pub(crate) fn net_boot(boot: &spec::NetBoot) -> NetBoot {
    let files = boot.files.iter();
    NetBoot {
        server: boot.server,
        files: files
            .map(|(client, file)| (boot_client(*client), file.to_string()))
            .collect(),
    }
}

/// The runtime's word for a kind of client.
#[must_use]
pub fn boot_client(client: spec::BootClient) -> BootClient {
    match client {
        spec::BootClient::Ipxe => BootClient::Ipxe,
        spec::BootClient::Bios => BootClient::Bios,
        spec::BootClient::EfiX64 => BootClient::EfiX64,
        spec::BootClient::EfiArm64 => BootClient::EfiArm64,
        spec::BootClient::HttpX64 => BootClient::HttpX64,
        spec::BootClient::HttpArm64 => BootClient::HttpArm64,
        spec::BootClient::Any => BootClient::Any,
    }
}

/// The runtime's word for a time server.
#[must_use]
pub fn time_server(server: spec::TimeServer) -> TimeServer {
    match server {
        spec::TimeServer::Auto => TimeServer::Auto,
        spec::TimeServer::Always => TimeServer::Always,
        spec::TimeServer::Off => TimeServer::Off,
    }
}
