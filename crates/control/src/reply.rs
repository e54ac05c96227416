//! What the API answers: JSON, problems with a status code, streams of one JSON object a line.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use atoll_cluster::problem::{Kind, Problem};
use atoll_cluster::progress::Progress;
use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A problem as a response.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Problem);

impl<E: Into<Problem>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            Kind::Usage => StatusCode::BAD_REQUEST,
            Kind::Configuration => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Environment | Kind::Guest => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

/// A request's JSON body; what is none is refused like everything else.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T> FromRequest<S> for Asked<T>
where
    Json<T>: FromRequest<S, Rejection = JsonRejection>,
{
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(error) => Err(Refusal(Problem::usage(error.body_text()))),
        }
    }
}

/// What is at a path that the API does not have.
pub(crate) async fn nothing(uri: Uri) -> (StatusCode, Json<Problem>) {
    (
        StatusCode::NOT_FOUND,
        Json(Problem::usage(format!("the API has nothing at {}", uri.path()))),
    )
}

/// A response body fed line by line. A reader that went away is no error of the writer.
struct Lines(UnboundedReceiver<Bytes>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// Where the lines of a streamed response go in.
#[derive(Clone, Debug)]
pub(crate) struct LineSender(UnboundedSender<Bytes>);

impl LineSender {
    /// Sends an event. Few are under way at a time: each is a change that took work.
    pub(crate) fn tell(&self, event: &Progress) {
        match serde_json::to_vec(event) {
            Ok(mut line) => {
                line.push(b'\n');
                let _ = self.0.send(line.into());
            }
            Err(error) => tracing::error!(%error, "an event could not be written"),
        }
    }
}

/// A response that grows, and where its lines go in; it ends when the last sender is dropped.
pub(crate) fn stream() -> (LineSender, Response) {
    let (sender, receiver) = unbounded_channel();
    let response = (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::new(Lines(receiver)),
    );
    (LineSender(sender), response.into_response())
}
