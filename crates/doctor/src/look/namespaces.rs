//! Opens the TAPs' device as it is; all else about namespaces is a [`trial`](super::trial).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use atoll_runtime::TapError;
use atoll_runtime::namespace::Refused;

const DEVICE: &str = "/dev/net/tun";

/// Whether the device opens, or why not.
pub(crate) fn device() -> Result<(), Refused> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(Path::new(DEVICE));
    opened.map(drop).map_err(|source| {
        let is_denied = source.kind() == std::io::ErrorKind::PermissionDenied;
        let mode = fs::metadata(DEVICE).ok().filter(|_| is_denied);
        let mode = mode.map(|file| file.permissions().mode() & 0o7777);
        let error = TapError::Open { source, mode };
        Refused {
            reason: error.to_string(),
            hint: error.hint().map(str::to_owned),
        }
    })
}
