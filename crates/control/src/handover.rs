//! Descriptors handed over the API, on a connection that is upgraded.
//!
//! The client asks to upgrade a request to a protocol of ours. After `101 Switching Protocols` it sends its descriptors over the same
//! socket; the answer is one line of JSON. What else the connection is for, its protocol says.

use std::future::Future;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use atoll_cluster::problem::Problem;
use atoll_runtime::{receive_descriptor, send_descriptor};
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;

use crate::reply::Refusal;

/// A protocol after an upgrade.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    /// Its name in the header `Upgrade`.
    pub(crate) name: &'static str,
    /// Where the API speaks it.
    pub(crate) path: &'static str,
    /// What is handed over, in words.
    pub(crate) what: &'static str,
    /// Longest answer, in bytes.
    pub(crate) answer: u64,
}

impl Protocol {
    /// Agree to the upgrade, and serve the connection on a task of its own.
    pub(crate) fn accept<S: Future<Output = io::Result<()>> + Send>(
        self,
        headers: &HeaderMap,
        upgrade: Option<OnUpgrade>,
        serve: impl FnOnce(UnixStream) -> S + Send + 'static,
    ) -> Result<Response, Refusal> {
        let Self { name, path, what, .. } = self;
        let asked = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
        let upgrade = upgrade.filter(|_| asked.is_some_and(|asked| asked.eq_ignore_ascii_case(name)));
        let Some(upgrade) = upgrade else {
            let problem = Problem::usage(format!("{path} wants an upgrade to {name}"));
            return Err(problem.into());
        };
        tokio::spawn(async move {
            let served = async {
                let upgraded = upgrade.await.map_err(io::Error::other)?;
                let parts =
                    hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<UnixStream>>(upgraded);
                let parts = parts.map_err(|_| foreign())?;
                serve(parts.io.into_inner()).await
            };
            if let Err(error) = served.await {
                tracing::warn!("{what} was not taken: {error}");
            }
        });
        let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, name)];
        Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
    }

    /// The client's part after the upgrade: the descriptors, and what the answer is.
    pub(crate) async fn hand_over<A: DeserializeOwned>(
        self,
        upgraded: Upgraded,
        descriptors: impl IntoIterator<Item = BorrowedFd<'_>>,
    ) -> io::Result<(A, UnixStream)> {
        let parts = upgraded.downcast::<TokioIo<UnixStream>>();
        let mut stream = parts.map_err(|_| foreign())?.io.into_inner();
        for descriptor in descriptors {
            stream
                .async_io(Interest::WRITABLE, || send_descriptor(&stream, descriptor))
                .await?;
        }
        let mut line = Vec::new();
        let mut answer = BufReader::new(&mut stream).take(self.answer);
        answer.read_until(b'\n', &mut line).await?;
        Ok((serde_json::from_slice(&line)?, stream))
    }
}

fn foreign() -> io::Error {
    io::Error::other("the connection is none of ours")
}

/// The next descriptor; `None` when the client has ended.
pub(crate) async fn receive(stream: &UnixStream) -> io::Result<Option<OwnedFd>> {
    stream
        .async_io(Interest::READABLE, || receive_descriptor(stream))
        .await
}

/// Answer the client.
pub(crate) async fn answer(stream: &mut UnixStream, answer: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line).await
}
