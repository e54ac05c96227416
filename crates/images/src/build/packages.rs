//! Debian packages, fetched through apt and unpacked into a folder; nothing is installed and nothing of them executed.
//!
//! Packages of this machine's own release and architecture come through its apt as it is. For any other, [`Packages`] is
//! given lists of its own: the same mirrors and keys, proxies and other settings, but a state and a cache in the build's
//! folder, so that neither the machine's package lists nor the architectures that dpkg knows change.

use crate::arch::Arch;
use crate::build::sources::Sources;
use crate::build::{BuildError, Progress, Target, write};
use crate::tool::{self, Tool, ToolError};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const APT_GET: Tool = Tool::new("apt-get", "apt");
const APT_CACHE: Tool = Tool::new("apt-cache", "apt");
const DPKG: Tool = Tool::new("dpkg", "dpkg");
const DPKG_DEB: Tool = Tool::new("dpkg-deb", "dpkg");

/// The programs this module runs.
pub(crate) const TOOLS: [Tool; 4] = [APT_GET, APT_CACHE, DPKG, DPKG_DEB];

/// Where the packages of one architecture and release come from.
#[derive(Debug)]
pub(crate) struct Packages {
    arch: Arch,
    folder: PathBuf,
    /// Arguments that give apt lists of its own; none for the machine's.
    options: Vec<String>,
}

impl Packages {
    /// Downloads go below `folder`, as do package lists where the machine's own will not do.
    pub(crate) fn of(target: Target<'_>, folder: &Path, progress: Progress<'_>) -> Result<Self, BuildError> {
        let Target { arch, release } = target;
        std::fs::create_dir_all(folder).map_err(BuildError::file(folder))?;
        let mut packages = Self {
            arch,
            folder: folder.to_owned(),
            options: Vec::new(),
        };
        if release.is_some() || !is_of_this_machine(arch)? {
            let sources = Sources::of(release)?;
            progress(&format!("package lists: {} for {}", sources.suite, arch.debian()));
            packages.options = own_lists(arch, &sources, &folder.join("apt"))?;
            // Lists that cannot be fetched are otherwise no failure.
            let update = ["update", "-q", "-o", "APT::Update::Error-Mode=any"];
            let updated = tool::run(packages.command(&APT_GET, &update)?.env("LC_ALL", "C"));
            updated.map_err(|source| BuildError::of_release(&sources.suite, source))?;
        }
        Ok(packages)
    }

    /// The package that the architecture's kernel package of the moment is: `linux-image-amd64` depends on it.
    pub(crate) fn kernel_package(&self) -> Result<String, BuildError> {
        let meta = self.qualified(&format!("linux-image-{}", self.arch.debian()));
        let mut command = self.command(&APT_CACHE, &["show", "--no-all-versions", &meta])?;
        command.env("LC_ALL", "C");
        let record = tool::run(&mut command).map_err(|source| not_had(&meta, source))?;
        first_dependency(&String::from_utf8_lossy(&record), "linux-image-").ok_or(BuildError::Incomplete {
            package: meta,
            what: "dependency on a kernel",
        })
    }

    /// Downloads a package and unpacks its files into `root`.
    pub(crate) fn unpack(&self, package: &str, root: &Path) -> Result<(), BuildError> {
        let archive = self.download(package)?;
        std::fs::create_dir_all(root).map_err(BuildError::file(root))?;
        let mut command = DPKG_DEB.command()?;
        command.arg("-x").arg(&archive).arg(root);
        tool::run(&mut command)?;
        std::fs::remove_file(&archive).map_err(BuildError::file(&archive))
    }

    /// apt writes the package into its working folder.
    fn download(&self, package: &str) -> Result<PathBuf, BuildError> {
        let name = self.qualified(package);
        let downloads = self.folder.join(package);
        std::fs::create_dir_all(&downloads).map_err(BuildError::file(&downloads))?;
        let mut command = self.command(&APT_GET, &["download", "-q", &name])?;
        command.current_dir(&downloads);
        tool::run(&mut command).map_err(|source| not_had(&name, source))?;
        let entries = std::fs::read_dir(&downloads).map_err(BuildError::file(&downloads))?;
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or(BuildError::Incomplete {
                package: name,
                what: "archive",
            })
    }

    fn qualified(&self, package: &str) -> String {
        format!("{package}:{}", self.arch.debian())
    }

    /// As root, apt would otherwise hand downloads over to a user that may not write here.
    fn command(&self, tool: &Tool, words: &[&str]) -> Result<Command, BuildError> {
        let mut command = tool.command()?;
        command
            .args(words)
            .args(["-o", "APT::Sandbox::User=root"])
            .args(&self.options);
        Ok(command)
    }
}

fn not_had(package: &str, source: ToolError) -> BuildError {
    BuildError::Package {
        package: package.to_owned(),
        source,
    }
}

fn is_of_this_machine(arch: Arch) -> Result<bool, BuildError> {
    let own = tool::run(DPKG.command()?.arg("--print-architecture"))?;
    Ok(String::from_utf8_lossy(&own).trim() == arch.debian())
}

/// Makes lists, cache and state below `folder`; gives the arguments that make apt use them. Arguments go before all of
/// its configuration files, of which those for proxies and keys still count.
fn own_lists(arch: Arch, sources: &Sources, folder: &Path) -> Result<Vec<String>, BuildError> {
    for part in ["state/lists/partial", "cache/archives/partial"] {
        let part = folder.join(part);
        std::fs::create_dir_all(&part).map_err(BuildError::file(&part))?;
    }
    let (list, installed) = (folder.join("sources.list"), folder.join("state/status"));
    write(&list, sources.list(&["target=Packages"]).as_bytes())?;
    // No package is installed, as far as this apt knows.
    write(&installed, b"")?;
    let place = |key: &str, path: &Path| format!("Dir::{key}={}", path.display());
    let settings = [
        place("Etc::SourceList", &list),
        place("State", &folder.join("state")),
        place("State::status", &installed),
        place("Cache", &folder.join("cache")),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        "Dir::Etc::Preferences=/dev/null".to_owned(),
        "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
        "APT::Default-Release=".to_owned(),
        format!("APT::Architecture={}", arch.debian()),
        format!("APT::Architectures={}", arch.debian()),
        "Acquire::Languages=none".to_owned(),
    ];
    Ok(settings
        .into_iter()
        .flat_map(|setting| ["-o".to_owned(), setting])
        .collect())
}

/// The first package with this prefix in a record's `Depends` field.
fn first_dependency(record: &str, prefix: &str) -> Option<String> {
    let depends = record.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let package = depends
        .split([',', '|'])
        .map(str::trim)
        .find(|package| package.starts_with(prefix))?;
    package.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_meta_package_depends_on() {
        let record =
            "Package: linux-image-amd64\nDepends: foo (>= 1), linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n";
        assert_eq!(
            first_dependency(record, "linux-image-").unwrap(),
            "linux-image-6.1.0-56-amd64"
        );
        assert_eq!(first_dependency("Package: x\n", "linux-image-"), None);
    }
}
