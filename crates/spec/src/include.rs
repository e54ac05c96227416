//! `include:` other files, and what the including file says besides.
//!
//! An included file is a cluster file, too, but needs not be whole. What is included comes first, in its order; the including file is laid
//! over it: a network, a machine or `defaults` key by key, a variable and everything else at once. So a list such as
//! `forwards` is replaced, not made longer. Paths start at the folder of the file that they stand in.
//!
//! Bounds: [`MAX_FILES`] files, [`MAX_DEPTH`] deep, each as long as a cluster file may be, all together with as many
//! values. A file that includes itself is refused, on whatever way it does; one that is included twice is read twice.

use std::path::{Path, PathBuf};

use crate::Source;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::files::normal;
use crate::read::{FromYaml, Spot, wrong_kind};
use crate::yaml::{self, Kind, MAX_NODES, Node};

const MAX_FILES: usize = 64;
const MAX_DEPTH: usize = 16;

/// The key.
pub(crate) const KEY: &str = "include";

/// Reads a file that is included: its path from the folder of the first one, to its text or why there is none.
pub type Reader<'a> = dyn FnMut(&Path) -> Result<String, String> + 'a;

/// One path or several.
#[derive(Debug)]
pub(crate) struct Include(Vec<Spot<PathBuf>>);

impl FromYaml for Include {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let items = match &node.kind {
            Kind::List(items) => items.as_slice(),
            Kind::Scalar { .. } => std::slice::from_ref(node),
            Kind::Null | Kind::Map(_) => return wrong_kind(node, what, "a path or a list of paths", report),
        };
        let paths = items.iter().filter_map(|item| {
            let value = PathBuf::from_yaml(item, "a path to include", report)?;
            Some(Spot {
                value,
                span: item.span.clone(),
            })
        });
        Some(Self(paths.collect()))
    }
}

/// The tree of a file with all that it includes; what is wrong is in the report.
pub(crate) fn load(source: &Source<'_>, text: &str, read: &mut Reader<'_>, report: &mut Report) -> Node {
    let shown = Path::new(source.file);
    let root = PathBuf::from(shown.file_name().unwrap_or_default());
    let mut loader = Loader {
        shown,
        read,
        report,
        chain: Vec::new(),
        values: 0,
    };
    loader.file(root, source.file.to_owned(), text.to_owned())
}

struct Loader<'a, 'r> {
    /// What messages call the first file.
    shown: &'a Path,
    read: &'a mut Reader<'r>,
    report: &'a mut Report,
    /// The files that are being read, each included by the one before it.
    chain: Vec<PathBuf>,
    /// How many there are so far in all files.
    values: usize,
}

impl Loader<'_, '_> {
    fn file(&mut self, path: PathBuf, name: String, text: String) -> Node {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let base = self.report.files.add(name, folder, text.clone());
        let nothing = Node {
            span: base..base,
            kind: Kind::Null,
        };
        let mut own = match yaml::parse_at(&text, base) {
            Ok(node) => node,
            Err(diagnostic) => {
                self.report.push(diagnostic);
                return nothing;
            }
        };
        self.values += own.size();
        if self.values > MAX_NODES {
            let title = format!("the file has more than {MAX_NODES} values with all that it includes");
            self.report.push(Diagnostic::new(title, own.span));
            return nothing;
        }
        self.chain.push(path);
        let mut included = None;
        for include in take_includes(&mut own, self.report) {
            if let Some(node) = self.included(include) {
                included = Some(match included {
                    Some(before) => lay_over(before, node, 0),
                    None => node,
                });
            }
        }
        self.chain.pop();
        match included {
            Some(included) => lay_over(included, own, 0),
            None => own,
        }
    }

    fn included(&mut self, include: Spot<PathBuf>) -> Option<Node> {
        // Where it stands, it starts at its own file's folder.
        let path = normal(&include.value);
        let shown = normal(&self.shown.parent().unwrap_or(Path::new("")).join(&path));
        let shown = shown.display().to_string();
        if let Some(refusal) = self.refusal(&path, &include.span) {
            self.report.push(refusal);
            return None;
        }
        match (self.read)(&path) {
            Ok(text) => Some(self.file(path, shown, text)),
            Err(cause) => {
                let title = format!("cannot read the included file {shown}: {cause}");
                let diagnostic = Diagnostic::new(title, include.span);
                let hint = "paths start at the folder of the file that they stand in".to_owned();
                self.report.push(diagnostic.with_hint(hint));
                None
            }
        }
    }

    fn refusal(&self, path: &Path, span: &Span) -> Option<Diagnostic> {
        let title = if self.chain.iter().any(|open| open == path) {
            let names = self.chain.iter().map(PathBuf::as_path).chain([path]);
            let names: Vec<_> = names.map(|name| name.display().to_string()).collect();
            format!("{} includes itself: {}", path.display(), names.join(" -> "))
        } else if self.chain.len() == MAX_DEPTH {
            format!("files are included more than {MAX_DEPTH} levels deep")
        } else if self.report.files.len() == MAX_FILES {
            format!("more than {MAX_FILES} files are read")
        } else {
            return None;
        };
        Some(Diagnostic::new(title, span.clone()))
    }
}

/// Takes the key from a file's tree; given twice it stays, for whoever reports that.
fn take_includes(file: &mut Node, report: &mut Report) -> Vec<Spot<PathBuf>> {
    let Kind::Map(entries) = &mut file.kind else {
        return Vec::new();
    };
    let is_include = |(key, _): &(Node, Node)| key.text() == Some(KEY);
    if entries.iter().filter(|entry| is_include(entry)).count() != 1 {
        return Vec::new();
    }
    let Some(at) = entries.iter().position(is_include) else {
        return Vec::new();
    };
    let (_, value) = entries.remove(at);
    Include::from_yaml(&value, KEY, report).map_or_else(Vec::new, |include| include.0)
}

/// How deep mappings are laid over each other, as seen from a file: its sections, their entries, the entries' keys.
fn is_laid_over(depth: usize, section: &str) -> bool {
    match section {
        "machines" | "networks" => depth < 3,
        "variables" | "defaults" => depth < 2,
        _ => depth < 1,
    }
}

/// Two files, of which the second one counts where both say something.
fn lay_over(below: Node, above: Node, depth: usize) -> Node {
    lay_over_in(below, above, depth, "")
}

fn lay_over_in(below: Node, above: Node, depth: usize, section: &str) -> Node {
    let (mut entries, mut own) = match (below.kind, above.kind) {
        (Kind::Map(below), Kind::Map(above)) if is_laid_over(depth, section) => (below, above),
        // `machines:` and `a:` with nothing behind them say nothing.
        (kind @ Kind::Map(_), Kind::Null) if is_laid_over(depth, section) => {
            return Node {
                span: above.span,
                kind,
            };
        }
        (_, kind) => {
            return Node {
                span: above.span,
                kind,
            };
        }
    };
    for (key, value) in &mut entries {
        let Some(name) = key.text().map(str::to_owned) else {
            continue;
        };
        let section = if depth == 0 { name.as_str() } else { section };
        if let Some(at) = own.iter().position(|(key, _)| key.text() == Some(name.as_str())) {
            let (own_key, own_value) = own.remove(at);
            let below = std::mem::replace(
                value,
                Node {
                    span: 0..0,
                    kind: Kind::Null,
                },
            );
            *value = lay_over_in(below, own_value, depth + 1, section);
            *key = own_key;
        }
    }
    entries.append(&mut own);
    Node {
        span: above.span,
        kind: Kind::Map(entries),
    }
}

/// A machine's keys with others laid over them, key by key.
pub(crate) fn lay_over_machine(below: Node, above: Node) -> Node {
    lay_over_in(below, above, 2, "machines")
}
