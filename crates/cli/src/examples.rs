//! The examples of `--help` are commands that there are.

use clap::{CommandFactory, Parser};

use crate::Cli;

/// Every command that a user sees and that does something itself, with the words that lead to it.
fn commands(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
    let mut below = command
        .get_subcommands()
        .filter(|it| !it.is_hide_set() && it.get_name() != "help")
        .peekable();
    if below.peek().is_none() {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        found.push((path.to_owned(), help));
    }
    for it in below {
        commands(it, &format!("{path} {}", it.get_name()), found);
    }
}

/// The lines of the example, without what is said beside them; one that ends with a backslash goes on in the next.
fn examples(help: &str) -> Vec<String> {
    let help = help.replace("\\\n", " ");
    let lines = help.lines().skip_while(|line| *line != "Example:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .map(|line| line.trim().split("   ").next().unwrap_or_default().to_owned())
        .collect()
}

/// The words of each of our commands in a line of a shell: enough of its syntax for examples.
fn calls(line: &str) -> Vec<Vec<String>> {
    let (mut calls, mut words, mut word, mut quote) = (Vec::new(), Vec::new(), None::<String>, None);
    let mut characters = line.chars().chain([' ', ';']).peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(end), c) if c == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | '&' | ';' | '>' | '<' | '(' | ')') => {
                words.extend(word.take());
                calls.push(std::mem::take(&mut words));
            }
            (None, '#') if word.is_none() => while characters.next_if(|c| *c != ';').is_some() {},
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    calls.retain(|words: &Vec<String>| words.first().is_some_and(|first| first == "atoll"));
    calls
}

#[test]
fn every_command_has_an_example_that_it_takes() {
    let mut found = Vec::new();
    commands(&Cli::command(), "atoll", &mut found);
    let mut wrong = Vec::new();
    for (path, help) in found {
        let calls: Vec<_> = examples(&help).iter().flat_map(|line| calls(line)).collect();
        if !calls.iter().any(|words| words.join(" ").starts_with(&path)) {
            wrong.push(format!("{path} has no example"));
        }
        for words in calls {
            if let Err(error) = Cli::try_parse_from(&words) {
                wrong.push(format!("{path}: {}: {error}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
