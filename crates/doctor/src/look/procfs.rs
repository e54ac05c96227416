//! What the kernel's files say: settings, processes, tables.

use std::fs;
use std::path::Path;
use std::str::FromStr;

/// A setting below `/proc/sys`, such as `net/ipv4/ip_forward`; `None` where this kernel has none or does not tell.
pub(crate) fn setting<T: FromStr>(name: &str) -> Option<T> {
    word(format!("/proc/sys/{name}"))
}

/// The only word of a small file.
pub(crate) fn word<T: FromStr>(path: impl AsRef<Path>) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A setting of two numbers.
pub(crate) fn pair<T: FromStr>(name: &str) -> Option<(T, T)> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

/// The names of the processes that can be seen, as the kernel keeps them: 15 bytes at most.
pub(crate) fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = entries.filter(|it| {
        let name = it.file_name();
        name.to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    });
    numbered.filter_map(|it| word(it.path().join("comm"))).collect()
}
