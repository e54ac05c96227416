//! The `atoll` command: arguments in, rendering out; the work is done elsewhere.
//!
//! Standard output is data, standard error is talk. Every subcommand is one function that returns a [`Failure`] at most; its
//! sentence, hint and exit status are made in one place.
#![forbid(unsafe_code)]

mod complete;
mod cp;
mod doctor;
mod enter;
mod events;
#[cfg(test)]
mod examples;
mod exec;
mod failure;
mod forward;
mod image;
mod init;
mod k8s;
mod kubeconfig;
mod lifecycle;
mod link;
mod logs;
mod look;
mod man;
mod meter;
mod net;
mod output;
mod plan;
mod prefix;
mod progress;
mod project;
mod screenshot;
mod setup;
mod shape;
mod snapshot;
mod ssh_config;
mod suspend;
mod table;
mod top;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use failure::Failure;

/// Virtual machines on a network of their own, from one file, without root.
#[derive(Debug, Parser)]
#[command(
    name = "atoll",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(after_help = "Exit status:
  0  all went well
  1  the environment or a machine failed
  2  wrong usage or configuration: the command line or the cluster file is at fault

Environment:
  ATOLL_HOME          state of clusters, instead of ~/.local/state/atoll
  ATOLL_IMAGE_MIRROR  a mirror that stands in for the image vendors' hosts
  ATOLL_VAR_NAME      the value of a variable of the cluster file that --var gives none
  ATOLL_LOG           what is logged: error, warn, info, debug, trace
  NO_COLOR            no colours

Example:
  atoll image build debian && atoll up && atoll ssh a -- ping -c1 b")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring machines up as the cluster file says, and wait until they are ready
    Up(lifecycle::UpArgs),
    /// Shut machines down; disks are kept
    Down(lifecycle::DownArgs),
    /// Shut machines down and bring them up as the file says now
    Restart(lifecycle::RestartArgs),
    /// Shut machines down and delete their disks and state
    Rm(lifecycle::RemoveArgs),
    /// Let machines' processors stand still; their memory stays
    Pause(suspend::PauseArgs),
    /// Put machines' memory on disk and end their QEMUs
    Suspend(suspend::SuspendArgs),
    /// Let machines go on that are paused or suspended
    Resume(suspend::ResumeArgs),
    /// Save machines as they are at one instant, and go back to that
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Print what `up` would change
    Plan(plan::PlanArgs),
    /// Print the cluster file with nothing left to say: included files, variables, counts, addresses
    Config(plan::ConfigArgs),
    /// Write a cluster file to begin with
    Init(init::InitArgs),
    /// Cluster files to begin with
    #[command(subcommand)]
    Template(init::TemplateCommand),
    /// List machines: name, state, addresses
    Ls(look::ListArgs),
    /// Show the cluster: machines, networks, guests, forwards
    #[command(after_help = "Example:\n  atoll status\n  atoll status --json | jq '.networks[].gateway'")]
    Status(look::ListArgs),
    /// Show what machines give to each other: names, or with MACHINE and NAME a value
    Output(output::OutputArgs),
    /// Log in to a machine, or run a command there
    Ssh(enter::SshArgs),
    /// Run a command in a machine, or in several
    Exec(exec::ExecArgs),
    /// Copy files into machines, out of them, and between them
    Cp(cp::CopyArgs),
    /// Print an ssh_config(5) of the machines, or include it in ~/.ssh/config: for plain ssh, scp, rsync, Ansible and editors
    SshConfig(ssh_config::SshConfigArgs),
    /// Print a kubeconfig of the cluster, or put it into yours: for kubectl and all that reads it
    Kubeconfig(kubeconfig::KubeconfigArgs),
    /// A Kubernetes cluster in one line
    #[command(subcommand)]
    K8s(k8s::K8sCommand),
    /// Attach to a machine's serial console; Ctrl-] ends
    Console(enter::ConsoleArgs),
    /// Show what machines write to their consoles, or cloud-init there
    Logs(logs::LogsArgs),
    /// Show what happened to the cluster
    Events(events::EventsArgs),
    /// Show what machines take of the host: processor, memory, disk, network
    Top(top::TopArgs),
    /// Take a picture of a machine's screen
    Screenshot(screenshot::ScreenshotArgs),
    /// Lead ports of the host to machines while they run
    Forward(forward::ForwardArgs),
    /// Put this host on a network that runs: every program of it reaches every machine, by address and by name
    Link(link::LinkArgs),
    /// Take this host off a network, and leave no trace
    Unlink(link::UnlinkArgs),
    /// Print the complete QEMU command line that `up` would run
    QemuArgs(look::QemuArgs),
    /// A network by itself, for guests that somebody else starts
    #[command(subcommand)]
    Net(net::Command),
    /// Images on this host: list, fetch, build, remove
    Image(image::ImageArgs),
    /// What an administrator installs for networks on the host's LAN
    #[command(subcommand)]
    Setup(setup::Command),
    /// Find out what this host can do, and what helps where it cannot
    Doctor(doctor::DoctorArgs),
    /// Print a completion script: commands, options, and names of machines
    #[command(
        after_help = "Example:\n  atoll completions bash > ~/.local/share/bash-completion/completions/atoll\n  atoll completions zsh > ~/.zfunc/_atoll\n  atoll completions fish > ~/.config/fish/completions/atoll.fish"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the JSON schema of the cluster file
    #[command(after_help = "Example:\n  atoll schema > atoll.schema.json")]
    Schema,
    /// Print a manual page, or write all of them
    Man(man::ManArgs),
    /// Run a cluster's daemon
    #[command(name = project::DAEMON, hide = true)]
    Daemon(lifecycle::DaemonArgs),
}

fn main() -> ExitCode {
    complete::complete();
    let cli = Cli::parse();
    start_logging(&cli.command);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => lifecycle::up(&args),
        Command::Down(args) => lifecycle::down(&args),
        Command::Restart(args) => lifecycle::restart(&args),
        Command::Rm(args) => lifecycle::remove(&args),
        Command::Pause(args) => suspend::pause(&args),
        Command::Suspend(args) => suspend::suspend(&args),
        Command::Resume(args) => suspend::resume(&args),
        Command::Snapshot(command) => snapshot::run(&command),
        Command::Plan(args) => plan::plan(&args),
        Command::Config(args) => plan::config(&args),
        Command::Init(args) => init::init(&args),
        Command::Template(command) => init::templates(&command),
        Command::Ls(args) => look::list(&args),
        Command::Status(args) => look::status(&args),
        Command::Output(args) => output::output(&args),
        Command::Ssh(args) => enter::ssh(&args),
        Command::Exec(args) => exec::exec(&args),
        Command::Cp(args) => cp::copy(&args),
        Command::SshConfig(args) => ssh_config::ssh_config(&args),
        Command::Kubeconfig(args) => kubeconfig::kubeconfig(&args),
        Command::K8s(command) => k8s::k8s(&command),
        Command::Console(args) => enter::console(&args),
        Command::Logs(args) => logs::logs(&args),
        Command::Events(args) => events::events(&args),
        Command::Top(args) => top::top(&args),
        Command::Screenshot(args) => screenshot::screenshot(&args),
        Command::Forward(args) => forward::forward(args),
        Command::Link(args) => link::link(&args),
        Command::Unlink(args) => link::unlink(&args),
        Command::QemuArgs(args) => look::qemu_args(&args),
        Command::Net(command) => net::run(command),
        Command::Image(args) => image::image(args),
        Command::Setup(command) => setup::setup(&command),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions { shell } => Ok(complete::script(&shell.to_string())?),
        Command::Schema => Ok(table::print_json(&atoll_control::spec::schema())?),
        Command::Man(args) => man::man(&args),
        Command::Daemon(args) => lifecycle::run_daemon(&args),
    }
}

/// The daemon logs what happens; commands say what they have to say themselves.
fn start_logging(command: &Command) {
    let usual = if matches!(command, Command::Daemon(_)) {
        "info"
    } else {
        "warn"
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("ATOLL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(failure::colours())
        .init();
}
