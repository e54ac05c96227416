//! How every other thread speaks to the event loop.
//!
//! A request is a value with a channel for its reply. It goes through one queue to the loop, which a waker rouses;
//! the loop answers between two turns, so a caller waits for microseconds. After the loop has ended every request
//! says so at once.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};

use mio::Waker;

use crate::{
    AttachError, AutomaticSpec, DhcpOptions, Documents, ForwardError, ForwardId, ForwardInfo, ForwardSpec,
    GuestTarget, LinkAddresses, LinkError, LinkInfo, LinkPlan, LinkSpec, ListenSpec, ListenerInfo, Mac,
    NetworkSnapshot, RequestError, StaticLease, TapInfo, TapSpec, Transport, Unlinked,
};

/// Where the answer to one request goes.
pub(crate) type Reply<T> = SyncSender<T>;

/// What a handle asks of the loop.
#[derive(Debug)]
pub(crate) enum Request {
    Snapshot(Reply<NetworkSnapshot>),
    AddForward(ForwardSpec, Reply<Result<ForwardInfo, ForwardError>>),
    RemoveForward(ForwardId, Reply<Result<(), ForwardError>>),
    Forwards(Reply<Vec<ForwardInfo>>),
    SetAutomatic(GuestTarget, Vec<AutomaticSpec>, Reply<Result<(), ForwardError>>),
    Listen(ListenSpec, Reply<Result<ListenerInfo, RequestError>>),
    Unlisten(PathBuf, Reply<Result<(), RequestError>>),
    AttachTap(TapSpec, Reply<Result<TapInfo, AttachError>>),
    RetireTap(u32, Reply<bool>),
    DetachTap(u32, Reply<bool>),
    PlanLink(LinkAddresses, Reply<Result<LinkPlan, LinkError>>),
    Link(Box<LinkSpec>, Reply<Result<LinkInfo, LinkError>>),
    Unlink(Reply<Option<Unlinked>>),
    SetDocuments(String, Documents, Reply<Result<(), RequestError>>),
    SetStaticLease(StaticLease, Reply<Result<(), RequestError>>),
    SetDhcpOptions(Mac, DhcpOptions, Reply<Result<(), RequestError>>),
    SetName(String, Vec<IpAddr>, Reply<Result<(), RequestError>>),
    AddProxy(SocketAddr, Reply<Result<SocketAddr, ForwardError>>),
    RemoveProxy(SocketAddr, Reply<bool>),
    ServeProxyClient(TcpStream, SocketAddr, Reply<()>),
    Shutdown,
}

/// A running network, to be asked and changed from any thread. Clones speak to the same network.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) requests: Sender<Request>,
    pub(crate) waker: Arc<Waker>,
}

impl Handle {
    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        self.requests.send(request(reply)).ok()?;
        self.waker.wake().ok()?;
        answer.recv().ok()
    }

    fn change(
        &self,
        request: impl FnOnce(Reply<Result<(), RequestError>>) -> Request,
    ) -> Result<(), RequestError> {
        self.ask(request).unwrap_or(Err(RequestError::Stopped))
    }

    /// A picture of the network as it stands.
    ///
    /// # Errors
    /// The network has stopped.
    pub fn snapshot(&self) -> Result<NetworkSnapshot, RequestError> {
        self.ask(Request::Snapshot).ok_or(RequestError::Stopped)
    }

    /// Bind a host port and lead it to a guest.
    ///
    /// # Errors
    /// The port cannot be bound, or the guest cannot be one of this network's.
    pub fn add_forward(&self, spec: ForwardSpec) -> Result<ForwardInfo, ForwardError> {
        self.ask(|reply| Request::AddForward(spec, reply))
            .unwrap_or(Err(ForwardError::Stopped))
    }

    /// Free a host port. Connections that were made go on.
    ///
    /// # Errors
    /// No forward has this id.
    pub fn remove_forward(&self, forward: ForwardId) -> Result<(), ForwardError> {
        self.ask(|reply| Request::RemoveForward(forward, reply))
            .unwrap_or(Err(ForwardError::Stopped))
    }

    /// Every forward, in the order in which they were made.
    ///
    /// # Errors
    /// The network has stopped.
    pub fn forwards(&self) -> Result<Vec<ForwardInfo>, RequestError> {
        self.ask(Request::Forwards).ok_or(RequestError::Stopped)
    }

    /// What of this guest appears by itself from now on, in place of what did; what stays the same keeps its ports.
    ///
    /// # Errors
    /// The guest cannot be one of this network's.
    pub fn set_automatic(&self, guest: &GuestTarget, specs: Vec<AutomaticSpec>) -> Result<(), ForwardError> {
        self.ask(|reply| Request::SetAutomatic(guest.clone(), specs, reply))
            .unwrap_or(Err(ForwardError::Stopped))
    }

    /// Let clients of the proxy connect at one more address of the host. Gives it, with the port that the host chose when that was 0.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn add_proxy(&self, address: SocketAddr) -> Result<SocketAddr, ForwardError> {
        self.ask(|reply| Request::AddProxy(address, reply))
            .unwrap_or(Err(ForwardError::Stopped))
    }

    /// Let no more clients of the proxy connect at this address; `false` if none could. Connections that were made go on.
    ///
    /// # Errors
    /// The network has stopped.
    pub fn remove_proxy(&self, address: SocketAddr) -> Result<bool, RequestError> {
        self.ask(|reply| Request::RemoveProxy(address, reply))
            .ok_or(RequestError::Stopped)
    }

    /// Take a connection for a client of the proxy, as if one of its addresses had accepted it; `peer` is the address of its other end.
    ///
    /// # Errors
    /// The network has stopped.
    pub fn serve_proxy_client(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), RequestError> {
        self.ask(|reply| Request::ServeProxyClient(stream, peer, reply))
            .ok_or(RequestError::Stopped)
    }

    /// Let guests attach at one more QEMU `stream` socket; `label` names the machine that does.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen_qemu(&self, path: &Path, label: Option<&str>) -> Result<ListenerInfo, RequestError> {
        let spec = ListenSpec {
            transport: Transport::Qemu,
            path: path.to_owned(),
            label: label.map(str::to_owned),
        };
        self.listen(spec)
    }

    /// Let guests attach at one more socket.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(&self, spec: ListenSpec) -> Result<ListenerInfo, RequestError> {
        self.ask(|reply| Request::Listen(spec, reply))
            .unwrap_or(Err(RequestError::Stopped))
    }

    /// Close a guests' socket, detach the guests that attached there, and remove its file.
    ///
    /// # Errors
    /// No socket has this path.
    pub fn unlisten(&self, path: &Path) -> Result<(), RequestError> {
        self.change(|reply| Request::Unlisten(path.to_owned(), reply))
    }

    /// Make a TAP a guest, and learn how its other side is to be configured.
    ///
    /// # Errors
    /// It is no TAP, or there is no address or name for it.
    pub fn attach_tap(&self, spec: TapSpec) -> Result<TapInfo, AttachError> {
        self.ask(|reply| Request::AttachTap(spec, reply))
            .unwrap_or(Err(AttachError::Stopped))
    }

    /// Say that the owner of the TAP with this port number has ended: it stays until it is detached, or until a TAP with its
    /// MAC address comes. `false` if it is gone already.
    ///
    /// # Errors
    /// The network has stopped.
    pub fn retire_tap(&self, port: u32) -> Result<bool, RequestError> {
        self.ask(|reply| Request::RetireTap(port, reply))
            .ok_or(RequestError::Stopped)
    }

    /// Detach the TAP with this port number and close it; `false` if it is gone already.
    ///
    /// # Errors
    /// The network has stopped.
    pub fn detach_tap(&self, port: u32) -> Result<bool, RequestError> {
        self.ask(|reply| Request::DetachTap(port, reply))
            .ok_or(RequestError::Stopped)
    }

    /// What the helper is to be asked for, for a link of the host's to this network.
    ///
    /// # Errors
    /// There is one already, there can be none, or an address is somebody's.
    pub fn plan_link(&self, wanted: LinkAddresses) -> Result<LinkPlan, LinkError> {
        self.ask(|reply| Request::PlanLink(wanted, reply))
            .unwrap_or(Err(LinkError::Stopped))
    }

    /// Take over a TAP of the helper's, and the session that keeps it.
    ///
    /// # Errors
    /// As [`Handle::plan_link`]; or it is no TAP.
    pub fn link(&self, spec: LinkSpec) -> Result<LinkInfo, LinkError> {
        self.ask(|reply| Request::Link(Box::new(spec), reply))
            .unwrap_or(Err(LinkError::Stopped))
    }

    /// Take the host's link off; `None` if there is none. It is gone from the host when what comes back was dropped.
    ///
    /// # Errors
    /// The network has stopped, and its link with it.
    pub fn unlink(&self) -> Result<Option<Unlinked>, RequestError> {
        self.ask(Request::Unlink).ok_or(RequestError::Stopped)
    }

    /// The documents that guests with this label may read over HTTP; empty removes them.
    ///
    /// # Errors
    /// The network has stopped.
    pub fn set_documents(&self, label: &str, documents: Documents) -> Result<(), RequestError> {
        self.change(|reply| Request::SetDocuments(label.to_owned(), documents, reply))
    }

    /// Give an address to a MAC address for good. Replaces the MAC's earlier one.
    ///
    /// # Errors
    /// The address is not for guests, or somebody else's.
    pub fn set_static_lease(&self, lease: StaticLease) -> Result<(), RequestError> {
        self.change(|reply| Request::SetStaticLease(lease, reply))
    }

    /// Tell a guest these options by DHCP beside those of the network, when it asks next; none removes them.
    ///
    /// # Errors
    /// The network has stopped.
    pub fn set_dhcp_options(&self, mac: Mac, options: DhcpOptions) -> Result<(), RequestError> {
        self.change(|reply| Request::SetDhcpOptions(mac, options, reply))
    }

    /// Let DNS answer a name with these addresses; none removes it.
    ///
    /// # Errors
    /// The network has stopped.
    pub fn set_name(&self, name: &str, addresses: Vec<IpAddr>) -> Result<(), RequestError> {
        self.change(|reply| Request::SetName(name.to_owned(), addresses, reply))
    }

    /// End the network: guests are detached, sockets closed, their files removed. Returns at once; wait with
    /// [`Network::wait`](crate::Network::wait). Asking twice does no harm.
    pub fn shutdown(&self) {
        if self.requests.send(Request::Shutdown).is_ok() && self.waker.wake().is_err() {
            tracing::debug!("the event loop could not be roused to end");
        }
    }
}
