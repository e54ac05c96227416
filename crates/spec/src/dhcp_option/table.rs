//! The options that have names (IANA's "BOOTP Vendor Extensions and DHCP Options" and "DHCPv6 Option Codes"), and those that are taken.

use super::value::Type;

/// An option with a name and a type.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) code: u16,
    pub(super) name: &'static str,
    pub(super) kind: Type,
}

/// An option that is not for users to choose.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    pub(super) code: u16,
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    pub(super) hint: &'static str,
}

const fn entry(code: u16, name: &'static str, kind: Type) -> Entry {
    Entry { code, name, kind }
}

const fn taken(code: u16, name: &'static str, why: &'static str, hint: &'static str) -> Taken {
    Taken {
        code,
        name,
        why,
        hint,
    }
}

/// DHCP for IPv4.
pub(super) const V4: &[Entry] = &[
    entry(66, "tftp-server-name", Type::Text),
    entry(67, "bootfile-name", Type::Text),
    entry(42, "ntp-servers", Type::Ip),
    entry(3, "routers", Type::Ip),
    entry(6, "dns-servers", Type::Ip),
    entry(15, "domain-name", Type::Text),
    entry(119, "domain-search", Type::Domain),
    entry(2, "time-offset", Type::I32),
    entry(4, "time-servers", Type::Ip),
    entry(7, "log-servers", Type::Ip),
    entry(9, "lpr-servers", Type::Ip),
    entry(13, "boot-file-size", Type::U16),
    entry(17, "root-path", Type::Text),
    entry(18, "extensions-path", Type::Text),
    entry(19, "ip-forwarding", Type::U8),
    entry(23, "default-ttl", Type::U8),
    entry(31, "router-discovery", Type::U8),
    entry(37, "tcp-default-ttl", Type::U8),
    entry(40, "nis-domain", Type::Text),
    entry(41, "nis-servers", Type::Ip),
    entry(43, "vendor-specific", Type::Hex),
    entry(44, "netbios-name-servers", Type::Ip),
    entry(45, "netbios-datagram-servers", Type::Ip),
    entry(46, "netbios-node-type", Type::U8),
    entry(47, "netbios-scope", Type::Text),
    entry(48, "x-font-servers", Type::Ip),
    entry(49, "x-display-managers", Type::Ip),
    entry(60, "vendor-class", Type::Text),
    entry(64, "nisplus-domain", Type::Text),
    entry(65, "nisplus-servers", Type::Ip),
    entry(69, "smtp-servers", Type::Ip),
    entry(70, "pop3-servers", Type::Ip),
    entry(72, "www-servers", Type::Ip),
    entry(100, "posix-timezone", Type::Text),
    entry(101, "tzdb-timezone", Type::Text),
    entry(108, "ipv6-only-wait", Type::U32),
    entry(114, "captive-portal", Type::Text),
    entry(124, "vendor-identifying-class", Type::Hex),
    entry(125, "vendor-identifying-specific", Type::Hex),
    entry(138, "capwap-controllers", Type::Ip),
    entry(150, "tftp-servers", Type::Ip),
    entry(209, "pxelinux-configfile", Type::Text),
    entry(210, "pxelinux-pathprefix", Type::Text),
    entry(211, "pxelinux-reboottime", Type::U32),
    entry(252, "proxy-autodiscovery", Type::Text),
];

/// DHCP for IPv6.
pub(super) const V6: &[Entry] = &[
    entry(59, "bootfile-url", Type::Text),
    entry(60, "bootfile-parameters", Type::Hex),
    entry(23, "dns-servers", Type::Ip),
    entry(24, "domain-search", Type::Domain),
    entry(16, "vendor-class", Type::Hex),
    entry(17, "vendor-specific", Type::Hex),
    entry(21, "sip-domains", Type::Domain),
    entry(22, "sip-servers", Type::Ip),
    entry(27, "nis-servers", Type::Ip),
    entry(29, "nis-domain", Type::Domain),
    entry(31, "sntp-servers", Type::Ip),
    entry(41, "posix-timezone", Type::Text),
    entry(42, "tzdb-timezone", Type::Text),
    entry(103, "captive-portal", Type::Text),
];

const OURS: &str = "the server makes it itself";
const LEAVE: &str = "leave it out";
const ADDRESSES: &str = "a guest's address is given by its lease";

/// What the server of IPv4 makes itself.
pub(super) const TAKEN4: &[Taken] = &[
    taken(
        1,
        "subnet-mask",
        "it follows from the subnet",
        "change the subnet",
    ),
    taken(
        12,
        "host-name",
        "a guest's name is its machine's, or its own",
        LEAVE,
    ),
    taken(
        26,
        "interface-mtu",
        "the network has an MTU",
        "set the network's mtu",
    ),
    taken(
        28,
        "broadcast-address",
        "it follows from the subnet",
        "change the subnet",
    ),
    taken(50, "requested-address", "clients say it", ADDRESSES),
    taken(51, "lease-time", OURS, LEAVE),
    taken(52, "option-overload", OURS, LEAVE),
    taken(53, "message-type", OURS, LEAVE),
    taken(54, "server-identifier", OURS, LEAVE),
    taken(55, "parameter-request-list", "clients say it", LEAVE),
    taken(56, "message", OURS, LEAVE),
    taken(57, "maximum-message-size", "clients say it", LEAVE),
    taken(58, "renewal-time", OURS, LEAVE),
    taken(59, "rebinding-time", OURS, LEAVE),
    taken(61, "client-identifier", "clients say it", LEAVE),
    taken(80, "rapid-commit", OURS, LEAVE),
    taken(
        81,
        "client-fqdn",
        "a guest's name is its machine's, or its own",
        LEAVE,
    ),
    taken(82, "relay-agent-information", "relays say it", LEAVE),
    taken(90, "authentication", "there is none", LEAVE),
    taken(
        121,
        "classless-routes",
        "it is made from the network's routes",
        "set the network's routes",
    ),
];

/// What the server of IPv6 makes itself.
pub(super) const TAKEN6: &[Taken] = &[
    taken(1, "client-identifier", "clients say it", LEAVE),
    taken(2, "server-identifier", OURS, LEAVE),
    taken(3, "ia-na", OURS, ADDRESSES),
    taken(4, "ia-ta", OURS, LEAVE),
    taken(5, "ia-address", OURS, ADDRESSES),
    taken(6, "option-request", "clients say it", LEAVE),
    taken(7, "preference", OURS, LEAVE),
    taken(8, "elapsed-time", "clients say it", LEAVE),
    taken(9, "relay-message", "relays say it", LEAVE),
    taken(11, "authentication", "there is none", LEAVE),
    taken(12, "server-unicast", OURS, LEAVE),
    taken(13, "status-code", OURS, LEAVE),
    taken(14, "rapid-commit", OURS, LEAVE),
    taken(18, "interface-id", "relays say it", LEAVE),
    taken(19, "reconfigure-message", OURS, LEAVE),
    taken(20, "reconfigure-accept", OURS, LEAVE),
    taken(25, "ia-pd", OURS, LEAVE),
    taken(26, "ia-prefix", OURS, LEAVE),
    taken(32, "information-refresh-time", OURS, LEAVE),
    taken(
        39,
        "client-fqdn",
        "a guest's name is its machine's, or its own",
        LEAVE,
    ),
    taken(
        56,
        "ntp-servers",
        "it is made from the network's time servers",
        "say ntp, or sntp-servers",
    ),
    taken(82, "sol-max-rt", OURS, LEAVE),
    taken(83, "inf-max-rt", OURS, LEAVE),
];
