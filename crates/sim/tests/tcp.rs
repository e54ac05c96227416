//! TCP between smoltcp's stack and simulated hosts, over links that lose, repeat and reorder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{Config, Family, HostError, Prefix, Subnet};
use atoll_sim::host::{Answer, Server, Socket};
use atoll_sim::link::Faults;
use atoll_sim::stream::Stream;
use atoll_sim::{Chance, World};
use proptest::prelude::*;
use smoltcp::socket::tcp::State;

const GUEST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 9));
const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 80);
const GUEST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 9));
const SERVER6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)), 80);
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const HOUR: Duration = Duration::from_secs(3600);

fn config() -> Config {
    let subnet = Subnet {
        address: Ipv4Addr::new(10, 77, 0, 0),
        prefix_len: 24,
    };
    let prefix = Prefix {
        address: Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0),
    };
    Config::new((subnet, prefix))
}

fn world(faults: Faults, seed: u64) -> World {
    world_over(Family::V4, faults, seed)
}

/// A world whose guest speaks this family.
fn world_over(family: Family, faults: Faults, seed: u64) -> World {
    let mut world = World::new(&config(), faults, seed);
    world.add_guest(&config(), guest(family));
    world
}

fn guest(family: Family) -> IpAddr {
    match family {
        Family::V4 => GUEST,
        Family::V6 => GUEST6,
    }
}

fn server(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SERVER,
        Family::V6 => SERVER6,
    }
}

/// What goes up and down.
fn streams(seed: u64, (up, down): (u64, u64)) -> (Stream, Stream) {
    let mut chance = Chance::new(seed ^ 1);
    (
        Stream::new(chance.next_u64(), up),
        Stream::new(chance.next_u64(), down),
    )
}

fn only_socket(world: &World) -> &Socket {
    assert_eq!(world.sockets.len(), 1);
    world.sockets.values().next().expect("one was counted")
}

fn is_closed(world: &mut World) -> bool {
    world
        .sockets
        .values()
        .next()
        .is_some_and(|socket| socket.closed.is_some())
}

/// A guest sends and receives at once through a link; both ends close in the ordinary way.
fn exchange(faults: Faults, seed: u64, lengths: (u64, u64), takes: Option<usize>) -> World {
    exchange_over(Family::V4, faults, seed, (lengths, takes))
}

fn exchange_over(
    family: Family,
    faults: Faults,
    seed: u64,
    (lengths, takes): ((u64, u64), Option<usize>),
) -> World {
    let (up, down) = streams(seed, lengths);
    let mut world = world_over(family, faults, seed);
    world.log = Some(Vec::new());
    world.add_server(
        server(family),
        Server {
            sends: down,
            expects: up,
            takes,
            ..Server::default()
        },
    );
    let connection = world.guest(0).connect(server(family), up, down);
    let finished = world.run_until(HOUR, is_closed);
    assert!(
        finished,
        "the exchange did not end: {:?}",
        world.guest(0).state(connection)
    );
    assert_eq!(
        only_socket(&world).closed,
        Some(false),
        "the host's side was reset"
    );
    assert!(
        only_socket(&world).received.is_whole(),
        "the host received less than the guest sent"
    );
    assert!(
        world.guest(0).connection(connection).received.is_whole(),
        "the guest received less than the host sent"
    );
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_whole_and_in_order_over_a_bad_link(
        seed: u64,
        loss in 0u16..600,
        duplicate in 0u16..600,
        reorder in 0u16..2000,
        up in 0u64..150_000,
        down in 0u64..150_000,
        takes in proptest::option::of(1usize..20_000),
        family in proptest::sample::select(&FAMILIES[..]),
    ) {
        exchange_over(family, Faults { loss, duplicate, reorder }, seed, ((up, down), takes));
    }

    #[test]
    fn the_same_seed_gives_the_same_actions(
        seed: u64,
        up in 0u64..20_000,
        down in 0u64..20_000,
        family in proptest::sample::select(&FAMILIES[..]),
    ) {
        let faults = Faults { loss: 200, duplicate: 200, reorder: 1000 };
        let first = exchange_over(family, faults, seed, ((up, down), None));
        let second = exchange_over(family, faults, seed, ((up, down), None));
        prop_assert!(first.log == second.log);
        prop_assert_eq!(first.now(), second.now());
    }

    #[test]
    fn a_forwards_client_and_a_guest_exchange_bytes(
        seed: u64,
        loss in 0u16..400,
        up in 0u64..60_000,
        down in 0u64..60_000,
        family in proptest::sample::select(&FAMILIES[..]),
    ) {
        let (up, down) = streams(seed, (up, down));
        let mut world = world_over(family, Faults { loss, ..Faults::default() }, seed);
        let connection = world.guest(0).listen(22, up, down);
        world.connect_through_forward(SocketAddr::new(guest(family), 22), Server { sends: down, expects: up, ..Server::default() });
        prop_assert!(world.run_until(HOUR, is_closed));
        prop_assert_eq!(only_socket(&world).closed, Some(false));
        prop_assert!(only_socket(&world).received.is_whole());
        prop_assert!(world.guest(0).connection(connection).received.is_whole());
    }
}

#[test]
fn a_clean_link_needs_no_retransmission() {
    for family in FAMILIES {
        let world = exchange_over(family, Faults::default(), 3, ((1_000_000, 1_000_000), None));
        let of = |name| world.counter(name);
        assert_eq!(
            (of("tcp_retransmit"), of("tcp_timeout"), of("egress_dropped")),
            (0, 0, 0)
        );
    }
}

#[test]
fn a_finished_connection_leaves_the_table_after_time_wait() {
    let mut world = exchange(Faults::default(), 3, (10, 10), None);
    world.run_for(Duration::from_secs(60));
    assert!(world.engine.snapshot(world.now()).flows.is_empty());
}

#[test]
fn a_refused_connection_is_refused_at_once() {
    let mut world = world(Faults::default(), 1);
    world.add_server(
        SERVER,
        Server {
            answers: Answer::Refuses(HostError::Refused),
            ..Server::default()
        },
    );
    let connection = world
        .guest(0)
        .connect(SERVER, Stream::default(), Stream::default());
    assert!(world.run_until(
        Duration::from_millis(50),
        |world| world.guest(0).state(connection) == State::Closed
    ));
    assert!(world.engine.snapshot(world.now()).flows.is_empty());
}

#[test]
fn no_handshake_is_forged_for_a_silent_host() {
    let mut world = world(Faults::default(), 1);
    world.add_server(
        SERVER,
        Server {
            answers: Answer::Refuses(HostError::TimedOut),
            ..Server::default()
        },
    );
    let connection = world
        .guest(0)
        .connect(SERVER, Stream::default(), Stream::default());
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.guest(0).state(connection), State::SynSent);
}

#[test]
fn a_reset_of_the_host_is_a_reset_to_the_guest() {
    let up = Stream::new(1, 100_000);
    let mut world = world(Faults::default(), 1);
    world.add_server(
        SERVER,
        Server {
            expects: up,
            resets_after: Some(5),
            takes: Some(5),
            ..Server::default()
        },
    );
    let connection = world.guest(0).connect(SERVER, up, Stream::default());
    assert!(
        world.run_until(Duration::from_secs(5), |world| world.guest(0).state(connection)
            == State::Closed)
    );
    assert!(world.engine.snapshot(world.now()).flows.is_empty());
}

#[test]
fn a_reset_of_the_guest_is_a_reset_to_the_host() {
    let (up, down) = streams(1, (100_000, 1000));
    let mut world = world(Faults::default(), 1);
    world.add_server(
        SERVER,
        Server {
            sends: down,
            expects: up,
            takes: Some(1),
            ..Server::default()
        },
    );
    let connection = world.guest(0).connect(SERVER, up, down);
    assert!(world.run_until(Duration::from_secs(1), |world| {
        world.guest(0).connection(connection).received.is_whole()
    }));
    world.guest(0).abort(connection);
    assert!(world.run_until(Duration::from_secs(1), is_closed));
    assert_eq!(only_socket(&world).closed, Some(true));
}

#[test]
fn a_guest_that_refuses_a_forward_resets_its_client() {
    let mut world = world(Faults::default(), 1);
    world.connect_through_forward(SocketAddr::new(GUEST, 22), Server::default());
    assert!(world.run_until(Duration::from_secs(5), is_closed));
    assert_eq!(only_socket(&world).closed, Some(true));
}

#[test]
fn a_guest_that_stops_reading_and_goes_on_loses_nothing() {
    let mut world = world(Faults::default(), 1);
    let down = Stream::new(5, 400_000);
    world.add_server(
        SERVER,
        Server {
            sends: down,
            ..Server::default()
        },
    );
    let connection = world.guest(0).connect(SERVER, Stream::default(), down);
    world.guest(0).connection_mut(connection).reads = 0;
    world.run_for(Duration::from_secs(90));
    assert!(world.guest(0).connection(connection).received.is_empty());
    world.guest(0).connection_mut(connection).reads = usize::MAX;
    assert!(world.run_until(Duration::from_secs(120), |world| {
        world.guest(0).connection(connection).received.is_whole()
    }));
}

#[test]
fn what_a_guest_sent_before_it_was_done_reaches_a_slow_host() {
    for seed in 0..20 {
        exchange(
            Faults {
                duplicate: 5000,
                ..Faults::default()
            },
            seed,
            (100_000, 1000),
            Some(700),
        );
    }
}
