//! A virtual machine on a TAP in a bridge of the host's: QEMU as one starts it by hand, and as `atoll up` starts it with `attach: tap`.
//!
//! Both run the micro image under TCG on the same machine with the same devices, and both TAPs are made by `ip tuntap`. `vm-atoll` is the
//! command line of `atoll qemu-args`, with the descriptor open that it names; `vm-bare` is that line with a TAP that QEMU opens by name.
//! `up` would have atoll-helper open it; that takes time once, and no frame passes by there. What is added to atoll's line is an address
//! and a shell for the measurement, on the guest's kernel command line; what is left out is what QEMU is steered by: its monitor, its console and
//! its going into the background, so that it ends when the measurement does.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use crate::error::{BenchError, Trying};
use crate::lab::{Addressing, Host, Output, Scratch, own_command};
use crate::peers::{Cell, Kind, Peer, Request};

pub(crate) const BARE: &str = "vm-bare";
pub(crate) const BY_ATOLL: &str = "vm-atoll";

/// The guest's address; the station has the next.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

const ADDRESSING: Addressing = Addressing {
    first: ADDRESS,
    prefix: 24,
    gateway: None,
};

const STATION: u8 = 1;
const DEVICE: &str = "tap0";

const FILE: &str = "name: bench\n\
    networks: {lan: {mode: bridged, interface: br0}}\n\
    machines: {vm: {image: 'built:micro', accel: tcg, cpus: 1, memory: 192M, nics: [{network: lan, attach: tap}]}}\n";

/// Options of QEMU by which it is steered, with how many words follow.
const STEERING: [(&str, usize); 5] = [
    ("-chardev", 1),
    ("-serial", 1),
    ("-mon", 1),
    ("-pidfile", 1),
    ("-daemonize", 0),
];

/// A machine that QEMU runs.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) program: PathBuf,
    /// Started as `atoll up` starts it.
    pub(crate) by_atoll: bool,
}

impl Peer for Machine {
    fn name(&self) -> &'static str {
        if self.by_atoll { BY_ATOLL } else { BARE }
    }

    fn kind(&self) -> Kind {
        Kind::Machine
    }

    fn version(&self) -> Result<String, BenchError> {
        let folder = tempfile::tempdir().trying(|| "cannot make a temporary folder".to_owned())?;
        let line = Line::of_atoll(&self.program, folder.path())?;
        if !PathBuf::from(line.value("-kernel")?).is_file() {
            let words = "there is no micro image: `atoll image build micro` makes it".to_owned();
            return Err(BenchError::Unfit(words));
        }
        super::first_line(&PathBuf::from(&line.program), "--version")
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        let host = Host::new(&request.congestion, scratch)?;
        let station = host.make_lan(&request.guest(STATION, ADDRESSING), scratch)?;
        host.namespace
            .ip(&format!("tuntap add dev {DEVICE} mode tap vnet_hdr\n"))?;
        host.plug_in(DEVICE)?;
        let folder = scratch.path("cluster");
        std::fs::create_dir(&folder).trying(|| format!("cannot make {}", folder.display()))?;
        let line = Line::of_atoll(&self.program, &folder)?;
        line.make_seed()?;
        let mut command = own_command()?;
        if self.by_atoll {
            command.args([
                "with-tap",
                "--tap",
                DEVICE,
                "--descriptor",
                line.descriptor()?,
                "--",
            ]);
            command.arg(&line.program).args(&line.words);
        } else {
            command = Command::new(&line.program);
            command.args(line.by_hand()?);
        }
        let backend = host.start(self.name(), command, Output::Log, scratch)?;
        Ok(Cell {
            guests: vec![station],
            backend: Some(backend),
            host,
            api: None,
            ready_ms: None,
        })
    }
}

/// A command line of QEMU's.
struct Line {
    program: String,
    words: Vec<String>,
}

impl Line {
    /// What `atoll qemu-args` says, with an address and a shell for the guest.
    fn of_atoll(atoll: &PathBuf, folder: &std::path::Path) -> Result<Self, BenchError> {
        let file = folder.join("atoll.yaml");
        std::fs::write(&file, FILE).trying(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(atoll);
        command.args(["qemu-args", "--file"]).arg(&file).arg("vm");
        let text = said(command.env("ATOLL_HOME", folder.join("state")))?;
        // A shell takes the line apart as it is meant to be.
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("printf '%s\\n' {text}")]);
        let text = said(&mut shell)?;
        let mut words = text.lines().map(str::to_owned);
        let program = words.next().unwrap_or_default();
        let mut line = Self {
            program,
            words: unsteered(words),
        };
        line.words
            .extend(["-serial", "null", "-monitor", "none"].map(str::to_owned));
        let append = line.words.iter_mut().skip_while(|word| *word != "-append").nth(1);
        if let Some(append) = append {
            append.push_str(&format!(" atoll.addr={ADDRESS}/24 atoll.exec=1"));
        }
        Ok(line)
    }

    fn value(&self, option: &str) -> Result<&str, BenchError> {
        let mut words = self.words.iter().skip_while(|word| *word != option);
        words
            .nth(1)
            .map(String::as_str)
            .ok_or_else(|| BenchError::Answer {
                program: "atoll qemu-args".to_owned(),
                missing: option.to_owned(),
            })
    }

    /// The descriptor that QEMU is to find its TAP at.
    fn descriptor(&self) -> Result<&str, BenchError> {
        let netdev = self.value("-netdev")?;
        netdev
            .split(',')
            .find_map(|part| part.strip_prefix("fd="))
            .ok_or_else(|| BenchError::Answer {
                program: "atoll qemu-args".to_owned(),
                missing: format!("a descriptor in {netdev}"),
            })
    }

    /// Makes the folder of cloud-init's documents, which `up` would fill; the micro image does not read it.
    fn make_seed(&self) -> Result<(), BenchError> {
        let parts = self.words.iter().flat_map(|word| word.split(','));
        let mut folders = parts.filter_map(|part| part.strip_prefix("dir="));
        folders
            .try_for_each(|folder| std::fs::create_dir_all(folder).trying(|| format!("cannot make {folder}")))
    }

    /// The same machine with its TAP as one names it by hand.
    fn by_hand(&self) -> Result<Vec<String>, BenchError> {
        let id = self
            .value("-netdev")?
            .split(',')
            .find(|part| part.starts_with("id="));
        let netdev = format!(
            "tap,{},ifname={DEVICE},script=no,downscript=no,vhost=off",
            id.unwrap_or("id=net0")
        );
        let mut words = self.words.clone();
        let value = words.iter_mut().skip_while(|word| *word != "-netdev").nth(1);
        if let Some(value) = value {
            *value = netdev;
        }
        Ok(words)
    }
}

/// Words without those by which QEMU is steered.
fn unsteered(mut words: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match STEERING.iter().find(|(option, _)| *option == word) {
            Some((_, values)) => words.by_ref().take(*values).for_each(drop),
            None => kept.push(word),
        }
    }
    kept
}

/// What a command that has to succeed writes.
fn said(command: &mut Command) -> Result<String, BenchError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().trying(|| format!("cannot run {program}"))?;
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !output.status.success() {
        return Err(BenchError::Program { program, words });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::unsteered;

    #[test]
    fn what_steers_qemu_is_left_out_and_all_else_stays() {
        let words = "-m 192M -chardev socket,id=c -daemonize -mon chardev=c -nodefaults";
        let kept = unsteered(words.split(' ').map(str::to_owned));
        assert_eq!(kept, ["-m", "192M", "-nodefaults"]);
    }
}
