//! One guest, one host, one connection between them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use atoll_engine::{Config, FlowId, Subnet};
use atoll_sim::guest::{Connection, LeanGuest, Profile};
use atoll_sim::host::{Server, Socket};
use atoll_sim::link::{Faults, Link};
use atoll_sim::stream::Stream;
use atoll_sim::{Chance, World};
use atoll_wire::Offloads;

pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
pub(crate) const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 80);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// 1 % lost, 1 % twice, 5 % late.
pub(crate) const BAD: Faults = Faults {
    loss: 100,
    duplicate: 100,
    reorder: 500,
};

/// A link's rate.
pub(crate) const TEN_GIGABIT: Option<u64> = Some(1_250_000_000);

/// Another.
pub(crate) const GIGABIT: Option<u64> = Some(125_000_000);

/// A port that takes large segments.
pub(crate) const LARGE: Offloads = Offloads {
    checksum: true,
    tcp4: true,
    tcp6: true,
    udp4: false,
    udp6: false,
};

/// All that a run depends on.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) link: Link,
    pub(crate) offloads: Offloads,
    pub(crate) profile: Profile,
    pub(crate) mtu: u16,
    /// Bytes up and down.
    pub(crate) lengths: (u64, u64),
    /// How the host behaves; its streams are filled in.
    pub(crate) server: Server,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            link: Link::default(),
            offloads: Offloads::default(),
            profile: Profile::default(),
            mtu: 1500,
            lengths: (0, 0),
            server: Server::default(),
        }
    }
}

/// A connection of a guest's with a host, and what goes over it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) world: World<LeanGuest>,
    pub(crate) number: usize,
    pub(crate) up: Stream,
    pub(crate) down: Stream,
}

/// What goes up and down.
pub(crate) fn streams(seed: u64, (up, down): (u64, u64)) -> (Stream, Stream) {
    let mut chance = Chance::new(seed ^ 1);
    (
        Stream::new(chance.next_u64(), up),
        Stream::new(chance.next_u64(), down),
    )
}

impl Setup {
    /// The world, and nothing in it but the guest and a host that listens.
    pub(crate) fn world(&self) -> World<LeanGuest> {
        let mut config = Config::new(Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len: 24,
        });
        config.mtu = self.mtu;
        let mut world = World::new(&config, self.link, self.seed);
        world.add_lean_guest(&config, GUEST, self.offloads);
        let (up, down) = streams(self.seed, self.lengths);
        let server = Server {
            sends: down,
            expects: up,
            ..self.server.clone()
        };
        world.add_server(SERVER, server);
        world
    }

    /// The guest connects.
    pub(crate) fn connect(&self) -> Run {
        println!("{self:?}");
        self.connect_in(self.world())
    }

    /// The guest connects in this world.
    pub(crate) fn connect_in(&self, mut world: World<LeanGuest>) -> Run {
        let (up, down) = streams(self.seed, self.lengths);
        let number = world.guest(0).connect(SERVER, self.profile, up, down);
        Run {
            world,
            number,
            up,
            down,
        }
    }

    /// Both ends send all they have, and close.
    pub(crate) fn exchange(&self) -> Run {
        let mut run = self.connect();
        run.finish();
        run
    }
}

impl Run {
    /// Run until the guest's handshake is through.
    pub(crate) fn open(mut self) -> Self {
        let number = self.number;
        let is_open = |world: &mut World<LeanGuest>| world.guest(0).connection(number).is_open();
        assert!(self.world.run_until(HOUR, is_open), "no handshake");
        self
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        self.world.guest(0).connection_mut(self.number)
    }

    pub(crate) fn flow(&self) -> FlowId {
        *self
            .world
            .sockets
            .keys()
            .next()
            .expect("the host was connected to")
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.world.sockets[&self.flow()]
    }

    /// Run to the ordinary end of both directions, and see that all arrived.
    pub(crate) fn finish(&mut self) {
        let number = self.number;
        let is_over = |world: &mut World<LeanGuest>| {
            let closed = world
                .sockets
                .values()
                .next()
                .is_some_and(|socket| socket.closed.is_some());
            closed || world.guest(0).connection(number).was_reset()
        };
        let ended = self.world.run_until(12 * HOUR, is_over);
        assert!(ended, "it did not end: {:?}", self.connection());
        assert_eq!(self.socket().closed, Some(false), "the host's side was reset");
        assert!(self.socket().received.is_whole(), "bytes up are missing");
        assert!(self.connection().received().is_whole(), "bytes down are missing");
        assert!(self.connection().is_finished());
    }
}
