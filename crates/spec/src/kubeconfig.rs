//! A kubeconfig of a guest's made fit for the host, and put into a file of the user's beside what is there.
//!
//! **What is taken.** The text comes from a guest, and `kubectl` runs programs and reads files that such a file names (`exec`,
//! `auth-provider`, `tokenFile`, `proxy-url`). So [`Admin::parse`] takes what the current context leads to, and of that only the server,
//! certificates and keys in the file itself, tokens and passwords; anything else is refused by its name. Where `kubectl` connects to is ours
//! to say: the server's host stays as `tls-server-name` alone, since it is a name that the server's certificate has, which the host's forward
//! is not.
//!
//! **What is put in** is a cluster, a user and a context of one name, at the end of their lists; all else stays byte for byte. Only lists in
//! block style are edited, as `kubectl` and its like write them. The new text is read back and must say what the old one did with the three
//! entries in it, else nothing is changed ([`KubeconfigError::Unusual`]).
//!
//! Bounds are those of a cluster file: 1 MiB, 20 000 values, 32 levels.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use crate::write;
use crate::yaml::{self, Kind, Node};

/// The lists of a kubeconfig, and what an entry of each holds beside its name.
const LISTS: [(&str, &str); 3] = [
    ("clusters", "cluster"),
    ("users", "user"),
    ("contexts", "context"),
];

const CURRENT: &str = "current-context";

/// What is taken of a cluster beside its server.
const CLUSTER_KEYS: [&str; 2] = ["certificate-authority-data", "tls-server-name"];

/// What is taken of a user.
const USER_KEYS: [&str; 5] = [
    "client-certificate-data",
    "client-key-data",
    "token",
    "username",
    "password",
];

/// Why a kubeconfig is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum KubeconfigError {
    #[error("it is no YAML that could be read: {0}")]
    NoYaml(String),
    #[error("it has no {0}")]
    Missing(String),
    #[error("its {0} is not taken from a guest")]
    Refused(String),
    #[error("its server {0:?} is no https:// address")]
    Server(String),
    #[error(
        "it is not written as kubectl writes it, so that nothing can be put into it without changing the rest"
    )]
    Unusual,
}

/// The way into a cluster as its control plane tells it.
#[derive(Clone, PartialEq, Eq)]
pub struct Admin {
    host: String,
    port: u16,
    cluster: Vec<(String, String)>,
    user: Vec<(String, String)>,
}

impl std::fmt::Debug for Admin {
    /// Without its secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, .. } = self;
        f.debug_struct("Admin")
            .field("host", host)
            .field("port", port)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// Reads what the current context, or the only one, leads to.
    ///
    /// # Errors
    /// It is no kubeconfig, lacks a part, or has one that is not taken from a guest.
    pub fn parse(text: &str) -> Result<Self, KubeconfigError> {
        let root = read(text)?;
        let current = root.get(CURRENT).and_then(Node::text).filter(|it| !it.is_empty());
        let context = match (current, items(&root, "contexts")) {
            (None, [only]) => only.get("context"),
            (None, _) => None,
            (Some(name), _) => entry(&root, "contexts", "context", name),
        };
        let context = context.ok_or_else(|| KubeconfigError::Missing("context to be used".to_owned()))?;
        let part = |list: &str, key: &str| {
            let name = context.get(key).and_then(Node::text);
            let found = name.and_then(|name| entry(&root, list, key, name));
            found.ok_or_else(|| KubeconfigError::Missing(format!("{key} for its context")))
        };
        let (cluster, user) = (part("clusters", "cluster")?, part("users", "user")?);
        let mut cluster = texts(cluster, &[&["server"], &CLUSTER_KEYS[..]].concat())?;
        let user = texts(user, &USER_KEYS)?;
        let server = cluster.iter().position(|(key, _)| key == "server");
        let server = server.ok_or_else(|| KubeconfigError::Missing("server".to_owned()))?;
        let (_, server) = cluster.remove(server);
        let (host, port) = host_and_port(&server).ok_or(KubeconfigError::Server(server))?;
        Ok(Self {
            host,
            port,
            cluster,
            user,
        })
    }

    /// The port of the guest at which the API server is.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same under a name, reached at an address of the host's.
    pub fn entry(&self, name: &str, at: SocketAddr) -> Entry {
        let mut cluster = vec![("server".to_owned(), format!("https://{at}"))];
        cluster.extend(self.cluster.iter().cloned());
        if !cluster.iter().any(|(key, _)| key == "tls-server-name") {
            cluster.push(("tls-server-name".to_owned(), self.host.clone()));
        }
        Entry {
            name: name.to_owned(),
            cluster,
            user: self.user.clone(),
        }
    }
}

/// A cluster, a user and a context of one name.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    name: String,
    cluster: Vec<(String, String)>,
    user: Vec<(String, String)>,
}

impl std::fmt::Debug for Entry {
    /// Without its secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// A kubeconfig of this entry alone.
    pub fn alone(&self) -> String {
        let lists = LISTS.iter().map(|(list, _)| {
            let item = self.item(list);
            (word(list), node(Kind::List(vec![item])))
        });
        let head = [
            (word("apiVersion"), word("v1")),
            (word("kind"), word("Config")),
            (word(CURRENT), text(&self.name)),
        ];
        write::yaml(&node(Kind::Map(head.into_iter().chain(lists).collect())))
    }

    /// A kubeconfig with this entry in it, in place of those of its name. It becomes the current context where there is none, or where `make_current`
    /// says so.
    ///
    /// # Errors
    /// The text cannot be read, or not be edited without changing the rest.
    pub fn merged_into(&self, old: &str, make_current: bool) -> Result<String, KubeconfigError> {
        let root = read(old)?;
        let is_empty =
            matches!(&root.kind, Kind::Null) || matches!(&root.kind, Kind::Map(it) if it.is_empty());
        if is_empty {
            return Ok(self.alone());
        }
        let current = root.get(CURRENT).and_then(Node::text).unwrap_or_default();
        let make_current = make_current || current.is_empty();
        let mut wanted = value_without(&root, &self.name)?;
        let mut new = old.to_owned();
        for (list, _) in LISTS {
            new = cut(&new, list, &self.name)?;
            new = add(&new, list, &self.item(list))?;
            push(&mut wanted, list, value(&self.item(list)))?;
        }
        if make_current {
            new = set_current(&new, &self.name)?;
            wanted.insert(CURRENT.to_owned(), self.name.clone().into());
        }
        proven(new, &wanted)
    }

    fn item(&self, list: &str) -> Node {
        let map = |entries: &[(String, String)]| {
            let entries = entries.iter().map(|(key, value)| (word(key), text(value)));
            node(Kind::Map(entries.collect()))
        };
        let (key, held) = match list {
            "clusters" => ("cluster", map(&self.cluster)),
            "users" => ("user", map(&self.user)),
            _ => {
                let both = ["cluster", "user"].map(|key| (word(key), text(&self.name)));
                ("context", node(Kind::Map(both.into())))
            }
        };
        node(Kind::Map(vec![
            (word("name"), text(&self.name)),
            (word(key), held),
        ]))
    }
}

/// Whether there is a cluster, user or context of this name.
///
/// # Errors
/// The text cannot be read.
pub fn has(old: &str, name: &str) -> Result<bool, KubeconfigError> {
    let root = read(old)?;
    Ok(LISTS
        .iter()
        .any(|(list, _)| items(&root, list).iter().any(|item| is_named(item, name))))
}

/// A kubeconfig without cluster, user and context of this name, and with no current context if that was the one.
///
/// # Errors
/// The text cannot be read, or not be edited without changing the rest.
pub fn without(old: &str, name: &str) -> Result<String, KubeconfigError> {
    let root = read(old)?;
    if !has(old, name)? {
        return Ok(old.to_owned());
    }
    let mut wanted = value_without(&root, name)?;
    let mut new = old.to_owned();
    for (list, _) in LISTS {
        new = cut(&new, list, name)?;
    }
    if root.get(CURRENT).and_then(Node::text) == Some(name) {
        new = set_current(&new, "")?;
        wanted.insert(CURRENT.to_owned(), "".into());
    }
    proven(new, &wanted)
}

fn read(text: &str) -> Result<Node, KubeconfigError> {
    yaml::parse(text).map_err(|error| KubeconfigError::NoYaml(error.title().to_owned()))
}

/// [`read`] for what came of an edit.
fn reread(text: &str) -> Result<Node, KubeconfigError> {
    yaml::parse(text).map_err(|_| KubeconfigError::Unusual)
}

fn items<'n>(root: &'n Node, list: &str) -> &'n [Node] {
    match root.get(list).map(|node| &node.kind) {
        Some(Kind::List(items)) => items,
        _ => &[],
    }
}

fn is_named(item: &Node, name: &str) -> bool {
    item.get("name").and_then(Node::text) == Some(name)
}

fn entry<'n>(root: &'n Node, list: &str, key: &str, name: &str) -> Option<&'n Node> {
    items(root, list)
        .iter()
        .find(|item| is_named(item, name))?
        .get(key)
}

/// A mapping from known keys to texts; one with another key, or with a key twice, is refused.
fn texts(map: &Node, known: &[&str]) -> Result<Vec<(String, String)>, KubeconfigError> {
    let Kind::Map(entries) = &map.kind else {
        return Ok(Vec::new());
    };
    let taken = entries.iter().enumerate().map(|(at, (key, value))| {
        let key = key.text().unwrap_or_default();
        let is_new = entries[..at].iter().all(|(other, _)| other.text() != Some(key));
        match value.text().filter(|_| is_new && known.contains(&key)) {
            Some(value) => Ok((key.to_owned(), value.to_owned())),
            None => Err(KubeconfigError::Refused(key.to_owned())),
        }
    });
    taken.collect()
}

/// Host, without brackets, and port of an https URL (RFC 3986, 3.2); 443 where it names none.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let authority = url.strip_prefix("https://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port {
        "" => 443,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    (!host.is_empty() && host.chars().all(is_host)).then(|| (host.to_owned(), port))
}

fn node(kind: Kind) -> Node {
    Node { span: 0..0, kind }
}

/// A key or a word of ours, which needs no quotes.
fn word(word: &str) -> Node {
    node(Kind::Scalar {
        text: word.to_owned(),
        plain: true,
    })
}

/// A text, in quotes, so that nobody takes it for a number.
fn text(text: &str) -> Node {
    node(Kind::Scalar {
        text: text.to_owned(),
        plain: false,
    })
}

/// What a node says, wherever it stands and however it is spelt.
fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Null => Value::Null,
        // A plain one may mean a number: that it stays plain counts, too.
        Kind::Scalar { text, plain: true }
            if text.parse::<f64>().is_ok() || matches!(&**text, "true" | "false") =>
        {
            json!({ "plain": text })
        }
        Kind::Scalar { text, .. } => text.as_str().into(),
        Kind::List(items) => items.iter().map(value).collect(),
        Kind::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, held)| (key.text().unwrap_or_default().to_owned(), value(held)));
            Value::Object(entries.collect())
        }
    }
}

/// What a kubeconfig shall say once a name is taken out.
fn value_without(root: &Node, name: &str) -> Result<Map<String, Value>, KubeconfigError> {
    let Value::Object(mut wanted) = value(root) else {
        return Err(KubeconfigError::Unusual);
    };
    for (list, _) in LISTS {
        if let Some(Value::Array(items)) = wanted.get_mut(list) {
            items.retain(|item| item["name"] != name);
        }
    }
    Ok(wanted)
}

fn push(wanted: &mut Map<String, Value>, list: &str, item: Value) -> Result<(), KubeconfigError> {
    let held = wanted.entry(list).or_insert(Value::Null);
    if held.is_null() {
        *held = Value::Array(Vec::new());
    }
    match held {
        Value::Array(items) => items.push(item),
        _ => return Err(KubeconfigError::Unusual),
    }
    Ok(())
}

/// The new text, if it says what it shall. A list without items is as good as none.
fn proven(new: String, wanted: &Map<String, Value>) -> Result<String, KubeconfigError> {
    let plain = |mut map: Map<String, Value>| {
        for (list, _) in LISTS {
            if map.get(list).is_some_and(|list| *list == json!([])) {
                map.insert(list.to_owned(), Value::Null);
            }
        }
        map
    };
    match value(&reread(&new)?) {
        Value::Object(said) if plain(said.clone()) == plain(wanted.clone()) => Ok(new),
        _ => Err(KubeconfigError::Unusual),
    }
}

/// A key of the top level in block style: its lines, from its own to the next key's, by byte.
struct Section {
    /// Where the line of the key begins.
    start: usize,
    /// Where its first line ends, behind the line's end.
    head_end: usize,
    /// Behind its last line that is no comment and not empty.
    end: usize,
    /// Where each item's line begins.
    items: Vec<usize>,
    /// By how much items are indented.
    indent: usize,
}

/// Where each line begins, and the line with its end.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

fn section(text: &str, key: &str) -> Option<Section> {
    let is_key = |line: &str| {
        let rest = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    };
    let mut rest = lines(text).skip_while(|(_, line)| !is_key(line));
    let (start, head) = rest.next()?;
    let mut found = Section {
        start,
        head_end: start + head.len(),
        end: start + head.len(),
        items: Vec::new(),
        indent: 0,
    };
    for (at, line) in rest {
        let said = line.trim();
        if said.is_empty() || said.starts_with('#') {
            continue;
        }
        let indent = line.len() - line.trim_start_matches(' ').len();
        let is_item = said == "-" || said.starts_with("- ");
        if indent == 0 && !is_item {
            break;
        }
        if found.items.is_empty() {
            found.indent = indent;
        }
        if is_item && indent == found.indent {
            found.items.push(at);
        }
        found.end = at + line.len();
    }
    Some(found)
}

/// The text without the items of a list that have a name.
fn cut(text: &str, list: &str, name: &str) -> Result<String, KubeconfigError> {
    let root = reread(text)?;
    let held = items(&root, list);
    if !held.iter().any(|item| is_named(item, name)) {
        return Ok(text.to_owned());
    }
    let place = section(text, list).filter(|place| place.items.len() == held.len());
    let place = place.ok_or(KubeconfigError::Unusual)?;
    let ends = place.items.iter().skip(1).copied().chain([place.end]);
    let mut kept = text[..place.head_end].to_owned();
    kept.push_str(&text[place.head_end..place.items[0]]);
    for ((start, end), item) in place.items.iter().zip(ends).zip(held) {
        if !is_named(item, name) {
            kept.push_str(&text[*start..end]);
        }
    }
    kept.push_str(&text[place.end..]);
    Ok(kept)
}

/// The text with an item more at the end of a list.
fn add(text: &str, list: &str, item: &Node) -> Result<String, KubeconfigError> {
    let written = write::yaml(&node(Kind::List(vec![item.clone()])));
    let root = reread(text)?;
    let Some(place) = section(text, list) else {
        let line_end = if text.ends_with('\n') { "" } else { "\n" };
        return Ok(format!("{text}{line_end}{list}:\n{written}"));
    };
    let indent = " ".repeat(place.indent);
    let indented: String = written.lines().flat_map(|line| [&indent, line, "\n"]).collect();
    let (head, at) = match items(&root, list) {
        // The head may say `[]` or `null`, which has to go.
        [] => (format!("{list}:\n"), place.end),
        _ => (text[place.start..place.head_end].to_owned(), place.end),
    };
    let mut new = format!("{}{head}{}", &text[..place.start], &text[place.head_end..at]);
    if !new.ends_with('\n') {
        new.push('\n');
    }
    Ok(new + &indented + &text[at..])
}

/// The text with another current context.
fn set_current(text: &str, name: &str) -> Result<String, KubeconfigError> {
    let line = format!("{CURRENT}: {}\n", Value::from(name));
    match section(text, CURRENT) {
        Some(place) if place.end == place.head_end => Ok(format!(
            "{}{line}{}",
            &text[..place.start],
            &text[place.head_end..]
        )),
        Some(_) => Err(KubeconfigError::Unusual),
        None => {
            let line_end = if text.ends_with('\n') { "" } else { "\n" };
            Ok(format!("{text}{line_end}{line}"))
        }
    }
}

#[cfg(test)]
#[path = "kubeconfig_tests.rs"]
mod tests;
