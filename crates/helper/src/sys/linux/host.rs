//! The host as the helper changes it: every step is written down before it is done, and can be undone.

use std::io;

use super::journal::{Journal, Moved, Undo};
use super::netlink::Socket;
use super::opener::Opener;
use super::settings::Settings;
use super::{address, link, nft};
use crate::{Refusal, RefusalKind};

/// Sockets to the kernel, and what was done so far.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) route: Socket,
    /// Opened when it is needed first; the tables go with it.
    filter: Option<Socket>,
    pub(super) settings: Settings,
    journal: Journal,
    done: Vec<Undo>,
    /// Closed last: the second process then looks for journals that nobody locks.
    pub(super) opener: Opener,
}

/// A step that failed: what was to be done, and what the kernel said.
pub(super) fn failed(what: &str) -> impl FnOnce(io::Error) -> Refusal {
    move |error| {
        let refusal = Refusal::new(RefusalKind::Failed, format!("cannot {what}: {error}"));
        match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::ENODEV) => {
                refusal.with_hint("the host's kernel, or the interface's driver, does not have what it takes")
            }
            Some(libc::EPERM | libc::EACCES | libc::EROFS) => refusal
                .with_hint("in a container, the helper needs CAP_NET_ADMIN and a writable /proc/sys/net"),
            _ => refusal,
        }
    }
}

impl Host {
    pub(super) fn new(settings: Settings, opener: Opener, journal: Journal) -> io::Result<Self> {
        Ok(Self {
            route: Socket::open(None)?,
            filter: None,
            settings,
            opener,
            journal,
            done: Vec::new(),
        })
    }

    /// How much was done so far.
    pub(super) fn mark(&self) -> usize {
        self.done.len()
    }

    /// To be called before a step.
    pub(super) fn will(&mut self, undo: Undo) -> Result<(), Refusal> {
        self.journal.add(&undo).map_err(failed("write the journal"))?;
        self.done.push(undo);
        Ok(())
    }

    pub(super) fn filter(&mut self) -> io::Result<&mut Socket> {
        if self.filter.is_none() {
            self.filter = Some(nft::socket()?);
        }
        self.filter.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Undo what was done since then, last to first. A step that cannot be undone does not keep the others from it; it stays in the
    /// journal.
    pub(super) fn undo_to(&mut self, mark: usize) -> io::Result<()> {
        let mut outcome = Ok(());
        for undo in self.done.split_off(mark.min(self.done.len())).iter().rev() {
            outcome = outcome.and(self.undo(undo));
        }
        outcome?;
        self.journal.keep(mark)
    }

    /// Undo what dead ones left.
    pub(super) fn undo_dead(&mut self, dead: Vec<Journal>) {
        for mut journal in dead {
            let steps = journal.steps();
            let failures = steps.iter().rev().filter(|undo| self.undo(undo).is_err()).count();
            // One that cannot be undone stays for the next helper.
            if failures == 0 {
                let _ = journal.keep(0);
            }
        }
        // Nobody needs the settings who is not there; if that fails, the next one tries again.
        let _ = self.settings.leave();
    }

    fn undo(&mut self, undo: &Undo) -> io::Result<()> {
        match undo {
            Undo::Link(name) => link::delete(&mut self.route, name.as_str()),
            Undo::HostLink { name, token } => match link::by_name(&mut self.route, name.as_str())? {
                Some(found) if found.alias.ends_with(token.as_str()) => {
                    link::delete(&mut self.route, name.as_str())
                }
                _ => Ok(()),
            },
            Undo::Table(name) => nft::delete(self.filter()?, name),
            Undo::Proxy { link, address } => match link::by_name(&mut self.route, link)? {
                Some(found) => address::set_proxy(&mut self.route, found.index, *address, false),
                None => Ok(()),
            },
            Undo::Move(moved) => self.move_back(moved),
            // What was granted before and stays may need them still.
            Undo::Settings if self.done.contains(&Undo::Settings) => Ok(()),
            Undo::Settings => self.settings.leave(),
        }
    }

    fn move_back(&mut self, moved: &Moved) -> io::Result<()> {
        link::delete(&mut self.route, moved.bridge.as_str())?;
        let Some(card) = link::by_name(&mut self.route, &moved.card)? else {
            return Ok(());
        };
        self.put_all(moved, card.index, &card.name)
    }

    /// Give a link addresses and routes. What fails is told; the rest is there all the same.
    ///
    /// The addresses were in use a moment ago: to probe for them (RFC 4862, 5.4) would keep them from use for a second. The kernel
    /// looks at the setting when it is about to probe, so that it is put back only when no address waits.
    pub(super) fn put_all(&mut self, moved: &Moved, index: u32, name: &str) -> io::Result<()> {
        let mut outcome = Ok(());
        let probes = format!("ipv6/conf/{name}/accept_dad");
        self.settings.put(&probes, "0")?;
        for record in &moved.addresses {
            outcome = outcome.and(address::put_address(&mut self.route, record, index, name));
        }
        address::wait_for_use(&mut self.route, index)?;
        if let Some(before) = &moved.accept_dad {
            self.settings.put(&probes, before)?;
        }
        outcome.and(self.put_routes(&moved.routes, index))
    }

    /// A route may go by way of another: all are tried again while one more succeeds.
    fn put_routes(&mut self, routes: &[address::Record], index: u32) -> io::Result<()> {
        let mut left: Vec<&address::Record> = routes.iter().collect();
        loop {
            let mut outcome = Ok(());
            let before = left.len();
            left.retain(
                |record| match address::put_route(&mut self.route, record, index) {
                    Ok(()) => false,
                    Err(error) => {
                        outcome = Err(error);
                        true
                    }
                },
            );
            if left.is_empty() || left.len() == before {
                return outcome;
            }
        }
    }
}
