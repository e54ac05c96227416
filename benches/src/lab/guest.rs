//! A guest: a namespace whose only way out is a TAP device.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use crate::error::BenchError;
use crate::lab::namespace::own_command;
use crate::lab::{Host, Namespace, Output, Process, Scratch, Spawn};

/// The addresses of a back end's network, which are set by hand: what is measured is not DHCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addressing {
    /// The first guest's address; further guests follow it.
    pub(crate) first: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
}

impl Addressing {
    /// The address of guest `index`.
    pub(crate) fn guest(&self, index: u8) -> Ipv4Addr {
        let [a, b, c, d] = self.first.octets();
        Ipv4Addr::new(a, b, c, d.saturating_add(index))
    }
}

/// What a guest is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuestSpec<'a> {
    pub(crate) index: u8,
    pub(crate) addressing: Addressing,
    pub(crate) mtu: u32,
    pub(crate) congestion: &'a str,
    /// Of each million frames on the wire, how many the shim loses, each way.
    pub(crate) lost_per_million: u32,
    /// Length of the TAP's queue.
    pub(crate) queue: Option<u32>,
}

/// A guest that is configured and can send.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) namespace: Namespace,
    pub(crate) device: String,
    pub(crate) address: Ipv4Addr,
    /// What plays the hypervisor, or made the namespace, where there is such a process.
    shim: Option<Process>,
}

/// How a shim finds its other side.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attach<'a> {
    Connect(&'a Path),
    /// By vhost-user.
    Share(&'a Path),
    Listen(&'a Path),
}

const DEVICE: &str = "eth0";

/// A VM's NIC makes its sender wait when it is full, a TAP drops; a queue that does not fill is the nearest.
const QUEUE: u32 = 20_000;

/// How long a shim may take to reach the back end.
const PATIENCE: Duration = Duration::from_secs(10);

impl Guest {
    /// A guest behind a shim at the back end's socket.
    pub(crate) fn attach(
        spec: &GuestSpec<'_>,
        attach: Attach<'_>,
        scratch: &Scratch,
    ) -> Result<Self, BenchError> {
        let mut guest = Self::begin(spec, attach, scratch)?;
        guest.complete(spec)?;
        Ok(guest)
    }

    /// Starts the namespace and the shim, which may have to wait for its other side.
    pub(crate) fn begin(
        spec: &GuestSpec<'_>,
        attach: Attach<'_>,
        scratch: &Scratch,
    ) -> Result<Self, BenchError> {
        let namespace = Namespace::new("guest", scratch)?;
        let mut command = own_command()?;
        command.args(["shim", "--tap", DEVICE]);
        match attach {
            Attach::Connect(path) => command.arg("--connect").arg(path),
            Attach::Share(path) => command.arg("--vhost-user").arg("--connect").arg(path),
            Attach::Listen(path) => command.arg("--listen").arg(path),
        };
        command.args(["--drop-per-million", &spec.lost_per_million.to_string()]);
        command.args(["--seed", &(1 + u32::from(spec.index)).to_string()]);
        let shim = Spawn {
            name: "shim",
            command,
            namespace: Some(&namespace),
            output: Output::Lines,
        }
        .start(scratch)?;
        Ok(Self {
            namespace,
            device: DEVICE.to_owned(),
            address: spec.addressing.guest(spec.index),
            shim: Some(shim),
        })
    }

    /// Waits for the shim and configures its device.
    pub(crate) fn complete(&mut self, spec: &GuestSpec<'_>) -> Result<(), BenchError> {
        if let Some(shim) = &mut self.shim {
            shim.line(PATIENCE)?;
        }
        self.configure(spec, spec.queue.or(Some(QUEUE)))
    }

    /// A guest whose device another program made and configured; it has no shim.
    pub(crate) fn adopt(
        namespace: Namespace,
        spec: &GuestSpec<'_>,
        device: &str,
    ) -> Result<Self, BenchError> {
        let guest = Self {
            namespace,
            device: device.to_owned(),
            address: spec.addressing.guest(spec.index),
            shim: None,
        };
        guest.configure(spec, spec.queue)?;
        Ok(guest)
    }

    /// The same with a process that is to end when the guest does.
    pub(crate) fn kept_by(mut self, process: Process) -> Self {
        self.shim = Some(process);
        self
    }

    /// Sets address, MTU, queue and routes with their congestion control. What is there already is kept or replaced.
    fn configure(&self, spec: &GuestSpec<'_>, queue: Option<u32>) -> Result<(), BenchError> {
        let Self { device, address, .. } = self;
        let Addressing { prefix, gateway, .. } = spec.addressing;
        let (mtu, congestion) = (spec.mtu, spec.congestion);
        let mut batch = format!("link set lo up\nlink set {device} mtu {mtu}\n");
        if let Some(queue) = queue {
            batch.push_str(&format!("link set {device} txqueuelen {queue}\n"));
        }
        batch.push_str(&format!(
            "address replace {address}/{prefix} dev {device}\nlink set {device} up\n"
        ));
        let network = network(*address, prefix);
        batch.push_str(&format!(
            "route replace {network}/{prefix} dev {device} proto kernel scope link src {address} congctl {congestion}\n"
        ));
        if let Some(gateway) = gateway {
            batch.push_str(&format!(
                "route replace default via {gateway} dev {device} onlink congctl {congestion}\n"
            ));
        }
        self.namespace.ip(&batch)
    }
}

/// The server's view of a machine that is no guest: the host itself.
impl Host {
    /// The guest of a measurement without a back end.
    pub(crate) fn as_guest(&self) -> Result<Guest, BenchError> {
        Ok(Guest {
            namespace: Namespace::of(self.namespace.pid())?,
            device: "lo".to_owned(),
            address: crate::lab::SERVER,
            shim: None,
        })
    }
}

fn network(address: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}
