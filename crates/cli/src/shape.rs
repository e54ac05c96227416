//! How a listing is printed: columns for people, JSON for programs, or each thing by a template of the user's.
//!
//! Templates are Jinja's, by minijinja, over the same values as `--json`, so that what the one shows the other can name. They are compiled before anything
//! is asked of anybody; a name that the value does not have is an error, not an empty text. On a terminal control characters are left out,
//! since some of the values are guests' words.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::Serialize;

use crate::failure::Failure;
use crate::table::print_json;

/// Other forms of a listing than columns.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Shape {
    /// JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// A line for each by a Jinja template over what --json has, such as '{{ name }} {{ state }}'; {{ x | tojson }} is JSON
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "json", value_parser = compiled)]
    format: Option<String>,
}

/// The template, if it is one.
fn compiled(text: &str) -> Result<String, String> {
    match environment().template_from_str(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(words(&error)),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// Without the name of a file that there is not.
fn words(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

impl Shape {
    /// Whether columns are not wanted.
    pub(crate) fn is_asked(&self) -> bool {
        self.json || self.format.is_some()
    }

    /// Prints `whole` as JSON, or `each` by the template; `false` when columns are wanted.
    pub(crate) fn print<T: Serialize>(&self, whole: &impl Serialize, each: &[T]) -> Result<bool, Failure> {
        if self.json {
            print_json(whole)?;
            return Ok(true);
        }
        let Some(template) = &self.format else {
            return Ok(false);
        };
        let is_terminal = io::stdout().is_terminal();
        let mut out = io::stdout().lock();
        for value in each {
            let line = rendered(template, value)?;
            let is_shown = |c: &char| !is_terminal || !c.is_control() || matches!(c, '\n' | '\t');
            writeln!(out, "{}", line.chars().filter(is_shown).collect::<String>())?;
        }
        Ok(true)
    }
}

fn rendered(template: &str, value: &impl Serialize) -> Result<String, Failure> {
    // By way of JSON, so that what is left out there is left out here.
    let json = serde_json::to_value(value).map_err(io::Error::from)?;
    environment()
        .render_str(template, minijinja::value::Serde(&json))
        .map_err(|error| {
            let names = json
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str());
            let names: Vec<&str> = names.collect();
            let hint = match error.kind() {
                ErrorKind::UndefinedError if !names.is_empty() => format!(
                    "there are: {}; what may be missing is written {{{{ x | default('-') }}}}",
                    names.join(", ")
                ),
                _ => "--json shows what there is".to_owned(),
            };
            Failure::usage(
                format!("--format cannot be filled in: {}", words(&error)),
                Some(hint),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_sees_what_json_has() {
        let value = serde_json::json!({ "name": "a", "nics": [{ "address": "10.0.0.2" }], "pid": null });
        let line = rendered("{{ name }} {{ nics[0].address }} {{ pid | tojson }}", &value).unwrap();
        assert_eq!(line, "a 10.0.0.2 null");
        let listed = rendered("{% for nic in nics %}{{ nic.address }};{% endfor %}", &value).unwrap();
        assert_eq!(listed, "10.0.0.2;");
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let value = serde_json::json!({ "name": "a" });
        let Err(Failure::Problem(problem)) = rendered("{{ nmae }}", &value) else {
            panic!("it was filled in");
        };
        assert_eq!(problem.kind.exit_status(), 2);
        assert!(problem.hint.unwrap().contains("there are: name;"));
        compiled("{{ name").unwrap_err();
    }
}
