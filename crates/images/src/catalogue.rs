//! The vendors' cloud images by name: where each lies, and where its vendor publishes its checksum.
//!
//! Only data. Debian's `generic` images are meant, not `genericcloud`: the latter's kernel has no driver for e1000 or
//! AHCI. Fedora and Alpine put build numbers into file names, so their newest cannot be named once and for all; the
//! tables below say which build is meant, and a URL reaches any other.

use crate::arch::Arch;

/// One release of one vendor.
struct Release {
    /// What the user writes; the first is the full name.
    names: &'static [&'static str],
    vendor: Vendor,
    /// The release's word in URLs: a code name, a version, a version with its build number.
    word: &'static str,
}

#[derive(Clone, Copy)]
enum Vendor {
    Debian,
    Ubuntu,
    Fedora,
    Alpine,
}

const fn release(names: &'static [&'static str], vendor: Vendor, word: &'static str) -> Release {
    Release { names, vendor, word }
}

const RELEASES: [Release; 13] = [
    release(
        &["debian-13", "debian", "debian-trixie"],
        Vendor::Debian,
        "trixie/13",
    ),
    release(&["debian-12", "debian-bookworm"], Vendor::Debian, "bookworm/12"),
    release(
        &["ubuntu-26.04", "ubuntu", "ubuntu-resolute"],
        Vendor::Ubuntu,
        "26.04",
    ),
    release(&["ubuntu-25.10", "ubuntu-questing"], Vendor::Ubuntu, "25.10"),
    release(&["ubuntu-25.04", "ubuntu-plucky"], Vendor::Ubuntu, "25.04"),
    release(&["ubuntu-24.04", "ubuntu-noble"], Vendor::Ubuntu, "24.04"),
    release(&["ubuntu-22.04", "ubuntu-jammy"], Vendor::Ubuntu, "22.04"),
    release(&["fedora-44", "fedora"], Vendor::Fedora, "44-1.7"),
    release(&["fedora-43"], Vendor::Fedora, "43-1.6"),
    release(&["fedora-42"], Vendor::Fedora, "42-1.1"),
    release(&["alpine-3.23", "alpine"], Vendor::Alpine, "3.23.4"),
    release(&["alpine-3.22"], Vendor::Alpine, "3.22.4"),
    release(&["alpine-3.21"], Vendor::Alpine, "3.21.2"),
];

/// A vendor's image, and all that is needed to fetch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The full name: `debian-13` when `debian` was asked for.
    pub name: &'static str,
    /// The architecture.
    pub arch: Arch,
    /// The image.
    pub url: String,
    /// The vendor's checksum file that lists it.
    pub sums_url: String,
    /// The user that the image's cloud-init sets up.
    pub ssh_user: &'static str,
}

/// The image of this name. `base_url` stands in for `https://HOST` of every vendor: a mirror that has their paths.
#[must_use]
pub fn find(name: &str, arch: Arch, base_url: Option<&str>) -> Option<Entry> {
    let release = RELEASES.iter().find(|release| release.names.contains(&name))?;
    let host = base_url.map_or(release.vendor.host(), |base| base.trim_end_matches('/'));
    let (path, sums_path) = release.vendor.paths(release.word, arch);
    Some(Entry {
        name: release.names.first()?,
        arch,
        url: format!("{host}{path}"),
        sums_url: format!("{host}{sums_path}"),
        ssh_user: release.vendor.ssh_user(),
    })
}

/// The releases, each by its names, the full one first, in the order of the table.
pub fn releases() -> impl Iterator<Item = &'static [&'static str]> {
    RELEASES.iter().map(|release| release.names)
}

/// All names, full ones and short ones, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    releases().flatten().copied()
}

impl Vendor {
    const fn host(self) -> &'static str {
        match self {
            Self::Debian => "https://cloud.debian.org",
            Self::Ubuntu => "https://cloud-images.ubuntu.com",
            Self::Fedora => "https://download.fedoraproject.org",
            Self::Alpine => "https://dl-cdn.alpinelinux.org",
        }
    }

    const fn ssh_user(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Ubuntu => "ubuntu",
            Self::Fedora => "fedora",
            Self::Alpine => "alpine",
        }
    }

    /// The paths of the image and of its checksum file.
    fn paths(self, word: &str, arch: Arch) -> (String, String) {
        match self {
            Self::Debian => {
                let (codename, number) = word.split_once('/').unwrap_or((word, word));
                let folder = format!("/images/cloud/{codename}/latest");
                let file = format!("debian-{number}-generic-{}.qcow2", arch.debian());
                (format!("{folder}/{file}"), format!("{folder}/SHA512SUMS"))
            }
            Self::Ubuntu => {
                let folder = format!("/releases/{word}/release");
                let file = format!("ubuntu-{word}-server-cloudimg-{}.img", arch.debian());
                (format!("{folder}/{file}"), format!("{folder}/SHA256SUMS"))
            }
            Self::Fedora => {
                let number = word.split('-').next().unwrap_or(word);
                let folder = format!("/pub/fedora/linux/releases/{number}/Cloud/{arch}/images");
                let file = format!("Fedora-Cloud-Base-Generic-{word}.{arch}.qcow2");
                (
                    format!("{folder}/{file}"),
                    format!("{folder}/Fedora-Cloud-{word}-{arch}-CHECKSUM"),
                )
            }
            Self::Alpine => {
                let branch = word.rsplit_once('.').map_or(word, |(branch, _)| branch);
                let firmware = match arch {
                    Arch::X86_64 => "bios",
                    Arch::Aarch64 => "uefi",
                };
                let path = format!(
                    "/alpine/v{branch}/releases/cloud/nocloud_alpine-{word}-{arch}-{firmware}-cloudinit-r0.qcow2"
                );
                let sums_path = format!("{path}.sha512");
                (path, sums_path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    #[test]
    fn every_name_leads_to_its_vendors_files() {
        let mut table = String::new();
        for name in names() {
            for arch in [Arch::X86_64, Arch::Aarch64] {
                let entry = find(name, arch, None).unwrap();
                let _ = writeln!(
                    table,
                    "{name} {arch} {}\n  {}\n  {}",
                    entry.ssh_user, entry.url, entry.sums_url
                );
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn no_name_is_given_twice() {
        assert_eq!(names().collect::<BTreeSet<_>>().len(), names().count());
    }

    #[test]
    fn a_mirror_replaces_the_vendors_host_only() {
        let entry = find("debian", Arch::X86_64, Some("http://127.0.0.1:8/m/")).unwrap();
        assert_eq!(entry.name, "debian-13");
        assert_eq!(
            entry.url,
            "http://127.0.0.1:8/m/images/cloud/trixie/latest/debian-13-generic-amd64.qcow2"
        );
        assert_eq!(find("plan9", Arch::X86_64, None), None);
    }
}
