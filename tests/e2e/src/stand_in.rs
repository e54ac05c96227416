//! A program in the place of `ssh`, for micro guests, which have no ssh server.
//!
//! It takes the machine's port from the configuration file that it is given, as `ssh` does, and speaks to a shell there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::Cluster;

/// Exits with 255 when the guest does not answer, else with the status of the command there.
const STAND_IN: &str = r#"#!/bin/bash
while [ "$1" != -- ]; do [ "$1" = -F ] && config=$2; shift; done
machine=$2
shift 2
port=$(awk -v m="$machine" '$1 == "Host" { on = ($2 == m) } on && $1 == "Port" { print $2 }' "$config")
exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 255
printf '( %s\n )\nstatus=$?; printf "\\nstatus %%s" "$status"; exit\n' "$*" >&3
answer=$(timeout 5 cat <&3)
case $answer in *$'\n'"status "*) ;; *) echo "no answer" >&2; exit 255 ;; esac
printf '%s' "${answer%$'\n'status *}"
exit "${answer##*status }"
"#;

/// What a guest runs where it would run an ssh server.
pub const SHELL: &str = "nc -ll -p 22 -e /bin/sh";

/// Puts the stand-in into the cluster's folder.
///
/// # Panics
/// When there is no room for it.
pub fn install(cluster: &Cluster) {
    let bin = cluster.folder().join("bin");
    let path = bin.join("ssh");
    let made = fs::create_dir_all(&bin)
        .and_then(|()| fs::write(&path, STAND_IN))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    made.expect("a folder of our own takes a file");
}

/// `atoll` with these arguments and the stand-in first among all programs.
#[must_use]
pub fn command(cluster: &Cluster, arguments: &[&str]) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = cluster.folder().join("bin");
    let mut command = cluster.command(arguments);
    command.env("PATH", format!("{}:{path}", own.display()));
    command
}
