//! The API's client: blocking calls over the unix socket, for commands that do one thing and end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use atoll_cluster::problem::Problem;
use atoll_cluster::progress::Progress;
use atoll_runtime::{LinkInfo, TapInfo};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HeaderValue;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use crate::handover::Protocol;
use crate::join::{self, JoinRequest, Joined};
use crate::link::{self, LinkRequest};

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens there.
    #[error("nothing answers at {path}: {cause}", path = path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// The answer broke off or was none.
    #[error("the daemon at {path} broke off: {cause}", path = path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the HTTP or JSON reader says.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] Problem),
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(problem) => problem,
            CallError::NotRunning { .. } => {
                Self::environment(error.to_string()).with_hint("`atoll up` starts the cluster")
            }
            CallError::Broken { .. } => Self::environment(error.to_string())
                .with_hint("daemon.log in the cluster's state folder may say why"),
        }
    }
}

/// A daemon, by its socket.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// Reaches the daemon at this socket, or says that none listens.
    pub fn connect(path: &Path) -> Result<Self, CallError> {
        let not_running = |cause| CallError::NotRunning {
            path: path.to_owned(),
            cause,
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(not_running)?;
        runtime.block_on(UnixStream::connect(path)).map_err(not_running)?;
        Ok(Self {
            path: path.to_owned(),
            runtime,
        })
    }

    fn broken(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CallError {
        CallError::Broken {
            path: self.path.clone(),
            cause: cause.into(),
        }
    }

    /// What is at this path of the API.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(&Method::GET, path, &())
    }

    /// One request with a JSON body and a JSON answer.
    pub fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        let body = self.runtime.block_on(async {
            let response = self.send(method, path, body).await?;
            let collected = response
                .into_body()
                .collect()
                .await
                .map_err(|cause| self.broken(cause))?;
            Ok::<_, CallError>(collected.to_bytes())
        })?;
        serde_json::from_slice(&body).map_err(|cause| self.broken(cause))
    }

    /// One request whose answer is a stream of events; `tell` is given each. Ends when the stream does.
    pub fn follow(
        &self,
        method: &Method,
        path: &str,
        body: &impl Serialize,
        mut tell: impl FnMut(Progress),
    ) -> Result<(), CallError> {
        self.runtime.block_on(async {
            let mut response = self.send(method, path, body).await?.into_body();
            let mut pending = Vec::new();
            while let Some(frame) = response.frame().await {
                let frame = frame.map_err(|cause| self.broken(cause))?;
                pending.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = pending.drain(..=end).collect();
                    tell(serde_json::from_slice(&line).map_err(|cause| self.broken(cause))?);
                }
            }
            Ok(())
        })
    }

    /// Hands a TAP to the network.
    pub(crate) fn join(&self, tap: &OwnedFd, request: &JoinRequest) -> Result<(TapInfo, Joined), CallError> {
        let request = serde_json::to_vec(request).map_err(|cause| self.broken(cause))?;
        self.runtime.block_on(async {
            let upgraded = self.upgrade(join::PROTOCOL, request).await?;
            let answer = join::hand_over(upgraded, tap).await;
            Ok(answer.map_err(|cause| self.broken(cause))??)
        })
    }

    /// Hands a link's TAP and the session that keeps it to the network.
    pub(crate) fn hand_link(
        &self,
        tap: Option<&impl AsFd>,
        session: &impl AsFd,
        request: &LinkRequest,
    ) -> Result<LinkInfo, CallError> {
        let request = serde_json::to_vec(request).map_err(|cause| self.broken(cause))?;
        self.runtime.block_on(async {
            let upgraded = self.upgrade(link::PROTOCOL, request).await?;
            let answer = link::hand_over(upgraded, tap, session).await;
            Ok(answer.map_err(|cause| self.broken(cause))??)
        })
    }

    /// A connection that speaks another protocol after the request.
    async fn upgrade(&self, protocol: Protocol, request: Vec<u8>) -> Result<Upgraded, CallError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(protocol.path)
            .header("connection", "upgrade")
            .header("upgrade", protocol.name)
            .body(Full::new(Bytes::from(request)));
        let request = request.map_err(|cause| self.broken(cause))?;
        let response = self.exchange(request).await?;
        let upgraded = hyper::upgrade::on(response).await;
        upgraded.map_err(|cause| self.broken(cause))
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response<Incoming>, CallError> {
        let body = serde_json::to_vec(body).map_err(|cause| self.broken(cause))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Full::new(Bytes::from(body)));
        self.exchange(request.map_err(|cause| self.broken(cause))?).await
    }

    /// One request on a connection of its own.
    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, CallError> {
        let headers = request.headers_mut();
        headers.insert("host", HeaderValue::from_static("atoll"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let stream = UnixStream::connect(&self.path).await;
        let stream = stream.map_err(|cause| CallError::NotRunning {
            path: self.path.clone(),
            cause,
        })?;
        let connected = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connected.map_err(|cause| self.broken(cause))?;
        tokio::spawn(connection.with_upgrades());
        let response = sender
            .send_request(request)
            .await
            .map_err(|cause| self.broken(cause))?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|cause| self.broken(cause))?
            .to_bytes();
        let problem = serde_json::from_slice::<Problem>(&body);
        Err(problem.map_or_else(
            |_| self.broken(format!("it answered {status}")),
            CallError::Refused,
        ))
    }
}
