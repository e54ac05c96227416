//! A tree as text: YAML for people, JSON for programs.
//!
//! Both read back as the same tree, but for places. A plain scalar stays plain where that is safe for any reader of YAML; one in quotes
//! keeps them; text of several lines is a block where no space at the edges could get lost.

use std::fmt::Write;

use crate::yaml::{Kind, Node};

/// As YAML, two spaces a level.
pub(crate) fn yaml(node: &Node) -> String {
    let mut out = String::new();
    match &node.kind {
        Kind::Map(entries) if !entries.is_empty() => map(&mut out, entries, 0),
        Kind::List(items) if !items.is_empty() => list(&mut out, items, 0),
        _ => {
            flow(&mut out, node, 0);
            out.push('\n');
        }
    }
    out
}

fn map(out: &mut String, entries: &[(Node, Node)], level: usize) {
    for (key, value) in entries {
        indent(out, level);
        map_entry(out, key, value, level);
    }
}

fn map_entry(out: &mut String, key: &Node, value: &Node, level: usize) {
    flow(out, key, level);
    out.push(':');
    match &value.kind {
        Kind::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            map(out, entries, level + 1);
        }
        Kind::List(items) if !items.is_empty() => {
            out.push('\n');
            list(out, items, level + 1);
        }
        Kind::Null => out.push('\n'),
        _ => {
            out.push(' ');
            block_or_flow(out, value, level + 1);
        }
    }
}

fn list(out: &mut String, items: &[Node], level: usize) {
    for item in items {
        indent(out, level);
        out.push_str("- ");
        match &item.kind {
            Kind::Map(entries) if !entries.is_empty() => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        indent(out, level + 1);
                    }
                    map_entry(out, key, value, level + 1);
                }
            }
            Kind::List(items) if !items.is_empty() => {
                out.pop();
                out.push('\n');
                list(out, items, level + 1);
            }
            _ => block_or_flow(out, item, level + 1),
        }
    }
}

fn block_or_flow(out: &mut String, node: &Node, level: usize) {
    let block = node.text().filter(|text| is_block(text));
    let Some(text) = block else {
        flow(out, node, level);
        out.push('\n');
        return;
    };
    out.push_str(if text.ends_with('\n') { "|\n" } else { "|-\n" });
    for line in text.lines() {
        if !line.is_empty() {
            indent(out, level);
        }
        out.push_str(line);
        out.push('\n');
    }
}

/// What fits on a line.
fn flow(out: &mut String, node: &Node, _level: usize) {
    match &node.kind {
        Kind::Null => out.push_str("null"),
        Kind::Scalar { text, plain: true } if is_plain(text) => out.push_str(text),
        Kind::Scalar { text, .. } => out.push_str(&in_quotes(text)),
        Kind::List(_) => out.push_str("[]"),
        Kind::Map(_) => out.push_str("{}"),
    }
}

/// Whether every reader takes it as it is, without quotes.
fn is_plain(text: &str) -> bool {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || "_./~@+=%,:-".contains(c);
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_./".contains(c));
    begins_well
        && text.chars().all(is_fit)
        && !text.ends_with(':')
        && !matches!(text, "null" | "Null" | "NULL")
        && !text.starts_with("..")
}

fn is_block(text: &str) -> bool {
    let is_printable = |c: char| c == '\n' || c == ' ' || (c.is_ascii_graphic() || c.is_alphanumeric());
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with("\n\n")
        && text.chars().all(is_printable)
        && !text.lines().any(|line| line.ends_with(' '))
}

/// A JSON string, which YAML reads as well; what only one of them takes as it is, is escaped.
fn in_quotes(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            ' ' => quoted.push(' '),
            c if c.is_ascii_graphic() || c.is_alphanumeric() => quoted.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

/// As JSON, two spaces a level. Whole numbers and truth values are what they are there.
pub(crate) fn json(node: &Node) -> String {
    let mut out = String::new();
    json_node(&mut out, node, 0);
    out.push('\n');
    out
}

fn json_node(out: &mut String, node: &Node, level: usize) {
    match &node.kind {
        Kind::Null => out.push_str("null"),
        Kind::Scalar { text, plain } if *plain && is_json_word(text) => out.push_str(text),
        Kind::Scalar { text, .. } => out.push_str(&in_quotes(text)),
        Kind::List(items) => {
            let write = |out: &mut String, item: &Node| json_node(out, item, level + 1);
            json_items(out, ('[', ']'), items, level, write);
        }
        Kind::Map(entries) => {
            let write = |out: &mut String, (key, value): &(Node, Node)| {
                out.push_str(&in_quotes(key.text().unwrap_or_default()));
                out.push_str(": ");
                json_node(out, value, level + 1);
            };
            json_items(out, ('{', '}'), entries, level, write);
        }
    }
}

fn json_items<T>(
    out: &mut String,
    (open, close): (char, char),
    items: &[T],
    level: usize,
    write: impl Fn(&mut String, &T),
) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        indent(out, level + 1);
        write(out, item);
    }
    if !items.is_empty() {
        out.push('\n');
        indent(out, level);
    }
    out.push(close);
}

/// `true`, `false`, and numbers that are the same in JSON.
fn is_json_word(text: &str) -> bool {
    let is_number = text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
    matches!(text, "true" | "false") || text == "0" || is_number && !text.is_empty() && !text.starts_with('0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml::parse;

    /// The tree without places and, where `with_plain` is not set, without what quotes tell.
    fn shape(node: &Node) -> String {
        match &node.kind {
            Kind::Null => "null".to_owned(),
            Kind::Scalar { text, plain } => {
                format!("{text:?}{}", if *plain && is_json_word(text) { "!" } else { "" })
            }
            Kind::List(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
            Kind::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| format!("{}:{}", shape(key), shape(value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }
        }
    }

    fn of(kind: Kind) -> Node {
        Node { span: 0..0, kind }
    }

    fn any_tree() -> impl Strategy<Value = Node> {
        let text = prop_oneof![
            any::<String>(),
            "[a-z \n#:|>$-]{0,12}",
            "true|null|~|3|007|a: b|- a|\"|'|52:54:00:12:34:56|2026-11-24|<<|&a|\\*a|!a|%a|@a|`a|a #b|\u{7f}|\u{85}|\u{feff}",
        ];
        let scalar = (text, any::<bool>()).prop_map(|(text, plain)| {
            // What is plain was read so.
            let plain = plain && is_plain(&text);
            of(Kind::Scalar { text, plain })
        });
        let leaf = prop_oneof![9 => scalar, 1 => Just(of(Kind::Null))];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let key = "[a-z]{1,3}|a b|1".prop_map(|text| of(Kind::Scalar { text, plain: false }));
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|items| of(Kind::List(items))),
                prop::collection::vec((key, inner), 0..5).prop_map(|entries| of(Kind::Map(entries))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(tree in any_tree()) {
            for text in [yaml(&tree), json(&tree)] {
                let read = parse(&text).map_err(|error| TestCaseError::fail(format!("{}\n{text}", error.title())))?;
                prop_assert_eq!(shape(&read), shape(&tree), "{}", text);
            }
        }
    }
}
