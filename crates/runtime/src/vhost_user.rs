//! Guests whose memory we share.
//!
//! A front end that connects is a guest at once, though no driver may run behind it for a while: firmware, then a boot loader, then a
//! kernel bring the device up and down again. What is for it in the meantime is dropped, as by a NIC without a driver. Each driver
//! may take other offloads; then the port is attached anew under its number, which forgets what waits for it, since the driver
//! that it was made for is gone, and what was counted.
//!
//! Kick descriptors are shared with the front end and the hypervisor's kernel, so that closing ours does not end their being watched:
//! each is taken out of the loop before it is dropped.

use std::io;

use atoll_engine::{Event, PortConfig, PortId};
use atoll_ports::vhost_user::{VhostUserCounters, Watch};
use atoll_ports::{Progress, VhostUserError, VhostUserPort};

use crate::core::{Core, Readiness};
use crate::guests::{Guests, Link};
use crate::tokens::Source;

impl Guests {
    fn shared(&mut self, port: PortId) -> Option<&mut VhostUserPort> {
        match &mut self.guests.get_mut(&port)?.link {
            Link::VhostUser(shared) => Some(shared),
            Link::Stream(_) | Link::Tap(_) | Link::Relay(_) | Link::Dgram { .. } => None,
        }
    }

    /// Do what a front end says.
    pub(crate) fn handle_front_end(&mut self, core: &mut Core, port: PortId) {
        let Some(shared) = self.shared(port) else {
            return;
        };
        let before = shared.offloads();
        let outcome = shared.handle_messages();
        let after = shared.offloads();
        let followed = follow(core, port, shared);
        if before != after {
            let guest = self.guests.get(&port);
            let label = guest.and_then(|guest| self.label_at(guest.attached_at?));
            let port_config = PortConfig {
                label,
                offloads: after,
                ..PortConfig::default()
            };
            core.tell(Event::PortAttached { port, port_config });
        }
        match outcome {
            Ok(_) if followed.is_err() => self.detach(core, port, "a descriptor of its cannot be watched"),
            Ok(Progress::More) => core.ready.push(Source::Guest(port.0), Readiness::Readable),
            Ok(Progress::Drained) => {}
            Ok(Progress::Closed) => self.detach(core, port, "it closed"),
            Err(error) => self.end_by(core, port, &error),
        }
    }

    /// A ring has something for us, or room for something.
    pub(crate) fn handle_kick(&mut self, core: &mut Core, id: u32, ring: u8) {
        let port = PortId(id);
        if !VhostUserPort::is_transmit(ring) {
            return self.flush(core, port);
        }
        let mut frames = std::mem::take(&mut self.frames);
        let outcome = self.shared(port).map(|shared| shared.read(ring, &mut frames));
        let now = core.now();
        for frame in frames.drain(..) {
            core.engine.handle_frame(now, port, frame);
        }
        self.frames = frames;
        match outcome {
            Some(Ok(Progress::More)) => core.ready.push(Source::Kick(id, ring), Readiness::Readable),
            Some(Err(error)) => self.end_by(core, port, &error),
            Some(Ok(_)) | None => {}
        }
    }

    fn end_by(&mut self, core: &mut Core, port: PortId, error: &VhostUserError) {
        tracing::warn!(port = port.0, "a vhost-user guest is closed: {error}");
        self.detach(core, port, "it went wrong");
    }

    /// A front end is gone.
    pub(crate) fn end_front_end(&mut self, core: &Core, mut shared: VhostUserPort) {
        shared.close();
        while let Some(watch) = shared.poll_watch() {
            if let Watch::End(kick) = watch {
                unwatch(core, kick);
            }
        }
        self.vhost_user_records = sum(self.vhost_user_records, shared.counters());
    }

    /// What was counted at vhost-user ports, by name.
    pub(crate) fn vhost_user_counters(&self) -> [(&'static str, u64); 5] {
        let ports = self.guests.values().filter_map(|guest| match &guest.link {
            Link::VhostUser(shared) => Some(shared.counters()),
            Link::Stream(_) | Link::Tap(_) | Link::Relay(_) | Link::Dgram { .. } => None,
        });
        let all = ports.fold(self.vhost_user_records, sum);
        [
            ("vhost_user_bad_chain", all.bad_chains),
            ("vhost_user_bad_header", all.bad_headers),
            ("vhost_user_broken_ring", all.broken_rings),
            ("vhost_user_no_driver", all.no_driver),
            ("vhost_user_too_large", all.too_large),
        ]
    }
}

/// Watch what the port wants watched.
fn follow(core: &mut Core, port: PortId, shared: &mut VhostUserPort) -> io::Result<()> {
    let mut followed = Ok(());
    while let Some(watch) = shared.poll_watch() {
        match watch {
            Watch::Ready(ring) => core.ready.push(Source::Kick(port.0, ring), Readiness::Readable),
            Watch::End(kick) => unwatch(core, kick),
            Watch::Begin(ring) => {
                let Some(kick) = shared.kick(ring) else {
                    continue;
                };
                match core.watch_reading(kick, Source::Kick(port.0, ring)) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => followed = Err(error),
                    _ => {}
                }
            }
        }
    }
    followed
}

/// Take a kick descriptor out of the loop. One that came and went within a turn was never in it.
fn unwatch(core: &Core, kick: std::os::fd::OwnedFd) {
    if let Err(error) = core.unwatch(&kick) {
        tracing::trace!("a kick descriptor was not watched: {error}");
    }
    drop(kick);
}

fn sum(one: VhostUserCounters, other: VhostUserCounters) -> VhostUserCounters {
    VhostUserCounters {
        bad_chains: one.bad_chains + other.bad_chains,
        bad_headers: one.bad_headers + other.bad_headers,
        too_large: one.too_large + other.too_large,
        broken_rings: one.broken_rings + other.broken_rings,
        no_driver: one.no_driver + other.no_driver,
    }
}
