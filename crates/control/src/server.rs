//! The API's server: a thread with a runtime of its own, in front of a cluster or of a network without one.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | the cluster: machines, networks with ports, leases, forwards |
//! | `GET /v1/network` | the networks' snapshots |
//! | `POST /v1/up`, `/v1/restart`, `/v1/down`, `/v1/rm`, `/v1/pause`, `/v1/suspend`, `/v1/resume` | events, one JSON object a line |
//! | `GET /v1/snapshots` | the cluster's snapshots |
//! | `POST`, `DELETE /v1/snapshots`, `POST /v1/snapshots/restore` | events |
//! | `POST /v1/machines/{name}/restart` | events; the file is read anew |
//! | `GET`, `POST`, `DELETE /v1/forwards` | forwards |
//! | `GET`, `POST`, `DELETE /v1/proxies` | where clients of the proxy connect (a network without a cluster) |
//! | `POST /v1/ports/tap` | takes a TAP onto a network, see [`join`] |
//! | `GET`, `POST`, `DELETE /v1/link`, `POST /v1/link/tap` | the host's own link to a network, see [`link`] |
//!
//! A network without a cluster (`net run --api`) answers `/v1/status`, `/v1/network`, `/v1/forwards`, `/v1/proxies`, `/v1/ports/tap` and `/v1/link` only. Problems are
//! `{kind, message, hint}` with a status of 400 or more. Work that takes long runs on threads of its own; when its
//! reader goes away it goes on.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use atoll_cluster::Cluster;
use atoll_cluster::cluster::{Machines, UpRequest};
use atoll_cluster::problem::Problem;
use atoll_cluster::progress::{Progress, Sink};
use atoll_cluster::questions::{NewForwards, OldForward};
use atoll_cluster::snapshot::{self, OldSnapshot, RestoreRequest, SnapshotRequest};
use atoll_cluster::status::{ForwardStatus, NetworkStatus, Status};
use atoll_cluster::suspend::ResumeRequest;
use atoll_runtime::{
    ForwardInfo, ForwardSpec, Handle, LinkInfo, LinkPlan, ListenError, Listener, NetworkSnapshot, SocketFile,
};
use axum::extract::{Path as Segment, State};
use axum::http::HeaderMap;
use axum::response::{Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;

use crate::join::{self, JoinRequest};
use crate::link::{self, LinkRequest, PlanRequest, Which};
use crate::reply::{self, Asked, LineSender, Refusal};

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket could not be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system has no thread or no event queue left.
    #[error("cannot start the API: {0}")]
    Start(#[from] io::Error),
}

impl ServeError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen(error) => error.hint(),
            Self::Start(_) => None,
        }
    }
}

/// A server that runs. Dropping it ends the server and removes its socket.
#[derive(Debug)]
pub struct Server {
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    _file: Arc<SocketFile>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.end.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the API's thread panicked");
        }
    }
}

/// Serves a network without a cluster: what `net run --api` does.
///
/// # Errors
/// The socket is in use, or cannot be made.
pub fn serve_network(path: &Path, network: Handle) -> Result<Server, ServeError> {
    let router = Router::new()
        .route("/v1/status", get(network_snapshot))
        .route("/v1/network", get(network_snapshot))
        .route(
            "/v1/forwards",
            get(network_forwards)
                .post(add_network_forward)
                .delete(remove_network_forward),
        )
        .route(
            "/v1/proxies",
            get(network_proxies).post(add_proxy).delete(remove_proxy),
        )
        .route(
            link::PATH,
            get(network_link).post(plan_network_link).delete(unlink_network),
        )
        .route(link::PROTOCOL.path, post(link_network))
        .route(join::PROTOCOL.path, post(join_network));
    let (listener, file) = Listener::bind(path)?.into_parts();
    serve(Arc::new(file), listener, router.with_state(network))
}

/// Serves a cluster. `ended` is told when the cluster is down and its daemon has nothing left to do.
///
/// # Errors
/// The socket is in use, or cannot be made.
pub(crate) fn serve_cluster(
    path: &Path,
    cluster: Arc<Cluster>,
    ended: std::sync::mpsc::Sender<()>,
) -> Result<Server, ServeError> {
    let (listener, file) = Listener::bind(path)?.into_parts();
    let file = Arc::new(file);
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/network", get(networks))
        .route("/v1/up", post(up))
        .route("/v1/down", post(down))
        .route("/v1/rm", post(remove))
        .route("/v1/restart", post(restart))
        .route("/v1/pause", post(pause))
        .route("/v1/suspend", post(suspend))
        .route("/v1/resume", post(resume))
        .route(
            "/v1/snapshots",
            get(snapshots).post(take_snapshot).delete(remove_snapshot),
        )
        .route("/v1/snapshots/restore", post(restore_snapshot))
        .route("/v1/machines/{name}/restart", post(restart_one))
        .route(
            "/v1/forwards",
            get(forwards).post(add_forwards).delete(remove_forward),
        )
        .route(
            link::PATH,
            get(cluster_link).post(plan_cluster_link).delete(unlink_cluster),
        )
        .route(link::PROTOCOL.path, post(link_cluster))
        .route(join::PROTOCOL.path, post(join_cluster));
    let daemon = Daemon {
        cluster,
        ended,
        file: Arc::clone(&file),
    };
    serve(file, listener, router.with_state(daemon))
}

fn serve(file: Arc<SocketFile>, listener: UnixListener, router: Router) -> Result<Server, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let router = router.fallback(reply::nothing);
    let (end, mut ending) = watch::channel(false);
    let thread = std::thread::Builder::new()
        .name("atoll-api".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let listener = match tokio::net::UnixListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "the API cannot listen"),
                };
                let ended = async move {
                    let _ = ending.wait_for(|end| *end).await;
                };
                if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(ended).await {
                    tracing::error!(%error, "the API ended");
                }
            });
        })?;
    Ok(Server {
        end,
        thread: Some(thread),
        _file: file,
    })
}

type Answer<T> = Result<Json<T>, Refusal>;

async fn network_snapshot(State(network): State<Handle>) -> Answer<NetworkSnapshot> {
    Ok(Json(network.snapshot().map_err(environment)?))
}

async fn network_forwards(State(network): State<Handle>) -> Answer<Vec<ForwardInfo>> {
    Ok(Json(network.forwards().map_err(environment)?))
}

async fn add_network_forward(
    State(network): State<Handle>,
    Asked(forward): Asked<ForwardSpec>,
) -> Answer<ForwardInfo> {
    let made = network.add_forward(forward);
    Ok(Json(made.map_err(|error| {
        environment(&error).with_hint_if(error.hint())
    })?))
}

async fn remove_network_forward(State(network): State<Handle>, Asked(old): Asked<OldForward>) -> Answer<()> {
    Ok(Json(
        network
            .remove_forward(old.id)
            .map_err(|error| Problem::usage(error.to_string()))?,
    ))
}

/// What a request says of a proxy.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Proxy {
    listen: std::net::SocketAddr,
}

async fn network_proxies(State(network): State<Handle>) -> Answer<Vec<std::net::SocketAddr>> {
    Ok(Json(network.snapshot().map_err(environment)?.proxies))
}

async fn add_proxy(
    State(network): State<Handle>,
    Asked(proxy): Asked<Proxy>,
) -> Answer<std::net::SocketAddr> {
    let made = network.add_proxy(proxy.listen);
    Ok(Json(made.map_err(|error| {
        environment(&error).with_hint_if(error.hint())
    })?))
}

async fn remove_proxy(State(network): State<Handle>, Asked(proxy): Asked<Proxy>) -> Answer<()> {
    if network.remove_proxy(proxy.listen).map_err(environment)? {
        return Ok(Json(()));
    }
    let problem = Problem::usage(format!("there is no proxy at {}", proxy.listen));
    Err(problem.into())
}

async fn join_network(
    State(network): State<Handle>,
    headers: HeaderMap,
    upgrade: Option<Extension<OnUpgrade>>,
    Asked(request): Asked<JoinRequest>,
) -> Result<Response, Refusal> {
    must_be_unnamed(request.network.as_ref())?;
    join::accept(network, &headers, upgrade.map(|it| it.0), request)
}

/// The network behind this API has no name by which it could be asked for.
fn must_be_unnamed(network: Option<&String>) -> Result<(), Refusal> {
    let Some(name) = network else { return Ok(()) };
    let problem = Problem::usage(format!("there is no network {name} here"));
    Err(problem
        .with_hint("this API is that of one network without a name")
        .into())
}

async fn network_link(State(network): State<Handle>, Asked(which): Asked<Which>) -> Answer<Option<LinkInfo>> {
    must_be_unnamed(which.network.as_ref())?;
    Ok(Json(link::current(&network)?))
}

async fn plan_network_link(
    State(network): State<Handle>,
    Asked(request): Asked<PlanRequest>,
) -> Answer<LinkPlan> {
    must_be_unnamed(request.network.as_ref())?;
    Ok(Json(link::plan(&network, request.addresses)?))
}

async fn link_network(
    State(network): State<Handle>,
    headers: HeaderMap,
    upgrade: Option<Extension<OnUpgrade>>,
    Asked(request): Asked<LinkRequest>,
) -> Result<Response, Refusal> {
    must_be_unnamed(request.network.as_ref())?;
    link::accept(network, &headers, upgrade.map(|it| it.0), request)
}

async fn unlink_network(
    State(network): State<Handle>,
    Asked(which): Asked<Which>,
) -> Answer<Option<LinkInfo>> {
    must_be_unnamed(which.network.as_ref())?;
    Ok(Json(link::take_away(network).await?))
}

fn environment(error: impl std::fmt::Display) -> Problem {
    Problem::environment(error.to_string())
}

/// What every request to a cluster can use.
#[derive(Clone, Debug)]
struct Daemon {
    cluster: Arc<Cluster>,
    ended: std::sync::mpsc::Sender<()>,
    file: Arc<SocketFile>,
}

/// Events of one command.
struct Teller(LineSender);

impl Sink for Teller {
    fn tell(&self, event: Progress) {
        self.0.tell(&event);
    }
}

impl Daemon {
    /// Runs a command on a thread and streams its events. When nothing runs afterwards the daemon ends.
    fn stream(
        self,
        work: impl FnOnce(&Cluster, &dyn Sink) -> Result<(), Problem> + Send + 'static,
    ) -> Result<Response, Refusal> {
        let (sender, response) = reply::stream();
        let spawned = std::thread::Builder::new()
            .name("atoll-command".to_owned())
            .spawn(move || {
                let teller = Teller(sender);
                if let Err(problem) = work(&self.cluster, &teller) {
                    teller.tell(Progress::Error { problem });
                }
                if !self.cluster.runs_anything() {
                    // Before the reader sees the end: its next command must not find a daemon that is going.
                    self.file.withdraw();
                    let _ = self.ended.send(());
                }
            });
        spawned.map_err(environment)?;
        Ok(response)
    }
}

async fn status(State(daemon): State<Daemon>) -> Json<Status> {
    Json(daemon.cluster.status())
}

async fn networks(State(daemon): State<Daemon>) -> Json<Vec<NetworkStatus>> {
    Json(daemon.cluster.status().networks)
}

async fn up(State(daemon): State<Daemon>, Asked(request): Asked<UpRequest>) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.up(request, sink))
}

async fn down(State(daemon): State<Daemon>, Asked(request): Asked<Machines>) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.down(request.machines, sink))
}

async fn remove(State(daemon): State<Daemon>, Asked(request): Asked<Machines>) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.remove(request.machines, sink))
}

async fn restart(
    State(daemon): State<Daemon>,
    Asked(request): Asked<UpRequest>,
) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.restart(request, sink))
}

async fn pause(State(daemon): State<Daemon>, Asked(request): Asked<Machines>) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.pause(request.machines, sink))
}

async fn suspend(State(daemon): State<Daemon>, Asked(request): Asked<Machines>) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.suspend(request.machines, sink))
}

async fn resume(
    State(daemon): State<Daemon>,
    Asked(request): Asked<ResumeRequest>,
) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.resume(request, sink))
}

async fn snapshots(State(daemon): State<Daemon>) -> Answer<Vec<snapshot::Listed>> {
    Ok(Json(snapshot::list(daemon.cluster.paths())?))
}

async fn take_snapshot(
    State(daemon): State<Daemon>,
    Asked(request): Asked<SnapshotRequest>,
) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.take_snapshot(&request, sink))
}

async fn restore_snapshot(
    State(daemon): State<Daemon>,
    Asked(request): Asked<RestoreRequest>,
) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.restore_snapshot(&request, sink))
}

async fn remove_snapshot(
    State(daemon): State<Daemon>,
    Asked(old): Asked<OldSnapshot>,
) -> Result<Response, Refusal> {
    daemon.stream(move |cluster, sink| cluster.remove_snapshot(&old.name, sink))
}

async fn restart_one(
    State(daemon): State<Daemon>,
    Segment(name): Segment<String>,
) -> Result<Response, Refusal> {
    let request = daemon.cluster.request_for(name)?;
    daemon.stream(move |cluster, sink| cluster.restart(request, sink))
}

async fn join_cluster(
    State(daemon): State<Daemon>,
    headers: HeaderMap,
    upgrade: Option<Extension<OnUpgrade>>,
    Asked(request): Asked<JoinRequest>,
) -> Result<Response, Refusal> {
    let network = daemon.cluster.network(request.network.as_deref())?;
    join::accept(network, &headers, upgrade.map(|it| it.0), request)
}

async fn cluster_link(State(daemon): State<Daemon>, Asked(which): Asked<Which>) -> Answer<Option<LinkInfo>> {
    let network = daemon.cluster.network(which.network.as_deref())?;
    Ok(Json(link::current(&network)?))
}

async fn plan_cluster_link(
    State(daemon): State<Daemon>,
    Asked(request): Asked<PlanRequest>,
) -> Answer<LinkPlan> {
    let network = daemon.cluster.network(request.network.as_deref())?;
    Ok(Json(link::plan(&network, request.addresses)?))
}

async fn link_cluster(
    State(daemon): State<Daemon>,
    headers: HeaderMap,
    upgrade: Option<Extension<OnUpgrade>>,
    Asked(request): Asked<LinkRequest>,
) -> Result<Response, Refusal> {
    let network = daemon.cluster.network(request.network.as_deref())?;
    link::accept(network, &headers, upgrade.map(|it| it.0), request)
}

async fn unlink_cluster(
    State(daemon): State<Daemon>,
    Asked(which): Asked<Which>,
) -> Answer<Option<LinkInfo>> {
    let network = daemon.cluster.network(which.network.as_deref())?;
    Ok(Json(link::take_away(network).await?))
}

async fn forwards(State(daemon): State<Daemon>) -> Json<Vec<ForwardStatus>> {
    Json(daemon.cluster.forwards())
}

async fn add_forwards(
    State(daemon): State<Daemon>,
    Asked(new): Asked<NewForwards>,
) -> Answer<Vec<ForwardInfo>> {
    Ok(Json(daemon.cluster.add_forwards(&new)?))
}

async fn remove_forward(State(daemon): State<Daemon>, Asked(old): Asked<OldForward>) -> Answer<()> {
    Ok(Json(daemon.cluster.remove_forward(&old)?))
}
