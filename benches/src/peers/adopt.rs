//! Guests whose TAP belongs to the back end: waiting for it, and making its link lose frames.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{BenchError, Trying};
use crate::lab::{Addressing, Guest, Namespace, Process, Scratch, own_command, readable};
use crate::peers::Request;

/// How long a back end may take to make and configure its device.
const PATIENCE: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(2);

/// Where the holder of a namespace that a back end makes is met.
///
/// The back end runs the holder as its command; the holder connects here, and the kernel tells its process id.
pub(super) struct Meeting {
    listener: UnixListener,
    socket: PathBuf,
}

impl Meeting {
    pub(super) fn new(scratch: &Scratch) -> Result<Self, BenchError> {
        let socket = scratch.path("holder.sock");
        let listener =
            UnixListener::bind(&socket).trying(|| format!("cannot listen at {}", socket.display()))?;
        Ok(Self { listener, socket })
    }

    /// The command line of the holder.
    pub(super) fn holder(&self) -> Result<[OsString; 4], BenchError> {
        let program = own_command()?.get_program().to_owned();
        Ok([
            program,
            "hold".into(),
            "--connect".into(),
            self.socket.clone().into(),
        ])
    }

    /// The namespace that the holder was started in. The holder, and so the back end, end when it is dropped.
    pub(super) fn namespace(&self, backend: &Process) -> Result<Namespace, BenchError> {
        let what = || "cannot wait for the back end's command".to_owned();
        if !readable(self.listener.as_fd(), PATIENCE).trying(what)? {
            return Err(backend.failed("it ran no command"));
        }
        Namespace::of_holder(self.listener.accept().trying(what)?.0)
    }
}

/// The guest in `namespace`, once the back end has configured device `eth0` there.
pub(super) fn adopt_one(
    request: &Request,
    addressing: Addressing,
    namespace: Namespace,
    backend: &Process,
) -> Result<Guest, BenchError> {
    let start = Instant::now();
    // The default route is what these back ends set last.
    while !has_default_route(&namespace.proc_net("route")?) {
        backend.alive()?;
        if start.elapsed() > PATIENCE {
            return Err(backend.failed("it configured no device"));
        }
        thread::sleep(PAUSE);
    }
    let guest = Guest::adopt(namespace, &request.guest(0, addressing), "eth0")?;
    shape(&guest, request)?;
    Ok(guest)
}

/// Whether a routing table as the kernel prints it leads everywhere: its second column is the destination.
fn has_default_route(table: &str) -> bool {
    table
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some("00000000"))
}

/// Makes the link lose what was asked for.
///
/// A frame lost on its way in is dropped. One lost on its way out must seem to have been sent, or the guest's TCP would
/// know at once: it is forwarded to a device that leads nowhere. This is one packet of the guest's kernel: with segment
/// offload a large one.
pub(super) fn shape(guest: &Guest, request: &Request) -> Result<(), BenchError> {
    let device = &guest.device;
    let lost = request.lost_per_million;
    if lost == 0 {
        return Ok(());
    }
    guest
        .namespace
        .ip("link add sink type veth peer name drain\nlink set drain up\nlink set sink up\n")?;
    let chance = format!("numgen random mod 1000000 < {lost}");
    guest.namespace.nft(&format!(
        "table netdev loss {{\n\
         chain in {{ type filter hook ingress device \"{device}\" priority 0; {chance} drop; }}\n\
         chain out {{ type filter hook egress device \"{device}\" priority 0; {chance} fwd to \"sink\"; }}\n\
         }}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::has_default_route;

    #[test]
    fn a_table_with_a_default_route_is_told_from_one_without() {
        let heading = "Iface\tDestination\tGateway \tFlags\n";
        let local = "eth0\t0002000A\t00000000\t0001\n";
        let default = "eth0\t00000000\t0202000A\t0003\n";
        assert!(!has_default_route(&format!("{heading}{local}")));
        assert!(has_default_route(&format!("{heading}{local}{default}")));
    }
}
