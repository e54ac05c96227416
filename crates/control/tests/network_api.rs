//! The API of a network without a cluster, over a real socket.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use atoll_control::cluster::problem::Kind;
use atoll_control::cluster::questions::OldForward;
use atoll_control::runtime::{
    ForwardId, ForwardInfo, ForwardSpec, GuestTarget, ListenAt, Manner, Network, NetworkOptions,
    NetworkSnapshot, Protocol, Subnet,
};
use atoll_control::{CallError, Client, Method, ServeError, Server, serve_network};
use tempfile::TempDir;

struct World {
    _folder: TempDir,
    socket: PathBuf,
    network: Network,
    server: Server,
    client: Client,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let subnet = Subnet {
        address: Ipv4Addr::new(10, 77, 0, 0),
        prefix_len: 24,
    };
    let network = Network::start(NetworkOptions::new(subnet)).unwrap();
    let server = serve_network(&socket, network.handle()).unwrap();
    let client = Client::connect(&socket).unwrap();
    World {
        _folder: folder,
        socket,
        network,
        server,
        client,
    }
}

fn forward(host_port: u16) -> ForwardSpec {
    ForwardSpec {
        protocol: Protocol::Tcp,
        listen: ListenAt::Address((Ipv4Addr::LOCALHOST, host_port).into()),
        guest: GuestTarget::Address(Ipv4Addr::new(10, 77, 0, 9).into()),
        guest_port: 80,
        manner: Manner::default(),
    }
}

fn refusal(error: CallError) -> (Kind, String) {
    match error {
        CallError::Refused(problem) => (problem.kind, problem.message),
        other => panic!("{other}"),
    }
}

#[test]
fn a_forward_is_made_listed_and_removed() {
    let world = world();
    let made: ForwardInfo = world
        .client
        .call(&Method::POST, "/v1/forwards", &forward(0))
        .unwrap();
    assert_ne!(made.listen.address().unwrap().port(), 0);
    let picture: NetworkSnapshot = world.client.get("/v1/network").unwrap();
    assert_eq!(picture.forwards.first(), Some(&made));
    let old = OldForward {
        network: None,
        id: made.id,
    };
    let () = world.client.call(&Method::DELETE, "/v1/forwards", &old).unwrap();
    assert_eq!(world.client.get::<Vec<ForwardInfo>>("/v1/forwards").unwrap(), []);
}

#[test]
fn a_refusal_keeps_its_kind_and_its_sentence() {
    let world = world();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let answer = world
        .client
        .call::<ForwardInfo>(&Method::POST, "/v1/forwards", &forward(port));
    let (kind, message) = refusal(answer.unwrap_err());
    assert_eq!(kind, Kind::Environment);
    assert!(
        message.contains(&format!("127.0.0.1:{port} is taken")),
        "{message}"
    );
    let old = OldForward {
        network: None,
        id: ForwardId(99),
    };
    let answer = world.client.call::<()>(&Method::DELETE, "/v1/forwards", &old);
    assert_eq!(refusal(answer.unwrap_err()).0, Kind::Usage);
}

#[test]
fn what_is_no_request_is_refused_and_the_server_goes_on() {
    let world = world();
    let client = &world.client;
    let answer = client.call::<ForwardInfo>(&Method::POST, "/v1/forwards", &["nonsense"]);
    assert_eq!(refusal(answer.unwrap_err()).0, Kind::Usage);
    let answer = client.get::<NetworkSnapshot>("/v1/nothing");
    assert_eq!(
        refusal(answer.unwrap_err()),
        (Kind::Usage, "the API has nothing at /v1/nothing".to_owned())
    );
    assert_eq!(
        world.client.get::<NetworkSnapshot>("/v1/status").unwrap().subnet,
        Some("10.77.0.0/24".to_owned())
    );
}

#[test]
fn a_live_socket_is_not_stolen_and_a_dropped_one_is_gone() {
    let World {
        _folder,
        socket,
        network,
        server,
        client,
    } = world();
    let second = serve_network(&socket, network.handle());
    let Err(error @ ServeError::Listen(_)) = second else {
        panic!("{second:?}");
    };
    let owner = format!("(process {})", std::process::id());
    assert!(error.to_string().contains(&owner), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("another path")));
    client.get::<NetworkSnapshot>("/v1/status").unwrap();
    drop((client, server));
    assert!(!Path::exists(&socket));
    assert!(matches!(
        Client::connect(&socket),
        Err(CallError::NotRunning { .. })
    ));
}
