//! A TAP handed to a network over its API.
//!
//! The client asks to upgrade `POST /v1/ports/tap` to the protocol `atoll-tap`, with a [`JoinRequest`] as body. After
//! `101 Switching Protocols` it sends the TAP's descriptor over the same socket; the answer is one line of JSON, a
//! [`TapInfo`] or a problem. The TAP stays attached for as long as the connection does, so that nothing has to be
//! taken back when a client is killed.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use atoll_cluster::problem::Problem;
use atoll_runtime::{Handle, TapInfo, TapSpec};
use axum::http::HeaderMap;
use axum::response::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::exec::{ExecError, until_silent};
use crate::handover::{self, Protocol, receive};
use crate::reply::Refusal;

/// How the API takes TAPs.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "atoll-tap",
    path: "/v1/ports/tap",
    what: "a TAP",
    answer: 16 * 1024,
};

/// What a namespace wants to be on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    /// Which network of a cluster; the only one when left out.
    #[serde(default)]
    pub network: Option<String>,
    /// Its host name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its IPv4 address; the one that DHCP would give when left out.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address; what its MAC address makes of the prefix when left out.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
}

/// The answer after the descriptor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Attached(TapInfo),
    Refused(Problem),
}

/// Agree to the upgrade, and take the TAP on a task of its own.
pub(crate) fn accept(
    network: Handle,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    request: JoinRequest,
) -> Result<Response, Refusal> {
    PROTOCOL.accept(headers, upgrade, |stream| serve(network, stream, request))
}

/// Attach the TAP that comes, until the connection ends.
async fn serve(network: Handle, mut stream: UnixStream, request: JoinRequest) -> io::Result<()> {
    let Some(fd) = receive(&stream).await? else {
        return Ok(());
    };
    let spec = TapSpec {
        fd,
        name: request.name,
        address: request.address,
        address6: request.address6,
    };
    let attached = network.attach_tap(spec);
    let port = attached.as_ref().ok().map(|info| info.port);
    let answer = match attached {
        Ok(info) => Answer::Attached(info),
        Err(error) => Answer::Refused(ExecError::from(error).into()),
    };
    let told = handover::answer(&mut stream, &answer).await;
    if let Some(port) = port {
        // What else it says means nothing; its end is the port's.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        let _ = network.retire_tap(port);
        until_silent(&network, port).await;
        if let Err(error) = network.detach_tap(port) {
            tracing::debug!("a TAP ended with its network: {error}");
        }
    }
    told
}

/// A TAP's place on a network that runs: dropping it takes the TAP off.
#[derive(Debug)]
pub(crate) struct Joined {
    stream: std::os::unix::net::UnixStream,
}

impl Joined {
    /// Comes back when the network has ended.
    pub(crate) async fn ended(&self) {
        let copy = self.stream.try_clone().and_then(UnixStream::from_std);
        match copy {
            Ok(stream) => {
                while stream.readable().await.is_ok() {
                    match stream.try_read(&mut [0; 64]) {
                        Ok(0) => return,
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                        _ => {}
                    }
                }
            }
            Err(_) => std::future::pending().await,
        }
    }
}

/// The client's part after the upgrade.
pub(crate) async fn hand_over(
    upgraded: Upgraded,
    tap: &OwnedFd,
) -> io::Result<Result<(TapInfo, Joined), Problem>> {
    let (answer, stream) = PROTOCOL.hand_over(upgraded, [tap.as_fd()]).await?;
    let info = match answer {
        Answer::Attached(info) => info,
        Answer::Refused(problem) => return Ok(Err(problem)),
    };
    let stream = stream.into_std()?;
    Ok(Ok((info, Joined { stream })))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use atoll_runtime::{Network, NetworkOptions, Subnet};
    use hyper::Method;
    use tempfile::TempDir;

    use super::*;
    use crate::{CallError, Client, Server, serve_network};

    struct World {
        client: Client,
        network: Network,
        _server: Server,
        _folder: TempDir,
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
        World {
            client: Client::connect(&socket).unwrap(),
            network,
            _server: server,
            _folder: folder,
        }
    }

    fn refusal<T: std::fmt::Debug>(outcome: Result<T, CallError>) -> String {
        match outcome.unwrap_err() {
            CallError::Refused(problem) => problem.message,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_descriptor_that_is_no_tap_is_refused_after_the_upgrade() {
        let world = world();
        let null = File::open("/dev/null").unwrap().into();
        let joined = world.client.join(&null, &JoinRequest::default());
        assert!(refusal(joined).contains("no TAP"));
        assert_eq!(world.network.handle().snapshot().unwrap().ports, []);
    }

    #[test]
    fn a_request_without_an_upgrade_is_refused_with_what_is_wanted() {
        let world = world();
        let asked = world
            .client
            .call::<TapInfo>(&Method::POST, PROTOCOL.path, &JoinRequest::default());
        assert_eq!(refusal(asked), "/v1/ports/tap wants an upgrade to atoll-tap");
    }

    #[test]
    fn a_network_without_a_name_is_joined_by_none() {
        let world = world();
        let request = JoinRequest {
            network: Some("lan".to_owned()),
            ..JoinRequest::default()
        };
        let null = File::open("/dev/null").unwrap().into();
        assert_eq!(
            refusal(world.client.join(&null, &request)),
            "there is no network lan here"
        );
    }
}
