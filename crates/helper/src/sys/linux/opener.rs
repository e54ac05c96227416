//! A second process that opens device files, so that the first needs no right to files, and speaks to systemd-resolved, which listens to
//! root ([`super::resolved`]): a connection to the system's bus in root's name would be more in the first one's hands than all else.
//!
//! It is asked for the TUN device, for the device of one of our macvtaps by its name, or to tell which domain is that of a link of ours,
//! and for nothing else; it reads no request of
//! a client's. What it is told of a domain is judged here once more by the policy: which of the host's questions go where is no
//! matter of trust in the first process, which has read what a client wrote. The number of a macvtap's device is what sysfs says, seen from this network namespace; `/dev/tapN` is used when it has
//! this number (links of two namespaces may have one index, and then one name there), otherwise a node is made in a file system that
//! nobody else sees. When the first process is gone, this one removes journals in which nothing is left, and ends.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev, mknodat, open, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use serde::{Deserialize, Serialize};

use super::names::{LinkName, Name};
use super::{journal, resolved};
use crate::link::{DomainName, LinkRequest};
use crate::message::{Channel, Received};
use crate::{Refusal, Request};

const TUN: &[u8] = b"tun";
const TUN_PATH: &str = "/dev/net/tun";

const DONE: &[u8] = b"ok";

/// Which names are those of a link of ours: what was asked for, and what the link is called.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    link: LinkName,
    wanted: LinkRequest,
}

impl Names {
    /// Reads them, and the domain among them, where the policy allows the link.
    fn judged(message: &[u8], judge: Judge<'_>) -> Result<(Self, DomainName), String> {
        let names: Self = serde_json::from_slice(message).map_err(|error| error.to_string())?;
        names.wanted.check()?;
        let is_ours = LinkName::candidates(&names.wanted.network).any(|name| name == names.link);
        let domain = names.wanted.domain.clone().filter(|_| is_ours);
        let domain = domain.ok_or_else(|| "no domain of this link was asked for".to_owned())?;
        judge(&Request::Link(names.wanted.clone())).map_err(|refusal| refusal.to_string())?;
        Ok((names, domain))
    }
}

/// Whether the policy allows it to who asks in this session.
pub(super) type Judge<'j> = &'j dyn Fn(&Request) -> Result<(), Refusal>;

/// The first process's end.
#[derive(Debug)]
pub(super) struct Opener(Channel);

impl Opener {
    pub(super) fn new(channel: Channel) -> Self {
        Self(channel)
    }

    pub(super) fn tun(&mut self) -> io::Result<OwnedFd> {
        self.ask(TUN)
    }

    pub(super) fn macvtap(&mut self, name: &Name) -> io::Result<OwnedFd> {
        self.ask(name.as_str().as_bytes())
    }

    /// Tell the host's resolver which names are those of a link of ours; or why it was not told.
    pub(super) fn resolve(&mut self, link: &LinkName, wanted: &LinkRequest) -> Result<(), String> {
        let names = Names {
            link: link.clone(),
            wanted: wanted.clone(),
        };
        let failed = |error: io::Error| error.to_string();
        let message = serde_json::to_vec(&names).map_err(|error| error.to_string())?;
        self.0.send(&message, None).map_err(failed)?;
        match self.0.receive().map_err(failed)? {
            Received::Message(answer, _) if answer == DONE => Ok(()),
            Received::Message(answer, _) => Err(String::from_utf8_lossy(&answer).into_owned()),
            Received::TooLong | Received::End => Err(failed(Errno::PIPE.into())),
        }
    }

    fn ask(&mut self, what: &[u8]) -> io::Result<OwnedFd> {
        self.0.send(what, None)?;
        match self.0.receive_with_fd()? {
            Received::Message(_, Some(fd)) => Ok(fd),
            Received::Message(errno, None) => {
                let errno = errno.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                Err(io::Error::from_raw_os_error(errno))
            }
            Received::TooLong | Received::End => Err(Errno::PIPE.into()),
        }
    }
}

/// What the second process needs.
#[derive(Debug)]
pub(super) struct Devices {
    /// A file system with nothing but what is put there; `None` where that is not permitted.
    nodes: Option<OwnedFd>,
    /// `/sys` of this network namespace.
    sys: OwnedFd,
    /// The folder of the journals.
    journals: OwnedFd,
    /// The host's resolver counts links as we do.
    resolver_is_here: bool,
}

impl Devices {
    /// To be called while all rights are there.
    pub(super) fn new(journals: OwnedFd) -> io::Result<Self> {
        let folder = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let sys = file_system("sysfs").or_else(|_| open("/sys", folder, Mode::empty()))?;
        Ok(Self {
            nodes: file_system("tmpfs").ok(),
            sys,
            journals,
            resolver_is_here: resolved::is_in_our_namespace(),
        })
    }

    /// Be the second process.
    pub(super) fn serve(&self, mut channel: Channel, judge: Judge<'_>) {
        while let Ok(Received::Message(what, _)) = channel.receive() {
            if what.starts_with(b"{") {
                let outcome = self.resolve(&what, judge);
                let answer = outcome.as_ref().map_or_else(String::as_bytes, |()| DONE);
                if channel.send(answer, None).is_err() {
                    break;
                }
                continue;
            }
            let outcome = match self.open(&what) {
                Ok(fd) => channel.send(DONE, Some(fd.as_fd())),
                Err(error) => {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    channel.send(&errno.raw_os_error().to_ne_bytes(), None)
                }
            };
            if outcome.is_err() {
                break;
            }
        }
        journal::tidy(&self.journals);
    }

    fn open(&self, what: &[u8]) -> io::Result<OwnedFd> {
        if what == TUN {
            return Ok(open(TUN_PATH, DEVICE, Mode::empty())?);
        }
        let word = std::str::from_utf8(what).map_err(|_| Errno::INVAL)?;
        let name = Name::parse_macvtap(word).ok_or(Errno::INVAL)?;
        self.macvtap(&name)
    }

    fn resolve(&self, what: &[u8], judge: Judge<'_>) -> Result<(), String> {
        let (names, domain) = Names::judged(what, judge)?;
        if !self.resolver_is_here {
            return Err("systemd-resolved, if it runs, is in another network namespace".to_owned());
        }
        let index = self.read(&format!("class/net/{}/ifindex", names.link));
        let index = index.map_err(|error| error.to_string())?;
        let index: i32 = index.parse().map_err(|_| "the link has no number".to_owned())?;
        resolved::tell(index, &domain, &names.wanted.resolvers)
    }

    fn macvtap(&self, name: &Name) -> io::Result<OwnedFd> {
        let folder = format!("class/net/{name}");
        let index = self.read(&format!("{folder}/ifindex"))?;
        let index: u32 = index.parse().map_err(|_| Errno::PROTO)?;
        let number = self.read(&format!("{folder}/macvtap/tap{index}/dev"))?;
        let (major, minor) = number.split_once(':').ok_or(Errno::PROTO)?;
        let part = |word: &str| word.parse::<u32>().map_err(|_| Errno::PROTO);
        let device = makedev(part(major)?, part(minor)?);
        let usual = open(format!("/dev/tap{index}"), DEVICE, Mode::empty()).map(File::from);
        if let Ok(file) = usual
            && file
                .metadata()
                .is_ok_and(|it| it.file_type().is_char_device() && it.rdev() == device)
        {
            return Ok(file.into());
        }
        let nodes = self.nodes.as_ref().ok_or(Errno::NODEV)?;
        mknodat(
            nodes,
            name.as_str(),
            FileType::CharacterDevice,
            Mode::RUSR | Mode::WUSR,
            device,
        )?;
        let opened = openat(nodes, name.as_str(), DEVICE, Mode::empty());
        unlinkat(nodes, name.as_str(), AtFlags::empty())?;
        Ok(opened?)
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let file = openat(&self.sys, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        File::from(file).take(64).read_to_string(&mut text)?;
        Ok(text.trim_end().to_owned())
    }
}

const DEVICE: OFlags = OFlags::RDWR.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// A file system that is mounted nowhere.
fn file_system(kind: &str) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RefusalKind;

    fn message(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut names = serde_json::json!({"link": "atoll-lan", "wanted": {
            "network": "lan", "subnet": "10.77.0.0/24", "address": "10.77.0.253", "mtu": 1500,
            "domain": "lab.internal", "resolvers": ["10.77.0.1"],
        }});
        change(&mut names);
        serde_json::to_vec(&names).unwrap()
    }

    #[test]
    fn a_domain_is_told_only_where_the_policy_allows_the_link_and_its_resolvers_are_on_it() {
        let allowed = |_: &Request| Ok(());
        let (names, domain) = Names::judged(&message(|_| {}), &allowed).unwrap();
        assert_eq!(
            (names.link.as_str(), domain.as_str()),
            ("atoll-lan", "lab.internal")
        );
        let denied = |_: &Request| Err(Refusal::new(RefusalKind::Denied, "no"));
        assert_eq!(Names::judged(&message(|_| {}), &denied).unwrap_err(), "no");
        let wrong: [fn(&mut serde_json::Value); 4] = [
            |it| it["wanted"]["resolvers"] = serde_json::json!(["8.8.8.8"]),
            |it| it["wanted"]["domain"] = serde_json::Value::Null,
            |it| it["link"] = "atoll-other".into(),
            |it| it["link"] = "eth0".into(),
        ];
        for change in wrong {
            let message = message(change);
            assert!(Names::judged(&message, &allowed).is_err(), "{message:?}");
        }
    }
}
