//! QEMU's `key=value,key=value` option syntax, and a command line as the shell reads it.
//!
//! In an option a comma ends the value, and a comma in a value is written twice (QEMU `util/qemu-option.c`).
//! Values are bytes, because paths are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// One option argument under construction.
#[derive(Clone, Debug)]
pub(crate) struct OptionArg(Vec<u8>);

impl OptionArg {
    /// Starts with a bare first value, such as the driver of a `-device`. It is trusted to be option syntax.
    pub(crate) fn new(head: &str) -> Self {
        Self(head.as_bytes().to_vec())
    }

    /// Adds `key=value` with the value's commas doubled.
    pub(crate) fn set(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
        for &byte in value.as_ref().as_bytes() {
            if byte == b',' {
                self.0.push(b',');
            }
            self.0.push(byte);
        }
        self
    }

    pub(crate) fn finish(self) -> OsString {
        OsString::from_vec(self.0)
    }
}

/// Quotes words so that a POSIX shell reads exactly them again.
///
/// Words of plain characters stay as they are; others stand in single quotes, where only the single quote itself
/// is special.
#[must_use]
pub fn shell_line<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> OsString {
    let mut line = Vec::new();
    for word in words {
        if !line.is_empty() {
            line.push(b' ');
        }
        push_quoted(&mut line, word.as_bytes());
    }
    OsString::from_vec(line)
}

fn push_quoted(line: &mut Vec<u8>, word: &[u8]) {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_./:,=+@%".contains(b);
    // A first word with `=` would be read as an assignment, so `=` is plain only after an option's dash or later.
    if !word.is_empty() && word.iter().all(plain) && !(line.is_empty() && word.contains(&b'=')) {
        line.extend_from_slice(word);
        return;
    }
    line.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' => line.extend_from_slice(br"'\''"),
            _ => line.push(byte),
        }
    }
    line.push(b'\'');
}
