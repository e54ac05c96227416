//! The host's link to a network, over its API.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/link` | the link, or null |
//! | `POST /v1/link` | what the helper is to be asked for |
//! | `POST /v1/link/tap` | takes what the helper granted |
//! | `DELETE /v1/link` | the link that was taken away, or null |
//!
//! The third asks to upgrade to the protocol `atoll-link`, as `crate::handover` has it; two descriptors are handed
//! over, the TAP and the helper's session, and the answer is one line of JSON. Where the plan is for names alone there is no TAP, and
//! the session comes by itself. What was handed over is the network's then, and the connection ends: a link does not end with the command that made it.

mod works;

use std::io;
use std::os::fd::AsFd;

use atoll_cluster::problem::Problem;
use atoll_runtime::{
    AskError, Handle, LinkAbout, LinkAddresses, LinkError, LinkInfo, LinkPlan, LinkSpec, LinkWish, Unlinked,
    ask_for_link,
};
use axum::http::HeaderMap;
use axum::response::Response;
use hyper::Method;
use hyper::upgrade::{OnUpgrade, Upgraded};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::handover::{self, Protocol, receive};
use crate::reply::Refusal;
use crate::{CallError, Client};

/// Where the API tells of links.
pub(crate) const PATH: &str = "/v1/link";

/// How it takes one.
pub(crate) const PROTOCOL: Protocol = Protocol {
    name: "atoll-link",
    path: "/v1/link/tap",
    what: "a link",
    answer: 64 * 1024,
};

/// Which network of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// The only one when left out.
    #[serde(default)]
    pub(crate) network: Option<String>,
}

/// A link that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanRequest {
    #[serde(default)]
    pub(crate) network: Option<String>,
    #[serde(default)]
    pub(crate) addresses: LinkAddresses,
}

/// A link that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkRequest {
    #[serde(default)]
    pub(crate) network: Option<String>,
    pub(crate) plan: LinkPlan,
    pub(crate) about: LinkAbout,
}

/// The answer after the descriptors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Linked(LinkInfo),
    Refused(Problem),
}

fn problem(error: &LinkError) -> Problem {
    let sentence = error.to_string();
    let problem = match error {
        LinkError::Address { .. } => Problem::usage(sentence),
        _ => Problem::environment(sentence),
    };
    problem.with_hint_if(error.hint())
}

/// The link that is there.
pub(crate) fn current(network: &Handle) -> Result<Option<LinkInfo>, Refusal> {
    let picture = network.snapshot();
    Ok(picture
        .map_err(|error| Problem::environment(error.to_string()))?
        .link)
}

/// What the helper is to be asked for.
pub(crate) fn plan(network: &Handle, wanted: LinkAddresses) -> Result<LinkPlan, Refusal> {
    Ok(network.plan_link(wanted).map_err(|error| problem(&error))?)
}

/// Take the link away; comes back when nothing of it is left on the host.
pub(crate) async fn take_away(network: Handle) -> Result<Option<LinkInfo>, Refusal> {
    let unlinked = network.unlink();
    let unlinked = unlinked.map_err(|error| Problem::environment(error.to_string()))?;
    // The helper is waited for, and the API goes on meanwhile.
    let finished = tokio::task::spawn_blocking(move || unlinked.map(Unlinked::finish));
    Ok(finished
        .await
        .map_err(|error| Problem::environment(error.to_string()))?)
}

/// Agree to the upgrade, and take the link on a task of its own.
pub(crate) fn accept(
    network: Handle,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
    request: LinkRequest,
) -> Result<Response, Refusal> {
    PROTOCOL.accept(headers, upgrade, |stream| serve(network, stream, request))
}

async fn serve(network: Handle, mut stream: UnixStream, request: LinkRequest) -> io::Result<()> {
    let mut descriptors = Vec::new();
    let expected = if request.plan.names_only { 1 } else { 2 };
    while descriptors.len() < expected {
        match receive(&stream).await? {
            Some(descriptor) => descriptors.push(descriptor),
            None => return Ok(()),
        }
    }
    // The session is the last.
    let Some(session) = descriptors.pop() else {
        return Ok(());
    };
    let spec = LinkSpec {
        tap: descriptors.pop(),
        session,
        plan: request.plan,
        about: request.about,
    };
    let answer = match network.link(spec) {
        Ok(info) => Answer::Linked(info),
        Err(error) => Answer::Refused(problem(&error)),
    };
    handover::answer(&mut stream, &answer).await
}

/// The client's part after the upgrade.
pub(crate) async fn hand_over(
    upgraded: Upgraded,
    tap: Option<impl AsFd>,
    session: impl AsFd,
) -> io::Result<Result<LinkInfo, Problem>> {
    let tap = tap.as_ref().map(AsFd::as_fd);
    let descriptors = tap.into_iter().chain([session.as_fd()]);
    let (answer, _) = PROTOCOL.hand_over(upgraded, descriptors).await?;
    Ok(match answer {
        Answer::Linked(info) => Ok(info),
        Answer::Refused(problem) => Err(problem),
    })
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum NotLinked {
    /// The network cannot be reached, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The helper.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// What was granted cannot be handed over.
    #[error("the link cannot be handed over: {0}")]
    HandOver(#[from] io::Error),
}

impl From<NotLinked> for Problem {
    fn from(error: NotLinked) -> Self {
        match error {
            NotLinked::Call(error) => error.into(),
            NotLinked::Ask(error) => {
                let hint = error.hint();
                Self::environment(error.to_string()).with_hint_if(hint)
            }
            NotLinked::HandOver(_) => Self::environment(error.to_string()),
        }
    }
}

/// A link, and whether it was there before.
#[derive(Debug)]
pub struct Linked {
    /// What it is.
    pub info: LinkInfo,
    /// Nothing was done.
    pub was_there: bool,
}

/// Link the host to a network, and come back when the link works.
///
/// # Errors
/// The network, the helper or the policy does not have it; then nothing is left of it.
pub fn link(
    client: &Client,
    network: Option<&str>,
    addresses: LinkAddresses,
    wish: &LinkWish,
) -> Result<Linked, NotLinked> {
    let which = Which {
        network: network.map(str::to_owned),
    };
    if let Some(info) = client.call::<Option<LinkInfo>>(&Method::GET, PATH, &which)? {
        return Ok(Linked {
            info,
            was_there: true,
        });
    }
    let request = PlanRequest {
        network: which.network.clone(),
        addresses,
    };
    let plan: LinkPlan = client.call(&Method::POST, PATH, &request)?;
    let asked = ask_for_link(&plan, wish)?;
    let request = LinkRequest {
        network: which.network,
        plan,
        about: asked.about.clone(),
    };
    // Until the network has it, the link goes with this process.
    let mut info = client.hand_link(asked.tap.as_ref(), asked.session(), &request)?;
    drop(asked.hand_over()?);
    info.notes.extend(works::notes(&info));
    Ok(Linked {
        info,
        was_there: false,
    })
}

/// Take the host's link to a network away; `None` where there is none.
///
/// # Errors
/// The network cannot be reached.
pub fn unlink(client: &Client, network: Option<&str>) -> Result<Option<LinkInfo>, CallError> {
    let which = Which {
        network: network.map(str::to_owned),
    };
    client.call(&Method::DELETE, PATH, &which)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use atoll_runtime::{Network, NetworkOptions, Subnet};

    use super::*;
    use crate::serve_network;

    fn with_network(change: impl FnOnce(&mut NetworkOptions), then: impl FnOnce(&Client)) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("api.sock");
        let mut options = NetworkOptions::new(Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len: 24,
        });
        change(&mut options);
        let network = Network::start(options).unwrap();
        let server = serve_network(&socket, network.handle()).unwrap();
        then(&Client::connect(&socket).unwrap());
        drop(server);
    }

    fn planned(client: &Client, v4: Option<Ipv4Addr>) -> Result<LinkPlan, String> {
        let request = PlanRequest {
            network: None,
            addresses: LinkAddresses { v4, v6: None },
        };
        match client.call(&Method::POST, PATH, &request) {
            Err(CallError::Refused(problem)) => Err(problem.message),
            other => Ok(other.unwrap()),
        }
    }

    #[test]
    fn a_link_is_planned_below_the_host_alias_and_beside_leases() {
        let lease = |last| atoll_runtime::StaticLease {
            mac: atoll_runtime::Mac([2, 0, 0, 0, 0, last]),
            address: Some(Ipv4Addr::new(10, 77, 0, last)),
            address6: None,
            hostname: None,
        };
        with_network(
            |_| {},
            |client| {
                let plan = planned(client, None).unwrap();
                assert_eq!(plan.address, Some(Ipv4Addr::new(10, 77, 0, 253)));
                assert_eq!(plan.resolvers, [Ipv4Addr::new(10, 77, 0, 1)]);
                // Trying leaves nothing behind.
                assert_eq!(planned(client, None).unwrap(), plan);
            },
        );
        with_network(
            |options| options.static_leases = vec![lease(253), lease(252)],
            |client| {
                let plan = planned(client, None).unwrap();
                assert_eq!(plan.address, Some(Ipv4Addr::new(10, 77, 0, 251)));
                let taken = planned(client, Some(Ipv4Addr::new(10, 77, 0, 253))).unwrap_err();
                assert!(taken.contains("10.77.0.253 cannot be the link's"), "{taken}");
                let foreign = planned(client, Some(Ipv4Addr::new(10, 78, 0, 5))).unwrap_err();
                assert!(foreign.contains("10.78.0.5 cannot be the link's"), "{foreign}");
            },
        );
    }

    #[test]
    fn an_isolated_network_says_why_it_has_no_link() {
        with_network(
            |options| options.isolate = true,
            |client| {
                let words = planned(client, None).unwrap_err();
                assert_eq!(
                    words,
                    "an isolated network has no link: its guests would not hear it"
                );
            },
        );
    }

    #[test]
    fn names_alone_come_with_the_session_and_no_tap_and_are_refused_where_a_tap_is_wanted() {
        with_network(
            |_| {},
            |client| {
                let mut plan = planned(client, None).unwrap();
                assert!(!plan.names_only);
                plan.names_only = true;
                let about = LinkAbout {
                    interface: "/etc/resolver/atoll.internal".to_owned(),
                    names: None,
                    guests: false,
                    notes: Vec::new(),
                };
                let request = LinkRequest {
                    network: None,
                    plan,
                    about,
                };
                let (ours, session) = std::os::unix::net::UnixStream::pair().unwrap();
                let linked = client.hand_link(None::<&std::fs::File>, &session, &request);
                let Err(CallError::Refused(problem)) = linked else {
                    panic!("{linked:?}");
                };
                assert_eq!(problem.message, "a link of this network comes with a TAP");
                drop(session);
                let end = io::Read::read(&mut &ours, &mut [0]).unwrap();
                assert_eq!(end, 0, "the network ends the session that it does not take");
            },
        );
    }

    #[test]
    fn where_there_is_no_link_none_is_told_or_taken_away() {
        with_network(
            |_| {},
            |client| {
                let which = Which::default();
                assert_eq!(
                    client
                        .call::<Option<LinkInfo>>(&Method::GET, PATH, &which)
                        .unwrap(),
                    None
                );
                assert_eq!(unlink(client, None).unwrap(), None);
                let named = unlink(client, Some("lan"));
                assert!(matches!(named, Err(CallError::Refused(_))));
            },
        );
    }
}
