//! Cluster files to begin with, commented, each as `atoll init` writes it.

use serde::Serialize;

/// A cluster file to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FileTemplate {
    /// How it is asked for.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// The file.
    #[serde(skip)]
    pub text: &'static str,
}

impl FileTemplate {
    /// All there are, the simplest first.
    pub const ALL: &[Self] = &[
        Self {
            name: "machine",
            about: "one machine",
            text: include_str!("templates/machine.yaml"),
        },
        Self {
            name: "cluster",
            about: "a control plane and workers, as many as you say",
            text: include_str!("templates/cluster.yaml"),
        },
        Self {
            name: "k3s",
            about: "Kubernetes by k3s: control planes and workers",
            text: include_str!("../../../examples/k3s/atoll.yaml"),
        },
        Self {
            name: "swarm",
            about: "a Docker Swarm from Debian's packages: managers and workers",
            text: include_str!("../../../examples/swarm/atoll.yaml"),
        },
        Self {
            name: "networks",
            about: "two networks and a machine between them",
            text: include_str!("templates/networks.yaml"),
        },
        Self {
            name: "profiles",
            about: "a service, with machines for debugging that are in use when asked for",
            text: include_str!("templates/profiles.yaml"),
        },
    ];

    /// The one of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|template| template.name == name)
    }
}
