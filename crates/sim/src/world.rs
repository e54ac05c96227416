//! The world: clock, engine, guests, links, hosts.

mod hosts;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{AcceptId, Action, Config, Engine, Event, FlowId, Instant, PortConfig, PortId};
use atoll_wire::{Frame, Mac, Offloads, segment};

use crate::Chance;
use crate::guest::{Guest, LeanGuest, StackGuest};
use crate::host::{Server, Socket};
use crate::link::{Line, Link};
use crate::script::{Crossing, Script};

#[derive(Debug)]
enum Arrival {
    AtEngine(PortId, Frame),
    AtGuest(usize, Frame),
    /// The line to a guest can take more.
    Writable(PortId),
    /// A host's socket can take more.
    Refill(FlowId),
    /// More of what a host sent comes.
    Fill(FlowId),
}

/// A guest and its link.
#[derive(Debug)]
struct Station<G> {
    guest: G,
    up: Line,
    down: Line,
}

/// The world, with guests of one kind.
#[derive(Debug)]
pub struct World<G = StackGuest> {
    /// The engine under test.
    pub engine: Engine,
    now: Instant,
    chance: Chance,
    link: Link,
    script: Script,
    stations: Vec<Station<G>>,
    servers: HashMap<SocketAddr, Server>,
    /// Every host socket that ever was, by its flow.
    pub sockets: BTreeMap<FlowId, Socket>,
    hesitating: BTreeMap<FlowId, Server>,
    accepting: BTreeMap<AcceptId, Server>,
    accepted: u32,
    under_way: BTreeMap<(Instant, u64), Arrival>,
    order: u64,
    /// Every action, as text, for comparing runs; kept when there is something to keep it in.
    pub log: Option<Vec<String>>,
}

impl<G: Guest> World<G> {
    /// A network of `config` and nothing else. Every guest's link is like `link`.
    #[must_use]
    pub fn new(config: &Config, link: impl Into<Link>, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut key = [0; 32];
        key.copy_from_slice(&chance.bytes(32));
        Self {
            engine: Engine::new(config, key),
            now: Instant::ZERO,
            chance,
            link: link.into(),
            script: Script::default(),
            stations: Vec::new(),
            servers: HashMap::new(),
            sockets: BTreeMap::new(),
            hesitating: BTreeMap::new(),
            accepting: BTreeMap::new(),
            accepted: 0,
            under_way: BTreeMap::new(),
            order: 0,
            log: None,
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// One of the engine's counters.
    ///
    /// # Panics
    /// When there is none of this name.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let counters = self.engine.snapshot(self.now).counters;
        let found = counters.into_iter().find(|(counter, _)| *counter == name);
        found.expect("a counter of the engine's").1
    }

    /// What is lost from now on beside what the links lose: the frames of which `loses` says so.
    pub fn lose_when(&mut self, loses: impl FnMut(&Crossing<'_>) -> bool + 'static) {
        self.script = Script::new(loses);
    }

    /// From now on every link is like this.
    pub fn set_link(&mut self, link: impl Into<Link>) {
        self.link = link.into();
        for station in &mut self.stations {
            station.up.link = self.link;
            station.down.link = self.link;
        }
    }

    /// Attach a guest. Returns its number, which is also its port's.
    fn attach(&mut self, guest: G, offloads: Offloads) -> usize {
        let number = self.stations.len();
        self.stations.push(Station {
            guest,
            up: Line::new(self.link),
            down: Line::new(self.link),
        });
        let port_config = PortConfig {
            offloads,
            ..PortConfig::default()
        };
        let port = port_of(number);
        self.event(Event::PortAttached { port, port_config });
        number
    }

    /// The MAC address of the next guest.
    fn next_mac(&self) -> Mac {
        let last = u8::try_from(self.stations.len()).unwrap_or(u8::MAX);
        Mac([0x52, 0x54, 0, 0, 1, last])
    }

    /// A guest.
    pub fn guest(&mut self, number: usize) -> &mut G {
        &mut self.stations[number].guest
    }

    fn event(&mut self, event: Event) {
        self.engine.handle_event(self.now, event);
    }

    fn later(&mut self, at: Instant, arrival: Arrival) {
        self.order += 1;
        self.under_way.insert((at, self.order), arrival);
    }

    /// Run until `done` or until `limit` has passed. Returns whether it was done.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            let Some(next) = self.next_event().filter(|next| *next <= end) else {
                self.now = end;
                return false;
            };
            self.now = next;
            self.arrive();
            if self.engine.poll_timeout().is_some_and(|at| at <= self.now) {
                self.engine.handle_timeout(self.now);
            }
        }
    }

    /// Let time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn next_event(&mut self) -> Option<Instant> {
        let arrival = self.under_way.keys().next().map(|(at, _)| *at);
        let now = self.now;
        let guests = self
            .stations
            .iter_mut()
            .filter_map(|station| station.guest.poll_timeout(now))
            .min();
        let next = [arrival, guests, self.engine.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        next.map(|next| next.max(self.now))
    }

    fn arrive(&mut self) {
        while let Some(entry) = self
            .under_way
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            match entry.remove() {
                Arrival::AtEngine(port, frame) => self.engine.handle_frame(self.now, port, frame),
                Arrival::AtGuest(guest, frame) => self.stations[guest].guest.handle_frame(frame),
                Arrival::Writable(port) => self.transmit(port),
                Arrival::Refill(flow) => self.refill(flow),
                Arrival::Fill(flow) => self.fill(flow),
            }
        }
    }

    /// Let engine and guests do what they do at this moment.
    fn settle(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            if let Some(log) = &mut self.log {
                log.push(format!("{} {action:?}", self.now));
            }
            if let Action::Transmit(port) = action {
                self.transmit(port);
            } else {
                self.act(action);
            }
        }
        for number in 0..self.stations.len() {
            for frame in self.stations[number].guest.run(self.now) {
                self.cross(number, false, &frame);
            }
        }
    }

    /// Give a port's frames to its guest's line, as long as that takes them.
    fn transmit(&mut self, port: PortId) {
        let number = usize::try_from(port.0).unwrap_or(usize::MAX);
        let mut frames = 0;
        while let Some(frame) = self.engine.egress(port).get(frames).cloned() {
            if let Some(at) = self.stations[number].down.busy_until(self.now) {
                self.later(at, Arrival::Writable(port));
                break;
            }
            frames += 1;
            self.stations[number].guest.inspect(&frame);
            if self.link.cuts {
                let parts = segment::plain(&frame).expect("the engine's offloads fit its frames");
                parts.iter().for_each(|part| self.cross(number, true, part));
            } else {
                self.cross(number, true, &frame);
            }
        }
        if frames > 0 {
            self.event(Event::Transmitted { port, frames });
        }
    }

    /// Send a frame over a guest's link.
    fn cross(&mut self, number: usize, to_guest: bool, frame: &Frame) {
        let now = self.now;
        let station = &mut self.stations[number];
        let line = if to_guest {
            &mut station.down
        } else {
            &mut station.up
        };
        let arrivals = line.arrivals(&mut self.chance, now, frame.len());
        if self.script.loses(&Crossing { now, to_guest, frame }) {
            return;
        }
        for at in arrivals {
            let frame = frame.clone();
            let arrival = if to_guest {
                Arrival::AtGuest(number, frame)
            } else {
                Arrival::AtEngine(port_of(number), frame)
            };
            self.later(at, arrival);
        }
    }
}

impl World<StackGuest> {
    /// Attach a guest with this address, which has smoltcp's stack.
    pub fn add_guest(&mut self, config: &Config, address: impl Into<IpAddr>) -> usize {
        let (mac, seed) = (self.next_mac(), self.chance.next_u64());
        let guest = StackGuest::new(mac, address.into(), &config.addresses(), seed);
        self.attach(guest, Offloads::default())
    }
}

impl World<LeanGuest> {
    /// Attach a guest with this address, whose port takes frames as `offloads` says, and which sends such frames.
    pub fn add_lean_guest(&mut self, config: &Config, address: Ipv4Addr, offloads: Offloads) -> usize {
        let guest = LeanGuest::new(
            (self.next_mac(), address),
            config.gateway_mac,
            config.mtu,
            offloads,
        );
        self.attach(guest, offloads)
    }
}

fn port_of(number: usize) -> PortId {
    PortId(u32::try_from(number).unwrap_or(u32::MAX))
}
