//! Connections that end in every order of events: guest and host send, close, reset, refuse, stop, go away, in any order and at any
//! moment, over links that repeat and reorder, and lose or do not. A small model says how it must end.

use std::net::SocketAddrV4;
use std::time::Duration;

use atoll_engine::{FlowId, HostError};
use atoll_sim::World;
use atoll_sim::guest::{Connection, LeanGuest, Profile};
use atoll_sim::host::{Answer, Server};
use atoll_sim::link::{Faults, Link};
use atoll_wire::Offloads;
use proptest::prelude::*;

use crate::kit::{GUEST, HOUR, LARGE, Setup, streams};

/// More than either side sends.
const LENGTH: u64 = 1 << 24;

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(Duration),
    GuestSends(u64),
    GuestCloses,
    GuestResets,
    GuestStops,
    GuestGoesOn,
    GuestVanishes,
    GuestRestarts,
    HostAccepts,
    HostRefuses,
    HostSends(u64),
    HostCloses,
    HostResets,
    HostStops,
    HostGoesOn,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..400).prop_map(|micros| Step::Wait(Duration::from_micros(micros))),
        4 => (0u64..5000).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        5 => (1u64..200_000).prop_map(Step::GuestSends),
        5 => (1u64..200_000).prop_map(Step::HostSends),
        5 => Just(Step::HostAccepts),
        4 => Just(Step::GuestCloses),
        4 => Just(Step::HostCloses),
        1 => Just(Step::GuestResets),
        1 => Just(Step::HostResets),
        1 => Just(Step::HostRefuses),
        1 => Just(Step::GuestStops),
        1 => Just(Step::GuestGoesOn),
        1 => Just(Step::GuestVanishes),
        1 => Just(Step::GuestRestarts),
        1 => Just(Step::HostStops),
        1 => Just(Step::HostGoesOn),
    ]
}

/// How a connection was ended by force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Force {
    HostRefused,
    GuestReset,
    HostReset,
    GuestGone,
}

/// What must be true, as far as one who sees both programs and nothing between them can say.
#[derive(Debug, Default)]
struct Model {
    connected: bool,
    guest_wrote: u64,
    host_wrote: u64,
    guest_closed: bool,
    host_closed: bool,
    /// The first that was done by force.
    force: Option<Force>,
    /// Something else happened beside it that may have come first on the way.
    is_race: bool,
}

impl Model {
    fn end_by(&mut self, force: Force) {
        self.is_race |= self.force.is_some() || self.guest_closed && self.host_closed;
        self.force.get_or_insert(force);
    }

    /// Whether programs on both sides can still do something.
    fn is_alive(&self) -> bool {
        self.force.is_none()
    }
}

struct Scene {
    world: World<LeanGuest>,
    number: usize,
    model: Model,
}

impl Scene {
    fn new(seed: u64, inbound: bool, faults: Faults, offloads: Offloads) -> Self {
        let setup = Setup {
            seed,
            link: Link::from(faults),
            offloads,
            profile: Profile {
                waits: true,
                ..Profile::default()
            },
            lengths: (LENGTH, LENGTH),
            server: Server {
                answers: Answer::Hesitates,
                waits: true,
                ..Server::default()
            },
            ..Setup::default()
        };
        if !inbound {
            let run = setup.connect();
            return Self {
                world: run.world,
                number: run.number,
                model: Model::default(),
            };
        }
        let mut world = setup.world();
        let (up, down) = streams(seed, setup.lengths);
        let number = world.guest(0).listen(22, setup.profile, up, down);
        let client = Server {
            sends: down,
            expects: up,
            ..setup.server
        };
        world.connect_through_forward(SocketAddrV4::new(GUEST, 22), client);
        let model = Model {
            connected: true,
            ..Model::default()
        };
        Self { world, number, model }
    }

    fn connection(&mut self) -> &mut Connection {
        self.world.guest(0).connection_mut(self.number)
    }

    fn flow(&self) -> Option<FlowId> {
        self.world.sockets.keys().next().copied()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Wait(time) => self.world.run_for(time),
            Step::HostAccepts | Step::HostRefuses => self.host_answers(step),
            Step::HostSends(_) | Step::HostCloses | Step::HostResets | Step::HostStops | Step::HostGoesOn => {
                if let Some(flow) = self.flow() {
                    self.host(flow, step);
                }
            }
            _ => self.guest(step),
        }
        self.check_what_always_holds();
    }

    fn host_answers(&mut self, step: Step) {
        // The guest's SYN may not have come yet.
        self.world.run_for(Duration::from_millis(1));
        if !self.world.is_hesitating() {
            return;
        }
        // A guest that did not hear how its attempt ended tries again: it ends in the same way.
        let is_over = self.model.connected || self.model.force == Some(Force::HostRefused);
        if matches!(step, Step::HostAccepts) && !is_over {
            self.world.host_answers(None);
            self.model.connected = true;
            return;
        }
        self.world.host_answers(Some(HostError::Refused));
        if !is_over {
            self.model.end_by(Force::HostRefused);
        }
    }

    fn host(&mut self, flow: FlowId, step: Step) {
        let is_open = self.world.sockets[&flow].is_open();
        match step {
            Step::HostSends(bytes) if is_open && !self.model.host_closed => {
                self.model.host_wrote += bytes;
                self.world.host_sends(flow, bytes);
            }
            Step::HostCloses if is_open => {
                self.model.host_closed = true;
                self.world.host_closes(flow);
            }
            Step::HostResets if is_open => {
                self.model.end_by(Force::HostReset);
                self.world.host_resets(flow);
            }
            Step::HostStops => self.world.host_takes(flow, Some(0)),
            Step::HostGoesOn => self.world.host_takes(flow, None),
            _ => {}
        }
    }

    fn guest(&mut self, step: Step) {
        match step {
            Step::GuestSends(bytes) if self.model.is_alive() && !self.model.guest_closed => {
                self.model.guest_wrote += bytes;
                self.connection().write(bytes);
            }
            Step::GuestCloses if self.model.is_alive() => {
                self.model.guest_closed = true;
                self.connection().close();
            }
            Step::GuestResets => {
                self.connection().reset();
                self.model.end_by(Force::GuestReset);
            }
            Step::GuestStops => self.connection().stop_reading(),
            Step::GuestGoesOn => self.connection().resume_reading(),
            Step::GuestVanishes => {
                self.world.guest(0).vanish();
                self.model.end_by(Force::GuestGone);
            }
            Step::GuestRestarts => {
                self.world.guest(0).restart();
                self.model.end_by(Force::GuestGone);
            }
            _ => {}
        }
    }

    /// What arrived is a prefix: the world checks that at every byte. An end that arrived came after all bytes.
    fn check_what_always_holds(&mut self) {
        let (guest_wrote, host_wrote) = (self.model.guest_wrote, self.model.host_wrote);
        if let Some(socket) = self.world.sockets.values().next() {
            assert!(socket.received.len() <= guest_wrote);
            if socket.shut_down {
                assert!(self.model.guest_closed, "an end that the guest did not send");
                assert_eq!(socket.received.len(), guest_wrote);
            }
        }
        let host_closed = self.model.host_closed;
        let connection = self.connection();
        assert!(connection.received().len() <= host_wrote);
        if connection.is_finished() {
            assert!(host_closed, "an end that the host did not send");
            assert_eq!(connection.received().len(), host_wrote);
        }
    }

    /// Whoever hesitates or stopped goes on; then hours pass.
    fn settle(&mut self) {
        // A SYN comes again if it was lost, or if its answer was.
        for _ in 0..20 {
            self.world.run_for(Duration::from_secs(1));
            self.take(Step::HostAccepts);
        }
        self.take(Step::GuestGoesOn);
        self.take(Step::HostGoesOn);
        self.world.run_for(4 * HOUR);
        self.check_what_always_holds();
    }

    fn check_the_end(&mut self, is_lossy: bool) {
        let flows = self.world.engine.snapshot(self.world.now()).flows;
        let closed = self.world.sockets.values().next().map(|socket| socket.closed);
        assert!(self.world.sockets.len() <= 1);
        let Some(force) = self.model.force else {
            return self.check_an_orderly_end((flows.len(), closed.flatten()), is_lossy);
        };
        assert!(flows.is_empty(), "a flow stayed: {flows:?}");
        assert_ne!(closed, Some(None), "a socket stayed open");
        if self.model.is_race || is_lossy {
            return;
        }
        match force {
            Force::HostRefused => assert!(self.connection().was_reset() && closed.is_none()),
            Force::HostReset => assert!(self.connection().was_reset(), "the host's reset did not cross"),
            Force::GuestReset | Force::GuestGone if self.model.connected => {
                assert_eq!(closed, Some(Some(true)), "the guest's end by force did not cross");
            }
            Force::GuestReset | Force::GuestGone => {}
        }
    }

    fn check_an_orderly_end(&mut self, ends: (usize, Option<bool>), is_lossy: bool) {
        assert!(self.model.connected);
        let both = self.model.guest_closed && self.model.host_closed;
        assert_eq!(ends, (usize::from(!both), both.then_some(false)));
        let socket = self.world.sockets.values().next().expect("it was connected");
        assert_eq!(socket.received.len(), self.model.guest_wrote);
        assert_eq!(socket.shut_down, self.model.guest_closed);
        let (host_wrote, host_closed) = (self.model.host_wrote, self.model.host_closed);
        let connection = self.connection();
        // The repetition of a FIN whose acknowledgements were lost may come after TIME-WAIT.
        assert!(!connection.was_reset() || is_lossy && both);
        assert_eq!(connection.received().len(), host_wrote);
        assert_eq!(connection.is_finished(), host_closed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_connection_ends_as_its_ends_do(
        seed: u64,
        steps in proptest::collection::vec(any_step(), 0..14),
        inbound: bool,
        large: bool,
        loss in prop_oneof![2 => Just(0u16), 1 => Just(300u16)],
    ) {
        let faults = Faults { loss, duplicate: 500, reorder: 1500 };
        let offloads = if large { LARGE } else { Offloads::default() };
        let mut scene = Scene::new(seed, inbound, faults, offloads);
        for step in steps {
            scene.take(step);
        }
        scene.settle();
        scene.check_the_end(loss > 0);
    }
}
