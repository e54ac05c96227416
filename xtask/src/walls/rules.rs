//! The rules as data, each with its reason.

/// What one of our crates may import, and how strict its walls are.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) name: &'static str,
    /// Path of the crate root; `None` where `unsafe` is allowed in some module.
    pub(super) forbids_unsafe: Option<&'static str>,
    /// Our other crates that it may use: left of it in the drawing of the architecture.
    pub(super) may_use: &'static [&'static str],
    /// Whether it is free of I/O, clocks and threads, also through its dependencies.
    pub(super) pure: bool,
}

/// The crates, in the order of the architecture's drawing.
pub(super) const CRATES: [Crate; 13] = [
    Crate {
        name: "atoll-wire",
        forbids_unsafe: Some("crates/wire/src/lib.rs"),
        may_use: &[],
        pure: true,
    },
    Crate {
        name: "atoll-engine",
        forbids_unsafe: Some("crates/engine/src/lib.rs"),
        may_use: &["atoll-wire"],
        pure: true,
    },
    Crate {
        name: "atoll-sim",
        forbids_unsafe: Some("crates/sim/src/lib.rs"),
        may_use: &["atoll-wire", "atoll-engine"],
        pure: true,
    },
    Crate {
        name: "atoll-ports",
        forbids_unsafe: None,
        may_use: &["atoll-wire"],
        pure: false,
    },
    Crate {
        name: "atoll-helper",
        forbids_unsafe: None,
        may_use: &["atoll-wire", "atoll-ports"],
        pure: false,
    },
    Crate {
        name: "atoll-runtime",
        forbids_unsafe: None,
        may_use: &[
            "atoll-wire",
            "atoll-engine",
            "atoll-ports",
            "atoll-helper",
            "atoll-spec",
        ],
        pure: false,
    },
    Crate {
        name: "atoll-spec",
        forbids_unsafe: Some("crates/spec/src/lib.rs"),
        may_use: &[],
        pure: true,
    },
    Crate {
        name: "atoll-qemu",
        forbids_unsafe: None,
        may_use: &["atoll-spec"],
        pure: false,
    },
    Crate {
        name: "atoll-images",
        forbids_unsafe: Some("crates/images/src/lib.rs"),
        may_use: &["atoll-spec"],
        pure: false,
    },
    Crate {
        name: "atoll-cluster",
        forbids_unsafe: Some("crates/cluster/src/lib.rs"),
        may_use: &[
            "atoll-spec",
            "atoll-qemu",
            "atoll-images",
            "atoll-runtime",
            "atoll-helper",
        ],
        pure: false,
    },
    Crate {
        name: "atoll-control",
        forbids_unsafe: Some("crates/control/src/lib.rs"),
        may_use: &[
            "atoll-spec",
            "atoll-qemu",
            "atoll-images",
            "atoll-runtime",
            "atoll-cluster",
        ],
        pure: false,
    },
    Crate {
        name: "atoll-doctor",
        forbids_unsafe: Some("crates/doctor/src/lib.rs"),
        may_use: &["atoll-qemu", "atoll-images", "atoll-runtime", "atoll-helper"],
        pure: false,
    },
    Crate {
        name: "atoll-cli",
        forbids_unsafe: Some("crates/cli/src/main.rs"),
        may_use: &["atoll-spec", "atoll-control", "atoll-helper", "atoll-doctor"],
        pure: false,
    },
];

/// Packages of the workspace that are not part of the product: tests and chores, free to use all.
pub(super) const TOOLS: [&str; 4] = ["atoll-bench", "atoll-e2e", "atoll-fuzz", "xtask"];

/// A dependency that only some of our crates may name.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) dependencies: &'static [&'static str],
    pub(super) users: &'static [&'static str],
    pub(super) reason: &'static str,
}

/// Dependencies with a fixed place. One that is not listed is free, except to the pure crates'
/// [`IMPURE`].
pub(super) const RESERVED: [Reserved; 11] = [
    Reserved {
        dependencies: &["tokio", "tokio-util", "async-std", "smol", "futures"],
        users: &["atoll-control", "atoll-cli"],
        reason: "the data path has one event loop of its own",
    },
    Reserved {
        dependencies: &["axum", "hyper", "hyper-util", "http-body-util", "tower"],
        users: &["atoll-control"],
        reason: "the API is one crate's business",
    },
    Reserved {
        dependencies: &[
            "clap",
            "clap_complete",
            "clap_mangen",
            "indicatif",
            "tracing-subscriber",
        ],
        users: &["atoll-cli"],
        reason: "arguments and rendering belong to the binary",
    },
    Reserved {
        dependencies: &["mio"],
        users: &["atoll-runtime"],
        reason: "there is one event loop",
    },
    Reserved {
        dependencies: &["socket2", "vhost", "virtio-queue", "vm-memory", "vmnet"],
        users: &["atoll-ports", "atoll-runtime"],
        reason: "host sockets and ports are opened by the runtime and its ports",
    },
    Reserved {
        dependencies: &["libc", "rustix", "nix"],
        users: &[
            "atoll-ports",
            "atoll-helper",
            "atoll-runtime",
            "atoll-qemu",
            "atoll-images",
            "atoll-cluster",
            "atoll-control",
            "atoll-doctor",
        ],
        reason: "system calls are made by the parts that do I/O",
    },
    Reserved {
        dependencies: &["seccompiler"],
        users: &["atoll-helper"],
        reason: "the privileged program gives its own system calls up",
    },
    Reserved {
        dependencies: &["smoltcp", "etherparse", "dhcproto", "hickory-proto", "httparse"],
        users: &[
            "atoll-wire",
            "atoll-engine",
            "atoll-sim",
            "atoll-ports",
            "atoll-runtime",
        ],
        reason: "packets end at the runtime; the parts above it see snapshots and commands",
    },
    Reserved {
        dependencies: &["ureq", "reqwest", "rustls"],
        users: &["atoll-images"],
        reason: "only images are fetched",
    },
    Reserved {
        dependencies: &["rand", "getrandom", "fastrand"],
        users: &["atoll-runtime", "atoll-cluster", "atoll-images"],
        reason: "randomness is an argument to the parts that must be deterministic",
    },
    Reserved {
        dependencies: &["serde-saphyr", "annotate-snippets"],
        users: &["atoll-spec"],
        reason: "one crate reads the cluster file and points at its lines",
    },
];

/// What a pure crate must not reach, even through another dependency.
pub(super) const IMPURE: [&str; 12] = [
    "mio",
    "tokio",
    "async-std",
    "smol",
    "socket2",
    "rustix",
    "nix",
    "tempfile",
    "ureq",
    "reqwest",
    "hyper",
    "hickory-resolver",
];

/// Crates whose dependencies may differ by operating system.
pub(super) const PLATFORM_CRATES: [&str; 4] = ["atoll-ports", "atoll-helper", "atoll-runtime", "atoll-qemu"];

/// Files, or folders ending in `/`, that may hold `unsafe` and `cfg(target_os)`.
pub(super) const PLATFORM_PLACES: [&str; 9] = [
    "benches/src/lib.rs",
    "benches/src/main.rs",
    "benches/src/sys/",
    "crates/ports/",
    "crates/helper/src/sys/",
    "crates/runtime/src/sys.rs",
    "crates/runtime/src/sys/",
    "crates/qemu/src/process.rs",
    "crates/qemu/src/process/",
];

/// The longest Rust file, in lines.
pub(super) const MAX_LINES: usize = 600;

/// First labels of host names that are package mirrors, and the domains they stand in.
///
/// Apt sources are derived from the machine's own; a mirror written down is down for somebody. The
/// names are kept in halves so that this table does not break its own rule.
pub(super) const MIRROR_LABELS: [&str; 8] = [
    "deb",
    "ftp",
    "security",
    "archive",
    "ports",
    "snapshot",
    "httpredir",
    "mirrors",
];

/// See [`MIRROR_LABELS`].
pub(super) const MIRROR_DOMAINS: [&str; 3] = ["debian.org", "ubuntu.com", "kernel.org"];

/// A pure crate's folder and the calls and types of `std` that its `clippy.toml` must forbid.
#[derive(Debug)]
pub(super) struct StdWall {
    pub(super) folder: &'static str,
    pub(super) forbidden: &'static [&'static str],
}

/// Clocks, files, network, processes, threads, environment: all that a sans-IO crate has no need of.
const SANS_IO: [&str; 16] = [
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::thread::sleep",
    "std::env::var",
    "std::fs::read",
    "std::fs::write",
    "std::fs::File",
    "std::process::Command",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os::unix::net::UnixStream",
    "std::os::unix::net::UnixListener",
    "std::os::unix::net::UnixDatagram",
    "std::collections::hash_map::RandomState::new",
];

/// The crates behind a wall against `std`.
pub(super) const STD_WALLS: [StdWall; 3] = [
    StdWall {
        folder: "crates/wire",
        forbidden: &SANS_IO,
    },
    StdWall {
        folder: "crates/engine",
        forbidden: &SANS_IO,
    },
    StdWall {
        folder: "crates/spec",
        forbidden: &[
            "std::env::var",
            "std::env::current_dir",
            "std::fs::read",
            "std::fs::read_to_string",
            "std::fs::File",
            "std::net::TcpStream",
            "std::net::UdpSocket",
            "std::process::Command",
            "std::path::Path::exists",
        ],
    },
];
