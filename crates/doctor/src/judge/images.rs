//! Building images.

use crate::check::{Area, Check, Need, Status};

/// A program that a build runs, and the Debian package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// What `image build micro` does not find.
    pub(crate) micro: Vec<Missing>,
    /// What `image build debian` does not find.
    pub(crate) debian: Vec<Missing>,
    /// What keeps mmdebstrap from working without root: a user that is not root needs ranges of ids.
    pub(crate) ids: Result<(), String>,
}

/// What that means.
pub(crate) fn judge(images: &Images) -> Vec<Check> {
    let ids = match &images.ids {
        Err(reason) if images.debian.is_empty() => Some(
            check("subordinate-ids", Status::Fail, reason.clone())
                .fix("ask the administrator: apt-get install uidmap; usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"),
        ),
        _ => None,
    };
    let mut checks = vec![build("micro", &images.micro), build("debian", &images.debian)];
    checks.extend(ids);
    checks
}

fn check(name: &str, status: Status, found: String) -> Check {
    Check::new(Area::Images, name, status, found).needed_for(&[Need::ImageBuild])
}

fn build(image: &str, missing: &[Missing]) -> Check {
    let name = format!("build-{image}");
    if missing.is_empty() {
        let words = format!("all programs of `atoll image build {image}` are there");
        return check(&name, Status::Ok, words);
    }
    let programs: Vec<_> = missing.iter().map(|it| it.program).collect();
    let mut packages: Vec<_> = missing.iter().map(|it| it.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let words = format!("`atoll image build {image}` misses {}", programs.join(", "));
    // A host without apt is no Debian, and cannot become one; images of vendors serve there.
    if programs.contains(&"apt-get") {
        return check(&name, Status::Note, words)
            .fix("build on Debian or Ubuntu, or use a vendor's image: `atoll image ls --available`");
    }
    check(&name, Status::Fail, words).fix(format!("install them: apt-get install {}", packages.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MMDEBSTRAP: Missing = Missing {
        program: "mmdebstrap",
        package: "mmdebstrap",
    };
    const APT: Missing = Missing {
        program: "apt-get",
        package: "apt",
    };

    #[test]
    fn a_program_that_is_missing_fails_what_needs_it_only() {
        let checks = judge(&Images {
            micro: Vec::new(),
            debian: vec![MMDEBSTRAP],
            ids: Ok(()),
        });
        let statuses: Vec<_> = checks.iter().map(|it| it.status).collect();
        assert_eq!(statuses, [Status::Ok, Status::Fail]);
        assert_eq!(
            checks[1].fix.as_deref(),
            Some("install them: apt-get install mmdebstrap")
        );
    }

    #[test]
    fn fedora_and_macos_are_led_to_vendors_images() {
        let checks = judge(&Images {
            micro: vec![APT],
            debian: vec![APT, MMDEBSTRAP],
            ids: Ok(()),
        });
        assert!(checks.iter().all(|it| it.status == Status::Note), "{checks:#?}");
        assert!(checks[0].fix.as_ref().unwrap().contains("vendor's image"));
    }

    #[test]
    fn a_user_without_ranges_of_ids_is_told_how_to_get_them() {
        let checks = judge(&Images {
            micro: Vec::new(),
            debian: Vec::new(),
            ids: Err("no line in /etc/subuid".to_owned()),
        });
        assert_eq!(checks[2].status, Status::Fail);
        assert!(checks[2].fix.as_ref().unwrap().contains("usermod --add-subuids"));
    }
}
