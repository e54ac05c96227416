//! Kernel modules and the order they load in.
//!
//! A package's modules come without `modules.dep`: that is made where they are installed. But each module names what it
//! depends on in its `.modinfo` section, as NUL-terminated `key=value` strings, and the first `depends=` in the file is
//! it. Debian compresses modules from release 13 on (`.ko.xz`); they are unpacked, so that `insmod` needs no help.

use crate::build::BuildError;
use crate::unpack;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A module, ready to be loaded.
#[derive(Debug)]
pub(crate) struct Module {
    /// The kernel's name for it: `virtio_rng`, though its file is `virtio-rng.ko`.
    pub(crate) name: String,
    /// The ELF file.
    pub(crate) data: Vec<u8>,
}

/// The modules below a folder, by name.
#[derive(Debug)]
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
}

impl Modules {
    /// Finds all modules below `folder`.
    pub(crate) fn below(folder: &Path) -> Result<Self, BuildError> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(&folder).map_err(BuildError::file(&folder))?;
            for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = module_name(&path) {
                    files.insert(name, path);
                }
            }
        }
        Ok(Self { files })
    }

    /// The modules asked for and all they depend on, each after what it needs. A name that has no file is built into the
    /// kernel or not offered by it, and is left out.
    pub(crate) fn in_order(&self, wanted: &[&str]) -> Result<Vec<Module>, BuildError> {
        let mut ordered = Vec::new();
        let mut seen = Vec::new();
        for name in wanted {
            self.visit(name, &mut seen, &mut ordered)?;
        }
        Ok(ordered)
    }

    fn visit(&self, name: &str, seen: &mut Vec<String>, ordered: &mut Vec<Module>) -> Result<(), BuildError> {
        let name = name.replace('-', "_");
        let Some(path) = self.files.get(&name) else {
            return Ok(());
        };
        if seen.contains(&name) {
            return Ok(());
        }
        seen.push(name.clone());
        let data = unpack::read_all(path).map_err(BuildError::file(path))?;
        for dependency in dependencies(&data) {
            self.visit(&dependency, seen, ordered)?;
        }
        ordered.push(Module { name, data });
        Ok(())
    }
}

fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (stem, compression) = file.split_once(".ko")?;
    matches!(compression, "" | ".xz" | ".gz" | ".zst").then(|| stem.replace('-', "_"))
}

/// The names in a module's `depends=` string.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module.get(start.saturating_add(KEY.len())..).unwrap_or_default();
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_module(folder: &Path, file: &str, depends: &str) {
        std::fs::write(
            folder.join(file),
            format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0"),
        )
        .unwrap();
    }

    #[test]
    fn a_module_follows_all_it_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let net = folder.path().join("net");
        std::fs::create_dir(&net).unwrap();
        write_module(&net, "virtio_net.ko", "virtio_ring,net-failover");
        write_module(&net, "net_failover.ko", "failover");
        write_module(folder.path(), "failover.ko", "");
        write_module(folder.path(), "virtio_ring.ko", "");
        let modules = Modules::below(folder.path())
            .unwrap()
            .in_order(&["virtio_net", "e1000"])
            .unwrap();
        let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["virtio_ring", "failover", "net_failover", "virtio_net"]);
    }

    #[test]
    fn a_module_that_needs_itself_is_loaded_once() {
        let folder = tempfile::tempdir().unwrap();
        write_module(folder.path(), "a.ko", "b");
        write_module(folder.path(), "b.ko", "a");
        assert_eq!(
            Modules::below(folder.path())
                .unwrap()
                .in_order(&["a", "b"])
                .unwrap()
                .len(),
            2
        );
    }
}
