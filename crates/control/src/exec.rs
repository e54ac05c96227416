//! A command in a namespace on a network: what `atoll net exec` does.
//!
//! The network is one of its own, which lives as long as the command, or one that runs and is reached by its API. Its
//! program runs again as the inside ([`runtime::namespace`](atoll_runtime::namespace)), which becomes the command: a child
//! in the same process group, with the same terminal. Signals from the terminal reach it by themselves; others are passed on.
//!
//! When the command has ended, what it sent may still be on its way through the TAP. The network goes on until the TAP has
//! been silent for a moment and no connection has bytes left to come, but not for long: a process that the command left
//! behind has no claim on it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use atoll_cluster::problem::Problem;
use atoll_runtime::namespace::{Channel, NamespaceError, Outside};
use atoll_runtime::{AttachError, Handle, Network, NetworkOptions, StartError, TapInfo, TapSpec};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::sleep;

use crate::join::{JoinRequest, Joined};
use crate::{CallError, Client, ServeError, Server, serve_network};

/// When a TAP that may have frames left is looked at again, each time after twice as long, and how many times at most: a second
/// in all.
const LOOK: Duration = Duration::from_millis(2);
const LOOKS: u32 = 9;

/// States of a connection in which the guest has said all, and the host has been told.
const FINISHED: [&str; 4] = ["CLOSE-WAIT", "LAST-ACK", "TIME-WAIT", "CLOSED"];

/// Which network the command is on.
#[derive(Debug)]
pub enum Reach {
    /// One of its own, and where its API is served, if anywhere.
    Own(Box<NetworkOptions>, Option<PathBuf>),
    /// One that runs.
    Running {
        /// The socket of its API.
        api: PathBuf,
        /// Which of the networks behind that API; the only one when left out.
        network: Option<String>,
    },
}

/// What the namespace is to the network.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Its host name there.
    pub name: Option<String>,
    /// Its IPv4 address; the one that DHCP would give when left out.
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address; what its MAC address makes of the prefix when left out.
    pub address6: Option<Ipv6Addr>,
}

/// Why the command does not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Its network did not start.
    #[error(transparent)]
    Network(#[from] StartError),
    /// The API of its network did not start.
    #[error(transparent)]
    Api(#[from] ServeError),
    /// The network that runs cannot be reached, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The network did not take the namespace.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// There is no namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// There is no process.
    #[error("cannot start the command: {0}")]
    Start(#[from] io::Error),
}

impl From<ExecError> for Problem {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Network(error @ StartError::Config(_)) => {
                Self::usage(error.to_string()).with_hint_if(error.hint())
            }
            ExecError::Network(error) => Self::environment(error.to_string()).with_hint_if(error.hint()),
            ExecError::Call(error @ CallError::NotRunning { .. }) => Self::environment(error.to_string())
                .with_hint("name the socket of a network that runs: `atoll net run --api unix:PATH`"),
            ExecError::Call(error) => error.into(),
            ExecError::Api(error) => error.into(),
            ExecError::Attach(error) => Self::environment(error.to_string()).with_hint_if(error.hint()),
            ExecError::Namespace(error) => Self::environment(error.to_string()).with_hint_if(error.hint()),
            ExecError::Start(_) => Self::environment(error.to_string()),
        }
    }
}

/// Run a command on a network, and give its exit status. `inside` makes the arguments with which this program becomes the inside,
/// from the number of its channel.
///
/// # Errors
/// There is no network, or no namespace. What the inside tells by itself is an exit status.
pub fn exec(
    reach: Reach,
    wishes: Wishes,
    inside: impl FnOnce(i32) -> Vec<OsString>,
) -> Result<u8, ExecError> {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let passed = {
        // Signals are ours from before the first file exists, so that none is left behind.
        let _guard = tokio.enter();
        Passed::watch()?
    };
    // First of all, so that the command's limits are those of who started it: a network raises its own.
    let (outside, channel) = Outside::pair()?;
    let mut child = {
        let _guard = tokio.enter();
        start(&channel, inside(channel.number()))?
    };
    drop(channel);
    match let_in(reach, wishes, outside, &child) {
        Ok(Some(attached)) => tokio.block_on(attend(attached, child, passed)),
        // It has told why.
        Ok(None) => Ok(status(tokio.block_on(child.wait())?)),
        Err(error) => {
            // It sees that its starter goes no further.
            tokio.block_on(child.wait())?;
            Err(error)
        }
    }
}

/// Put the namespace on the network. `None` when the inside ended.
fn let_in(
    reach: Reach,
    wishes: Wishes,
    mut outside: Outside,
    child: &Child,
) -> Result<Option<Attached>, ExecError> {
    let place = Place::reach(reach)?;
    let Some(tap) = outside.receive_tap(child.id().unwrap_or_default())? else {
        return Ok(None);
    };
    let attached = place.attach(tap, wishes)?;
    Ok(outside.configure(&attached.info).is_ok().then_some(attached))
}

/// Stay with the command until its end.
async fn attend(attached: Attached, mut child: Child, mut passed: Passed) -> Result<u8, ExecError> {
    let ended = passed.wait(&mut child, &attached).await?;
    attached.leave().await;
    Ok(status(ended))
}

/// This program again.
fn start(_inherited: &Channel, arguments: Vec<OsString>) -> io::Result<Child> {
    let own = std::env::args_os().next();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(own.as_deref().unwrap_or(OsStr::new("atoll")))
        .args(arguments)
        .spawn()
}

/// As a shell says it: 128 and the number of the signal that ended the command.
fn status(ended: ExitStatus) -> u8 {
    let code = ended.code().or_else(|| Some(128 + ended.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// A network that the command can be put on.
enum Place {
    Own(Network, Option<Server>),
    Running(Client, Option<String>),
}

impl Place {
    fn reach(reach: Reach) -> Result<Self, ExecError> {
        match reach {
            Reach::Own(options, api) => {
                let network = Network::start(*options)?;
                let handle = network.handle();
                let server = api.map(|path| serve_network(&path, handle)).transpose()?;
                Ok(Self::Own(network, server))
            }
            Reach::Running { api, network } => Ok(Self::Running(Client::connect(&api)?, network)),
        }
    }

    fn attach(self, tap: OwnedFd, wishes: Wishes) -> Result<Attached, ExecError> {
        let Wishes {
            name,
            address,
            address6,
        } = wishes;
        match self {
            Self::Own(network, server) => {
                let spec = TapSpec {
                    fd: tap,
                    name,
                    address,
                    address6,
                };
                let info = network.handle().attach_tap(spec)?;
                let hold = Hold::Own(network, server);
                Ok(Attached { info, hold })
            }
            Self::Running(client, network) => {
                let request = JoinRequest {
                    network,
                    name,
                    address,
                    address6,
                };
                let (info, joined) = client.join(&tap, &request)?;
                let hold = Hold::Running(joined);
                Ok(Attached { info, hold })
            }
        }
    }
}

/// A TAP on its network.
struct Attached {
    info: TapInfo,
    hold: Hold,
}

/// What keeps it there.
enum Hold {
    Own(Network, Option<Server>),
    Running(Joined),
}

impl Attached {
    /// Comes back when the network is gone, if that can be.
    async fn lost(&self) {
        match &self.hold {
            Hold::Own(..) => std::future::pending().await,
            Hold::Running(joined) => joined.ended().await,
        }
    }

    /// Leave the network when all is said. A network that goes on sees to that itself.
    async fn leave(self) {
        match self.hold {
            Hold::Own(network, server) => {
                let handle = network.handle();
                until_silent(&handle, self.info.port).await;
                drop(server);
                handle.shutdown();
                network.wait();
            }
            Hold::Running(joined) => drop(joined),
        }
    }
}

/// Wait until a TAP whose command has ended has nothing more to say; not for long.
pub(crate) async fn until_silent(network: &Handle, port: u32) {
    let mut heard = None;
    for look in 0..LOOKS {
        let Ok(picture) = network.snapshot() else {
            return;
        };
        let Some(tap) = picture.ports.iter().find(|it| it.id == port) else {
            return;
        };
        let is_busy = picture.flows.iter().any(|flow| {
            let is_ours = tap.addresses.iter().any(|address| flow.guest.ip() == *address);
            is_ours && flow.protocol == "tcp" && !FINISHED.contains(&flow.state.as_str())
        });
        if !is_busy && heard.replace(tap.rx_frames) == Some(tap.rx_frames) {
            return;
        }
        sleep(LOOK * (1 << look)).await;
    }
}

/// The signals that are passed on to the command.
struct Passed {
    signals: Vec<(Signal, Signals)>,
}

impl Passed {
    fn watch() -> io::Result<Self> {
        let kinds = [
            (Signal::INT, SignalKind::interrupt()),
            (Signal::QUIT, SignalKind::quit()),
            (Signal::TERM, SignalKind::terminate()),
            (Signal::HUP, SignalKind::hangup()),
            (Signal::USR1, SignalKind::user_defined1()),
            (Signal::USR2, SignalKind::user_defined2()),
        ];
        let watched = kinds.map(|(number, kind)| Ok((number, signal(kind)?)));
        Ok(Self {
            signals: watched.into_iter().collect::<io::Result<_>>()?,
        })
    }

    /// Wait for the command's end.
    async fn wait(&mut self, child: &mut Child, attached: &Attached) -> io::Result<ExitStatus> {
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let mut is_lost = false;
        loop {
            tokio::select! {
                ended = child.wait() => return ended,
                number = self.next() => pass(pid, number),
                () = attached.lost(), if !is_lost => {
                    is_lost = true;
                    tracing::warn!("the network has ended; the command goes on without it");
                }
            }
        }
    }

    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (number, signals) in &mut self.signals {
                if signals.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Pass a signal on, unless the terminal has sent it to the command as well: it does to all of a job in the foreground.
fn pass(command: Option<Pid>, number: Signal) {
    let is_by_key = matches!(number, Signal::INT | Signal::QUIT);
    if is_by_key && is_in_foreground() {
        return;
    }
    if let Some(command) = command
        && let Err(error) = kill_process(command, number)
    {
        tracing::debug!("a signal could not be passed on: {error}");
    }
}

fn is_in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == getpgrp()))
}
