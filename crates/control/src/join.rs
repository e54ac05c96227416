//! A TAP handed to a network over its API.
//!
//! The client asks to upgrade `POST /v1/ports/tap` to the protocol `atoll-tap`, with a [`JoinRequest`] as body. After
//! `101 Switching Protocols` it sends the TAP's descriptor over the same socket; the answer is one line of JSON, a
//! [`TapInfo`] or a problem. The TAP stays attached for as long as the connection does, so that nothing has to be
//! taken back when a client is killed.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use atoll_cluster::problem::Problem;
use atoll_runtime::{Handle, TapInfo, TapSpec, receive_descriptor, send_descriptor};
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;

use crate::exec::{ExecError, until_silent};
use crate::reply::Refusal;

/// The protocol after the upgrade.
pub(crate) const PROTOCOL: &str = "atoll-tap";

/// Where the API takes TAPs.
pub(crate) const PATH: &str = "/v1/ports/tap";

/// Longest answer, in bytes.
const ANSWER: u64 = 16 * 1024;

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
    let asked = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    let upgrade = upgrade.filter(|_| asked.is_some_and(|asked| asked.eq_ignore_ascii_case(PROTOCOL)));
    let Some(upgrade) = upgrade else {
        let problem = Problem::usage(format!("{PATH} wants an upgrade to {PROTOCOL}"));
        return Err(problem.into());
    };
    tokio::spawn(async move {
        if let Err(error) = serve(network, upgrade, request).await {
            tracing::warn!("a TAP was not taken: {error}");
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// Attach the TAP that comes, until the connection ends.
async fn serve(network: Handle, upgrade: OnUpgrade, request: JoinRequest) -> io::Result<()> {
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let parts = hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<UnixStream>>(upgraded);
    let mut stream = parts
        .map_err(|_| io::Error::other("the connection is none of ours"))?
        .io
        .into_inner();
    let received = stream.async_io(Interest::READABLE, || receive_descriptor(&stream));
    let Some(fd) = received.await? else {
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
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    let told = stream.write_all(&line).await;
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
    let parts = upgraded.downcast::<TokioIo<UnixStream>>();
    let mut stream = parts
        .map_err(|_| io::Error::other("the connection is none of ours"))?
        .io
        .into_inner();
    stream
        .async_io(Interest::WRITABLE, || send_descriptor(&stream, tap))
        .await?;
    let mut line = Vec::new();
    let mut answer = BufReader::new(&mut stream).take(ANSWER);
    answer.read_until(b'\n', &mut line).await?;
    let info = match serde_json::from_slice(&line)? {
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
            .call::<TapInfo>(&Method::POST, PATH, &JoinRequest::default());
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
