//! `atoll setup`: files for an administrator to install, printed; and whether they are installed.

use std::io::{self, Write};

use atoll_helper::{POLICY_EXAMPLE, setup};
use clap::{Args, Subcommand};

use crate::failure::{Failure, say};

/// What can be set up.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the rule by which sudo starts atoll-helper
    #[command(
        after_help = "Example:\n  atoll setup sudoers | sudo tee /etc/sudoers.d/atoll-helper && sudo chmod 0440 /etc/sudoers.d/atoll-helper\n  atoll setup sudoers --check"
    )]
    Sudoers(SudoersArgs),
    /// Print a policy to begin with: who may ask atoll-helper for what
    #[command(
        after_help = "Example:\n  sudo mkdir -p /etc/atoll && atoll setup policy | sudo tee /etc/atoll/helper.conf"
    )]
    Policy,
}

/// Arguments of `setup sudoers`.
#[derive(Debug, Args)]
pub(crate) struct SudoersArgs {
    /// Whose members may start it
    #[arg(long, value_name = "GROUP", default_value = "atoll", value_parser = group)]
    group: String,
    /// Look at what is installed instead: the helper, its policy, the rule
    #[arg(long)]
    check: bool,
}

/// A name that means nothing else in a sudoers file.
fn group(word: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins_well = word
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if begins_well && word.bytes().all(is_fit) {
        Ok(word.to_owned())
    } else {
        Err("a group's name has letters, digits, '.', '_' and '-' only".to_owned())
    }
}

pub(crate) fn setup(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Sudoers(args) if args.check => check(),
        Command::Sudoers(args) => print(&setup::sudoers(&setup::installed(), &args.group)),
        Command::Policy => print(POLICY_EXAMPLE),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Tells everything, and fails when something is wrong.
fn check() -> Result<(), Failure> {
    let checks = setup::check();
    for it in &checks {
        let word = if it.is_right { "ok" } else { "wrong" };
        print(&format!("{word}: {}\n", it.sentence))?;
        if let Some(hint) = &it.hint {
            say(&format!("hint: {hint}"));
        }
    }
    if checks.iter().all(|it| it.is_right) {
        Ok(())
    } else {
        Err(Failure::Told(1))
    }
}
