//! Bulk TCP with a guest that has no tools but a shell: the micro image's, which answers at a TCP port, and its `nc`.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{BenchError, Trying};
use crate::lab::{Namespace, readable};

/// Where the guest's shell is.
const SHELL: u16 = 7777;

/// Where the guest connects to.
const PORT: u16 = 7100;

/// How long a guest may take to boot, without hardware's help.
const BOOT: Duration = Duration::from_secs(120);

const PATIENCE: Duration = Duration::from_secs(20);

/// Not counted: the connection's slow start, and what fills buffers.
const LEAD: Duration = Duration::from_millis(500);

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) guest: Ipv4Addr,
    /// The other end's address.
    pub(crate) own: Ipv4Addr,
    /// From the guest.
    pub(crate) up: bool,
    pub(crate) length: Duration,
}

impl Transfer {
    /// Waits for the guest's shell.
    pub(crate) fn await_guest(&self, station: &Namespace) -> Result<(), BenchError> {
        self.shell(station, BOOT).map(drop)
    }

    /// Runs it with `station` as the guest's other end. Gives bytes and seconds.
    pub(crate) fn run(&self, station: &Namespace) -> Result<(f64, f64), BenchError> {
        let what = || format!("cannot listen at {}", self.own);
        let at = SocketAddrV4::new(self.own, PORT);
        let listener = station.within(|| TcpListener::bind(at).trying(what))?;
        let mut shell = self.shell(station, PATIENCE)?;
        let command = if self.up {
            format!("nc {} {PORT} </dev/zero >/dev/null\n", self.own)
        } else {
            format!("nc {} {PORT} </dev/null >/dev/null\n", self.own)
        };
        let failed = || "cannot exchange bytes with the guest".to_owned();
        shell.write_all(command.as_bytes()).trying(failed)?;
        if !readable(listener.as_fd(), PATIENCE).trying(what)? {
            return Err(BenchError::Late {
                what: "the guest's connection".to_owned(),
                deadline: PATIENCE,
            });
        }
        let (mut stream, _) = listener.accept().trying(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).trying(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).trying(failed)?;
        let mut buffer = vec![0; 256 << 10];
        let mut turn = || {
            if self.up {
                stream.read(&mut buffer)
            } else {
                stream.write(&buffer)
            }
        };
        count_for(LEAD, &mut turn)?;
        count_for(self.length, &mut turn)
    }

    fn shell(&self, station: &Namespace, patience: Duration) -> Result<TcpStream, BenchError> {
        let until = Instant::now() + patience;
        let at = SocketAddrV4::new(self.guest, SHELL).into();
        loop {
            let stream = station.within(|| {
                TcpStream::connect_timeout(&at, Duration::from_secs(2))
                    .trying(|| "cannot connect to the guest".to_owned())
            });
            match stream {
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(200)),
                stream => return stream,
            }
        }
    }
}

/// Bytes and seconds of turns until a time has passed.
fn count_for(
    length: Duration,
    turn: &mut impl FnMut() -> std::io::Result<usize>,
) -> Result<(f64, f64), BenchError> {
    let start = Instant::now();
    let mut bytes = 0.0;
    while start.elapsed() < length {
        match turn() {
            Ok(0) => {
                return Err(BenchError::Unfit(
                    "the guest closed its connection early".to_owned(),
                ));
            }
            Ok(count) => bytes += f64::from(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).trying(|| "cannot exchange bytes with the guest".to_owned()),
        }
    }
    Ok((bytes, start.elapsed().as_secs_f64()))
}
