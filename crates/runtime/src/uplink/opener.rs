//! A thread that asks the helper, so that the loop does not wait.
//!
//! Orders go in by a channel and are carried out one after the other; answers come back by another, and a waker rouses the loop. Each link has a
//! session of its own, for a session's grants end together. Sessions are closed here, too: that waits until the helper has undone what
//! it did. When the opener is dropped all are.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use atoll_engine::{Prefix, Subnet};
use atoll_helper::{Grant, Granted, HelperError, HelperPath, Reach, Refusal, Request, Session, WordError};
use atoll_ports::TapError;
use atoll_ports::vmnet::VmnetError;
use atoll_wire::Mac;
use mio::Waker;

use super::{UplinkSpec, Via, vmnet};
use crate::NetworkOptions;

/// Which link: of a guest's MAC address, or for all.
pub(super) type Key = Option<Mac>;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Helper(#[from] HelperError),
    #[error(transparent)]
    Word(#[from] WordError),
    #[error(transparent)]
    Tap(#[from] TapError),
    #[error(transparent)]
    Vmnet(#[from] VmnetError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("cannot make a relay: {0}")]
    Relay(#[source] io::Error),
    #[error("on macOS there is one way to the LAN, and that is vmnet's, not {0}")]
    OneWay(Via),
    #[error("there is no interface {0}")]
    NoInterface(String),
    #[error("cannot watch the uplink: {0}")]
    Watch(#[source] io::Error),
    #[error("cannot ask atoll-helper: {0}")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// What the reader can do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Helper(error) => error.hint(),
            Self::Tap(error) => error.hint().map(str::to_owned),
            Self::Vmnet(error) => error.hint().map(str::to_owned),
            Self::Refused(refusal) => refusal.hint.clone(),
            Self::OneWay(_) => Some("leave out --via".to_owned()),
            Self::NoInterface(_) => Some("`ip -brief link` lists the interfaces of this host".to_owned()),
            Self::Word(_) | Self::Watch(_) | Self::Thread(_) | Self::Relay(_) => None,
        }
    }
}

/// A link that was granted.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) grant: Grant,
    pub(super) way: Way,
    /// Readable when the session has ended.
    pub(super) session: OwnedFd,
}

/// By what the frames go.
#[derive(Debug)]
pub(super) enum Way {
    /// A TAP.
    Tap(OwnedFd),
    /// One end of a relay to vmnet: macOS.
    Relay(OwnedFd),
}

/// What came of an order to open.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) key: Key,
    pub(super) opened: Result<Opened, OpenError>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Open(Key),
    Close(Key),
}

/// The loop's end of the thread.
#[derive(Debug)]
pub(super) struct Opener {
    orders: Option<Sender<Order>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

impl Opener {
    /// Find the helper and start the thread.
    pub(super) fn start(
        options: &NetworkOptions,
        via: Option<Via>,
        waker: Arc<Waker>,
    ) -> Result<Self, OpenError> {
        let wish = Wish::new(options, via)?;
        // On macOS there may be no need of one.
        let path = if vmnet::is_here() {
            None
        } else {
            Some(HelperPath::find()?)
        };
        let (orders, to_do) = channel();
        let (done, answers) = channel();
        let mut worker = Worker {
            path,
            wish,
            sessions: HashMap::new(),
        };
        let run = move || {
            for order in to_do {
                let Some(answer) = worker.carry_out(order) else {
                    continue;
                };
                if done.send(answer).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("atoll-uplink".to_owned())
            .spawn(run)
            .map_err(OpenError::Thread)?;
        Ok(Self {
            orders: Some(orders),
            answers,
            thread: Some(thread),
        })
    }

    /// Ask for a link; the answer comes later.
    pub(super) fn open(&self, key: Key) {
        self.order(Order::Open(key));
    }

    /// End a link's session, if it has one.
    pub(super) fn close(&self, key: Key) {
        self.order(Order::Close(key));
    }

    fn order(&self, order: Order) {
        let is_taken = self
            .orders
            .as_ref()
            .is_some_and(|orders| orders.send(order).is_ok());
        if !is_taken {
            tracing::error!("nobody asks atoll-helper any more");
        }
    }

    /// The answer to what was asked first.
    pub(super) fn wait(&self) -> Answer {
        self.answers.recv().unwrap_or_else(|_| Answer {
            key: None,
            opened: Err(OpenError::Thread(io::ErrorKind::BrokenPipe.into())),
        })
    }

    /// The next answer, if there is one.
    pub(super) fn try_next(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that asks atoll-helper panicked");
        }
    }
}

struct Worker {
    /// `None`: it is looked for when it is needed.
    path: Option<HelperPath>,
    wish: Wish,
    sessions: HashMap<Key, Held>,
}

/// What holds a link; dropping it ends the link.
#[derive(Debug)]
enum Held {
    Helper(#[expect(dead_code, reason = "held")] Session),
    Vmnet(#[expect(dead_code, reason = "held")] vmnet::Here),
}

impl Worker {
    fn carry_out(&mut self, order: Order) -> Option<Answer> {
        match order {
            Order::Open(key) => {
                let opened = self.open(key);
                Some(Answer { key, opened })
            }
            Order::Close(key) => {
                self.sessions.remove(&key);
                None
            }
        }
    }

    fn open(&mut self, key: Key) -> Result<Opened, OpenError> {
        // What an earlier one granted under the same name is undone before.
        self.sessions.remove(&key);
        let request = self.wish.request(key)?;
        if let Some((opened, here)) = vmnet::open(&request)? {
            self.sessions.insert(key, Held::Vmnet(here));
            return Ok(opened);
        }
        let path = match &self.path {
            Some(path) => path.clone(),
            None => HelperPath::find()?,
        };
        let mut session = Session::open(&path)?;
        let Granted { grant, tap } = session.ask(&request)?;
        let watched = session.as_fd().try_clone_to_owned().map_err(OpenError::Watch)?;
        self.sessions.insert(key, Held::Helper(session));
        Ok(Opened {
            grant,
            way: vmnet::way_of(tap),
            session: watched,
        })
    }
}

/// What is asked for, but for the guest's MAC address.
struct Wish {
    spec: UplinkSpec,
    via: Via,
    subnet: Option<Subnet>,
    prefix: Option<Prefix>,
    mtu: u16,
}

impl Wish {
    /// Checked here, so that a name that is none is told before anything is made.
    fn new(options: &NetworkOptions, via: Option<Via>) -> Result<Self, OpenError> {
        let spec = options.uplink.clone().unwrap_or(UplinkSpec::Host {
            network: options.domain.clone(),
        });
        let wish = Self {
            spec,
            via: via.unwrap_or(Via::Bridge),
            subnet: options.addresses.subnet,
            prefix: options.addresses.prefix,
            mtu: options.mtu,
        };
        wish.request(Some(Mac([2, 0, 0, 0, 0, 1])))?;
        Ok(wish)
    }

    fn request(&self, key: Key) -> Result<Request, OpenError> {
        Ok(match &self.spec {
            UplinkSpec::Bridged {
                interface, addresses, ..
            } => self.bridged(key, interface, addresses)?,
            UplinkSpec::Shared { network, outside } => {
                let outside = outside.as_deref().map(str::parse).transpose()?;
                self.own(Reach::Shared, network, outside)?
            }
            UplinkSpec::Host { network } => self.own(Reach::Host, network, None)?,
        })
    }

    fn bridged(&self, key: Key, interface: &str, addresses: &[IpAddr]) -> Result<Request, OpenError> {
        let interface = interface.parse()?;
        Ok(match self.via {
            Via::Bridge => Request::Bridge { bridge: interface },
            Via::NewBridge => Request::NewBridge { interface },
            Via::Macvtap => Request::Macvtap {
                interface,
                mac: key.unwrap_or_default(),
            },
            Via::ProxyArp => Request::ProxyArp {
                interface,
                addresses: addresses.to_vec(),
            },
        })
    }

    fn own(
        &self,
        reach: Reach,
        network: &str,
        outside: Option<atoll_helper::InterfaceName>,
    ) -> Result<Request, OpenError> {
        let v4 = |Subnet { address, prefix_len }| range(address, prefix_len);
        let v6 = |Prefix { address }: Prefix| range6(address);
        Ok(Request::Own {
            reach,
            network: network.parse()?,
            subnet: self.subnet.map(|subnet| v4(subnet).parse()).transpose()?,
            prefix: self.prefix.map(|prefix| v6(prefix).parse()).transpose()?,
            mtu: self.mtu,
            outside,
        })
    }
}

fn range(address: Ipv4Addr, prefix_len: u8) -> String {
    format!("{address}/{prefix_len}")
}

fn range6(address: Ipv6Addr) -> String {
    format!("{address}/{}", Prefix::LEN)
}
