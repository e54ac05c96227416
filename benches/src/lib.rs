//! Side-by-side benchmarks of Atoll and its peers, run by `cargo xtask bench`.
//!
//! `atoll-bench run` compares; the other subcommands are the roles that it starts itself: namespace holders, shims,
//! servers and clients.
#![cfg(target_os = "linux")]

mod bars;
mod bench;
mod error;
mod lab;
mod load;
mod options;
mod peers;
mod probe;
mod pump;
mod report;
mod results;
mod shim;
mod stats;
mod suites;
mod sys;
mod with_tap;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::{Parser, Subcommand};

use bench::Bench;
use error::{BenchError, Trying};
use options::Options;
use peers::{
    ATOLL, ATOLL_BEFORE, ATOLL_POLICY, ATOLL_TAP, ATOLL_TAP_BEFORE, ATOLL_TAP_POLICY, ATOLL_VHOST, Attached,
    BRIDGED_STREAM, BRIDGED_TAP, BRIDGED_TAP_BEFORE, BRIDGED_VHOST, DIRECT, GVPROXY, LOOPBACK, PASST, PASTA,
    POLICY, Peer, SLIRP4NETNS, TAP_DIRECT, VM_ATOLL, VM_BARE,
};
use results::Results;
use suites::Suite;

/// Peers in the order of tables.
const PEER_ORDER: [&str; 20] = [
    LOOPBACK,
    DIRECT,
    ATOLL,
    ATOLL_BEFORE,
    ATOLL_POLICY,
    ATOLL_VHOST,
    PASST,
    GVPROXY,
    ATOLL_TAP,
    ATOLL_TAP_BEFORE,
    ATOLL_TAP_POLICY,
    PASTA,
    SLIRP4NETNS,
    TAP_DIRECT,
    BRIDGED_TAP,
    BRIDGED_TAP_BEFORE,
    BRIDGED_VHOST,
    BRIDGED_STREAM,
    VM_BARE,
    VM_ATOLL,
];

/// Benchmarks of Atoll beside other user-space networks.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Compare, and print tables.
    Run(Box<Options>),
    /// Hold a network namespace.
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        connect: Option<PathBuf>,
    },
    /// Give a namespace's network stack the role of a QEMU guest.
    Shim(shim::ShimArguments),
    /// Carry frames between a guest's TAP and one in a bridge, as QEMU does.
    #[command(hide = true)]
    Pump(pump::PumpArguments),
    /// Become a program with a TAP at a descriptor.
    #[command(hide = true)]
    WithTap(with_tap::WithTapArguments),
    /// Serve the request/response loads.
    #[command(hide = true)]
    Echo(load::echo::EchoArguments),
    /// Ask.
    #[command(hide = true)]
    Request {
        #[command(subcommand)]
        client: load::requests::Client,
    },
}

/// The program.
#[expect(clippy::print_stderr, reason = "what went wrong is told on stderr")]
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().role {
        Role::Run(options) => run(*options),
        Role::Hold { connect } => lab::hold(connect.as_deref()),
        Role::Shim(arguments) => shim::run(&arguments),
        Role::Pump(arguments) => pump::run(&arguments),
        Role::WithTap(arguments) => with_tap::run(&arguments),
        Role::Echo(arguments) => load::echo::serve(&arguments),
        Role::Request { client } => load::requests::run(&client),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the tables are this program's output")]
fn run(options: Options) -> Result<(), BenchError> {
    let suites = chosen_suites(&options)?;
    let known = all_peers(&options);
    if options.list {
        suites::ALL
            .iter()
            .for_each(|suite| println!("{:18} {}", suite.name, suite.title));
        println!("peers: {}", PEER_ORDER.join(" "));
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        let words = "root is needed, to make namespaces and devices in them; nothing outside them is changed";
        return Err(BenchError::Unfit(words.to_owned()));
    }
    let (peers, versions) = chosen_peers(&options, known)?;
    let bench = Bench::new(options, peers)?;
    let measured: Vec<&str> = suites.iter().map(|suite| suite.name).collect();
    let mut results = Results::default();
    for path in &bench.options.earlier {
        let unfit = |why: String| BenchError::Unfit(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| unfit(error.to_string()))?;
        let earlier = serde_json::from_str(&text).map_err(|error| unfit(error.to_string()))?;
        results.add_earlier(&earlier, &measured).map_err(unfit)?;
    }
    bench.run(&suites, &mut results);
    let heading = report::Heading {
        machine: probe::machine::Machine::here(),
        peers: versions,
        congestion: (bench.options.congestion.clone(), bench.congestion_seen()),
        rounds: bench.options.rounds,
        seconds: bench.options.seconds,
        has_earlier: !bench.options.earlier.is_empty(),
    };
    let text = report::markdown(&heading, &results);
    println!("{text}");
    if let Some(path) = &bench.options.write {
        write(path, &text)?;
    }
    if let Some(path) = &bench.options.json {
        write(path, &results.to_json().to_string())?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).trying(|| format!("cannot write {}", path.display()))
}

fn chosen_suites(options: &Options) -> Result<Vec<Suite>, BenchError> {
    let names: Vec<&str> = suites::ALL.iter().map(|suite| suite.name).collect();
    known_names("--only", &options.only, &names)?;
    let chosen =
        |suite: &Suite| options.only.is_empty() || options.only.iter().any(|name| name == suite.name);
    Ok(suites::ALL.into_iter().filter(chosen).collect())
}

fn known_names(argument: &str, given: &[String], known: &[&str]) -> Result<(), BenchError> {
    match given.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(BenchError::Unfit(format!(
            "{argument}: {name} is none of {}",
            known.join(", ")
        ))),
        None => Ok(()),
    }
}

/// Every peer that there could be, in order.
fn all_peers(options: &Options) -> Vec<Rc<dyn Peer>> {
    let program = options.atoll.clone().unwrap_or_else(|| PathBuf::from("atoll"));
    let mut peers: Vec<Rc<dyn Peer>> = vec![
        Rc::new(peers::Loopback),
        Rc::new(peers::Direct),
        by_socket(&program, false, &[]),
        variant(ATOLL_POLICY, by_socket(&program, false, &POLICY)),
        by_socket(&program, true, &[]),
        Rc::new(peers::Passt::new(options.passt.as_ref())),
        by_tap(&program, &[]),
        variant(ATOLL_TAP_POLICY, by_tap(&program, &POLICY)),
        Rc::new(peers::Pasta::new(options.passt.as_ref())),
        Rc::new(peers::Slirp4netns::new()),
        Rc::new(peers::TapDirect),
    ];
    peers.extend([Attached::Tap, Attached::Vhost, Attached::Stream].map(|it| bridged(&program, it)));
    for by_atoll in [false, true] {
        let program = program.clone();
        peers.push(Rc::new(peers::Machine { program, by_atoll }));
    }
    if let Some(before) = &options.before {
        peers.push(variant(ATOLL_BEFORE, by_socket(before, false, &[])));
        peers.push(variant(ATOLL_TAP_BEFORE, by_tap(before, &[])));
        peers.push(variant(BRIDGED_TAP_BEFORE, bridged(before, Attached::Tap)));
    }
    if let Some(program) = options.gvproxy.clone() {
        peers.push(Rc::new(peers::Gvproxy { program }));
    }
    peers.sort_by_key(|peer| PEER_ORDER.iter().position(|name| *name == peer.name()));
    peers
}

fn by_socket(program: &Path, shared: bool, arguments: &'static [&'static str]) -> Rc<dyn Peer> {
    let program = program.to_owned();
    Rc::new(peers::Atoll {
        program,
        shared,
        arguments,
    })
}

fn by_tap(program: &Path, arguments: &'static [&'static str]) -> Rc<dyn Peer> {
    let program = program.to_owned();
    Rc::new(peers::AtollTap { program, arguments })
}

fn bridged(program: &Path, attached: Attached) -> Rc<dyn Peer> {
    let program = program.to_owned();
    Rc::new(peers::Bridged { program, attached })
}

fn variant(name: &'static str, peer: Rc<dyn Peer>) -> Rc<dyn Peer> {
    Rc::new(peers::Variant { name, peer })
}

type Versions = Vec<(&'static str, String)>;

/// The peers to measure, and what each says of itself. One that cannot be measured is left out, and the report says so.
fn chosen_peers(
    options: &Options,
    known: Vec<Rc<dyn Peer>>,
) -> Result<(Vec<Rc<dyn Peer>>, Versions), BenchError> {
    known_names("--peers", &options.peers, &PEER_ORDER)?;
    let (mut peers, mut versions) = (Vec::new(), Vec::new());
    for peer in known {
        if !options.peers.is_empty() && !options.peers.iter().any(|name| name == peer.name()) {
            continue;
        }
        match peer.version() {
            Ok(version) => {
                versions.push((peer.name(), version));
                peers.push(peer);
            }
            Err(error) => versions.push((peer.name(), format!("left out: {error}"))),
        }
    }
    Ok((peers, versions))
}
