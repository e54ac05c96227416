//! The server of the request/response loads: it returns each byte that it gets, on any number of connections.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use clap::Args;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::error::{BenchError, Trying};
use crate::load::descriptors;

/// The server's arguments.
#[derive(Debug, Args)]
pub(crate) struct EchoArguments {
    /// Address to listen at.
    #[arg(long)]
    address: Ipv4Addr,
    /// First port.
    #[arg(long)]
    port: u16,
    /// How many ports.
    #[arg(long)]
    ports: u16,
}

struct Server {
    epoll: OwnedFd,
    listeners: HashMap<RawFd, TcpListener>,
    connections: HashMap<RawFd, TcpStream>,
}

/// Serves until it is killed. Says `ready` when it listens.
#[expect(clippy::print_stdout, reason = "its owner reads this line")]
pub(crate) fn serve(arguments: &EchoArguments) -> Result<(), BenchError> {
    descriptors::use_all();
    let what = || format!("cannot listen at {}", arguments.address);
    let mut server = Server {
        epoll: epoll::create(CreateFlags::CLOEXEC).trying(what)?,
        listeners: HashMap::new(),
        connections: HashMap::new(),
    };
    for port in (arguments.port..).take(usize::from(arguments.ports)) {
        let listener = TcpListener::bind(SocketAddrV4::new(arguments.address, port)).trying(what)?;
        // `std` listens with a short queue; a repeated listen(2) lengthens it.
        rustix::net::listen(&listener, 4096).trying(what)?;
        listener.set_nonblocking(true).trying(what)?;
        server.watch(&listener).trying(what)?;
        server.listeners.insert(listener.as_raw_fd(), listener);
    }
    println!("ready");
    io::stdout().flush().trying(|| "cannot write".to_owned())?;
    server.run().trying(|| "the echo server failed".to_owned())
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = [MaybeUninit::<Event>::uninit(); 256];
        loop {
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            for event in ready {
                let data = event.data;
                if let Ok(fd) = RawFd::try_from(data.u64()) {
                    self.handle(fd);
                }
            }
        }
    }

    fn watch(&self, of: &impl rustix::fd::AsFd) -> io::Result<()> {
        let number = u64::try_from(of.as_fd().as_raw_fd()).map_err(io::Error::other)?;
        Ok(epoll::add(
            &self.epoll,
            of,
            EventData::new_u64(number),
            EventFlags::IN,
        )?)
    }

    fn handle(&mut self, fd: RawFd) {
        if let Some(listener) = self.listeners.get(&fd) {
            let mut accepted = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                accepted.push(stream);
            }
            for stream in accepted {
                self.admit(stream);
            }
        } else if let Some(stream) = self.connections.get_mut(&fd)
            && !echo(stream)
        {
            self.connections.remove(&fd);
        }
    }

    /// A connection that cannot be served is closed, which its client counts as a failure.
    fn admit(&mut self, stream: TcpStream) {
        let ready = stream
            .set_nonblocking(true)
            .and_then(|()| stream.set_nodelay(true));
        if ready.and_then(|()| self.watch(&stream)).is_ok() {
            self.connections.insert(stream.as_raw_fd(), stream);
        }
    }
}

/// Returns what came. False when the connection is over.
fn echo(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes) {
        Ok(0) => false,
        // A byte at a time never fills a socket; a client that sends more and does not read is cut off.
        Ok(length) => bytes
            .get(..length)
            .is_some_and(|bytes| stream.write_all(bytes).is_ok()),
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
        ),
    }
}
