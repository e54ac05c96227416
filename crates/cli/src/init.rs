//! `init` and `template`: cluster files to begin with.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use atoll_control::cluster::project::DEFAULT_FILE;
use atoll_control::spec::FileTemplate;
use clap::{Args, Subcommand};

use crate::failure::{Failure, say};
use crate::shape::Shape;
use crate::table;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll init                     one machine\n  atoll init cluster && atoll up\n  atoll template ls              what there is"
)]
pub(crate) struct InitArgs {
    /// Which template
    #[arg(default_value = "machine", value_parser = template)]
    template: &'static FileTemplate,
    /// The file to write, which must not be there yet; atoll.yaml in this folder when left out
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
}

/// What can be done with templates.
#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// List the templates of `atoll init`
    #[command(after_help = "Example:\n  atoll template ls\n  atoll template ls --json")]
    Ls {
        #[command(flatten)]
        shape: Shape,
    },
    /// Print a template
    #[command(after_help = "Example:\n  atoll template show cluster")]
    Show {
        /// Which one
        #[arg(value_parser = template)]
        template: &'static FileTemplate,
    },
}

fn template(name: &str) -> Result<&'static FileTemplate, String> {
    FileTemplate::find(name).ok_or_else(|| {
        let names: Vec<_> = FileTemplate::ALL.iter().map(|it| it.name).collect();
        format!("there are: {}", names.join(", "))
    })
}

pub(crate) fn init(args: &InitArgs) -> Result<(), Failure> {
    write(args.template, &args.file)?;
    say("`atoll up` brings it up");
    Ok(())
}

/// Writes a template to a file that is not there yet.
pub(crate) fn write(template: &FileTemplate, file: &Path) -> Result<(), Failure> {
    let shown = file.display();
    let created = OpenOptions::new().write(true).create_new(true).open(file);
    let mut file = created.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let hint = "name another with -f, or print the template: `atoll template show`";
            Failure::usage(
                format!("{shown} is there already and is not overwritten"),
                Some(hint.to_owned()),
            )
        }
        _ => Failure::environment(format!("cannot write {shown}: {error}"), None),
    })?;
    file.write_all(template.text.as_bytes())?;
    say(&format!("{shown}: {}", template.about));
    Ok(())
}

pub(crate) fn templates(command: &TemplateCommand) -> Result<(), Failure> {
    match command {
        TemplateCommand::Ls { shape } => {
            if shape.print(&FileTemplate::ALL, FileTemplate::ALL)? {
                return Ok(());
            }
            let rows = FileTemplate::ALL.iter();
            let rows: Vec<_> = rows
                .map(|it| vec![it.name.to_owned(), it.about.to_owned()])
                .collect();
            Ok(table::print(&["NAME", "WHAT IT IS"], &rows)?)
        }
        TemplateCommand::Show { template } => Ok(io::stdout().write_all(template.text.as_bytes())?),
    }
}
