//! What a cluster file leaves to who brings the cluster up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::mac::Mac;

/// Values of variables, and which profiles are in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Choices {
    /// Values of variables, by name. Each must be one that the file has.
    pub variables: BTreeMap<String, String>,
    /// Values for variables that the former have none for, by their names in the environment without their prefix: `NODE_COUNT` for
    /// `node-count`. What the file has no variable for is passed over.
    pub environment: BTreeMap<String, String>,
    /// Machines with one of these are in use besides those with none. Each must be one that a machine has.
    pub profiles: BTreeSet<String>,
}

/// What a NIC had when its machine was brought up last, and keeps where the file says nothing else and nobody else is given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The machine.
    pub machine: String,
    /// The NIC's place in its list.
    pub index: usize,
    /// The network it was on.
    pub network: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its address of IPv4.
    pub address: Option<Ipv4Addr>,
}

/// The prefix of a variable's name in the environment.
pub const ENVIRONMENT_PREFIX: &str = "ATOLL_VAR_";

/// A variable's name in the environment, without the prefix: in capitals, with `_` for `-`.
pub(crate) fn environment_name(variable: &str) -> String {
    variable.to_ascii_uppercase().replace('-', "_")
}
