//! The model: one answer, and all of them.

use std::fmt;

use serde::Serialize;

/// How good an answer is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It works.
    Ok,
    /// Good to know; nothing is wrong.
    Note,
    /// It works, but worse than it could, or may fail later.
    Warn,
    /// What needs it cannot work.
    Fail,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// What a check is about, in the order of the listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// QEMU, accelerators, and the programs that machines are run with.
    Machines,
    /// Folders: state, sockets, images.
    Files,
    /// What the user-space network asks of the host.
    Network,
    /// Namespaces for commands.
    Namespaces,
    /// The host's own LAN: bridges, NICs, the helper.
    Lan,
    /// Building images.
    Images,
}

impl Area {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::Machines,
        Self::Files,
        Self::Network,
        Self::Namespaces,
        Self::Lan,
        Self::Images,
    ];

    /// Its name, as on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Machines => "machines",
            Self::Files => "files",
            Self::Network => "network",
            Self::Namespaces => "namespaces",
            Self::Lan => "lan",
            Self::Images => "images",
        }
    }
}

/// What does not work, or not well, without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// `atoll up` with a file that asks for nothing special.
    Up,
    /// `atoll net exec`.
    NetExec,
    /// Guests' pings to the world.
    Ping,
    /// The world's IPv6.
    Ipv6,
    /// Machines of an architecture that is not the host's.
    Foreign,
    /// NICs with `attach: vhost-user`.
    VhostUser,
    /// Networks of `mode: bridged`.
    Bridged,
    /// Networks of `mode: shared`.
    Shared,
    /// Networks of `mode: host`.
    Host,
    /// `atoll image build`.
    ImageBuild,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::NetExec => "net exec",
            Self::Ping => "ping",
            Self::Ipv6 => "IPv6",
            Self::Foreign => "foreign machines",
            Self::VhostUser => "vhost-user",
            Self::Bridged => "bridged",
            Self::Shared => "shared",
            Self::Host => "host",
            Self::ImageBuild => "image build",
        })
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was asked, as a short name that stays the same from host to host.
    pub name: String,
    /// What it is about.
    pub area: Area,
    /// How good the answer is.
    pub status: Status,
    /// What was found, as a sentence without its full stop.
    pub found: String,
    /// What the reader can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What cannot work, or not well, while it is not `ok`.
    pub needed_for: Vec<Need>,
}

impl Check {
    pub(crate) fn new(area: Area, name: impl Into<String>, status: Status, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            area,
            status,
            found: found.into(),
            fix: None,
            needed_for: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn needed_for(mut self, needs: &[Need]) -> Self {
        self.needed_for = needs.to_vec();
        self
    }

    #[must_use]
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    #[must_use]
    pub(crate) fn fix_if(mut self, fix: Option<impl Into<String>>) -> Self {
        self.fix = fix.map(Into::into);
        self
    }
}

/// All answers, by area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing that `up` needs fails.
    pub can_up: bool,
    /// The answers.
    pub checks: Vec<Check>,
}

impl Report {
    pub(crate) fn of(mut checks: Vec<Check>) -> Self {
        checks.sort_by_key(|check| check.area);
        let mut report = Self { can_up: true, checks };
        let failures = report.failures_of_up().count();
        report.can_up = failures == 0;
        report
    }

    /// What stands in the way of `up`.
    pub fn failures_of_up(&self) -> impl Iterator<Item = &Check> {
        let stands = |check: &&Check| check.status == Status::Fail && check.needed_for.contains(&Need::Up);
        self.checks.iter().filter(stands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(area: Area, status: Status, needs: &[Need]) -> Check {
        Check::new(area, "name", status, "found").needed_for(needs)
    }

    #[test]
    fn only_a_failure_of_what_up_needs_stands_in_its_way() {
        let can = |status, needs: &[Need]| Report::of(vec![check(Area::Lan, status, needs)]).can_up;
        assert!(!can(Status::Fail, &[Need::NetExec, Need::Up]));
        assert!(can(Status::Fail, &[Need::NetExec]));
        assert!(can(Status::Warn, &[Need::Up]));
    }

    #[test]
    fn answers_are_sorted_by_area_and_stay_in_their_order_there() {
        let mut all = [Area::Lan, Area::Machines, Area::Lan].map(|area| check(area, Status::Ok, &[]));
        all[2].name = "second".to_owned();
        let sorted = Report::of(all.to_vec()).checks;
        let names: Vec<_> = sorted.iter().map(|it| (it.area, it.name.as_str())).collect();
        assert_eq!(
            names,
            [
                (Area::Machines, "name"),
                (Area::Lan, "name"),
                (Area::Lan, "second")
            ]
        );
    }
}
