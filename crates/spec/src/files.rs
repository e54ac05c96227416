//! The cluster file and what it includes, in one row of bytes.
//!
//! Each file begins where the one before it ends, one byte apart, so that a place in any of them is one number and everything
//! that points into a file needs not know into which.

use std::path::{Component, Path, PathBuf};

use crate::diagnostic::Span;

/// All that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files(Vec<File>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// What messages call it.
    pub(crate) name: String,
    /// Its folder, from that of the first file; empty for that one's own.
    folder: PathBuf,
    pub(crate) text: String,
    base: usize,
}

impl File {
    /// A span of it in bytes of its own text.
    pub(crate) fn within(&self, span: &Span) -> Span {
        span.start.saturating_sub(self.base)..span.end.saturating_sub(self.base)
    }
}

impl Files {
    /// One file that includes no others.
    pub(crate) fn single(name: &str, text: &str) -> Self {
        let mut files = Self::default();
        files.add(name.to_owned(), PathBuf::new(), text.to_owned());
        files
    }

    /// Adds a file, and gives the place of its first byte.
    pub(crate) fn add(&mut self, name: String, folder: PathBuf, text: String) -> usize {
        let base = self.0.last().map_or(0, |last| last.base + last.text.len() + 1);
        self.0.push(File {
            name,
            folder,
            text,
            base,
        });
        base
    }

    /// Which file a place is in: its number.
    pub(crate) fn place(&self, at: usize) -> usize {
        self.0.partition_point(|file| file.base <= at).saturating_sub(1)
    }

    /// The file of this number, which [`Files::place`] gave.
    pub(crate) fn get(&self, number: usize) -> &File {
        &self.0[number]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The text from a place to the end of its file.
    pub(crate) fn text_from(&self, at: usize) -> &str {
        let Some(file) = self.0.get(self.place(at)) else {
            return "";
        };
        file.text.get(at - file.base..).unwrap_or_default()
    }

    /// A path that stands at a place, from the first file's folder.
    pub(crate) fn rebase(&self, span: &Span, path: PathBuf) -> PathBuf {
        let Some(file) = self.0.get(self.place(span.start)) else {
            return path;
        };
        if file.folder.as_os_str().is_empty() || path.has_root() || path.starts_with("~") {
            return path;
        }
        let path = normal(&file.folder.join(path));
        // What has no slash might be read as something else than a path.
        if path.parent().is_some_and(|parent| parent.as_os_str().is_empty()) {
            Path::new(".").join(path)
        } else {
            path
        }
    }
}

/// A path without `.`, and without `..` after a name. Symbolic links are taken for the folders they look like.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(normal.components().next_back(), Some(Component::Normal(_))) => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_in_the_file_that_has_it() {
        let mut files = Files::single("a", "12");
        let base = files.add("b".to_owned(), "d".into(), "345".to_owned());
        let name = |at| files.get(files.place(at)).name.as_str();
        assert_eq!(
            [name(0), name(2), name(base), name(base + 3), name(99)],
            ["a", "a", "b", "b", "b"]
        );
        assert_eq!(files.text_from(base + 1), "45");
        assert_eq!(files.get(1).within(&(base + 1..base + 2)), 1..2);
    }

    #[test]
    fn paths_of_an_included_file_start_at_its_folder() {
        let mut files = Files::single("a", "");
        let below = files.add("b".to_owned(), "base/k8s".into(), String::new());
        let above = files.add("c".to_owned(), "..".into(), String::new());
        let at = |at: usize, path: &str| files.rebase(&(at..at), path.into());
        assert_eq!(at(0, "./x"), Path::new("./x"));
        assert_eq!(at(below, "./x"), Path::new("base/k8s/x"));
        assert_eq!(at(below, "../../x"), Path::new("./x"));
        assert_eq!(at(below, "/x"), Path::new("/x"));
        assert_eq!(at(below, "~/x"), Path::new("~/x"));
        assert_eq!(at(above, "x"), Path::new("../x"));
    }
}
