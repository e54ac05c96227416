//! An ordinary user of the host, with what an administrator allowed: a policy for `atoll-helper`, and a rule for `sudo`.
//!
//! The files of the administrator, the helper among them, lie over `/etc` and `/usr/libexec` in the mount namespace of each command
//! alone, and read-only; the machine's own are not touched.

use crate::Kit;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// No user of the machine has it.
const UID: u32 = 61_345;

const NAME: &str = "atoll-e2e";

/// Where packages put it.
const HELPER: &str = "/usr/libexec/atoll/atoll-helper";

/// Puts the administrator's files over `/etc`, and becomes the user.
const ENTER: &str = "mount -t overlay atoll -o \"lowerdir=$0/etc:/etc\" /etc && \
    mount -t overlay atoll -o \"lowerdir=$0/libexec:/usr/libexec\" /usr/libexec && \
    exec setpriv --reuid=61345 --regid=61345 --clear-groups \"$@\"";

/// The user, and all that is theirs.
#[derive(Debug)]
pub struct Unprivileged {
    folder: TempDir,
}

impl Unprivileged {
    /// The user, whom the policy allows these lines.
    ///
    /// # Panics
    /// When there is no room for their files.
    #[must_use]
    pub fn make(kit: &Kit, policy: &str) -> Self {
        let folder = TempDir::with_prefix_in("atoll-user-", "/tmp").expect("a folder in /tmp");
        let installed = folder.path().join("libexec/atoll");
        fs::create_dir_all(&installed).expect("a new folder");
        fs::copy(
            kit.atoll.with_file_name("atoll-helper"),
            installed.join("atoll-helper"),
        )
        .expect("it is built with atoll");
        let etc = folder.path().join("etc");
        let sudoers =
            format!("Defaults:{NAME} !use_pty,!requiretty\n{NAME} ALL=(root) NOPASSWD: {HELPER} \"\"\n");
        let passwd = fs::read_to_string("/etc/passwd").expect("every system has it");
        let passwd = format!("{passwd}{NAME}:x:{UID}:{UID}::/:/bin/sh\n");
        // sudo asks PAM whether the account is good.
        let shadow = format!("root:*:20000:0:99999:7:::\n{NAME}:*:20000:0:99999:7:::\n");
        for (path, text, mode) in [
            ("atoll/helper.conf", policy, 0o644),
            ("sudoers.d/atoll-e2e", &sudoers, 0o440),
            ("passwd", &passwd, 0o644),
            ("shadow", &shadow, 0o600),
        ] {
            write(&etc.join(path), text, mode);
        }
        let cache = folder.path().join("cache/atoll/images/images");
        fs::create_dir_all(&cache).expect("a new folder");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(kit.micro_folder())
            .arg(&cache)
            .status();
        assert!(copied.expect("cp is everywhere").success());
        own(&folder.path().join("cache"));
        let made = Self { folder };
        mode(made.folder.path(), 0o755);
        made
    }

    /// `atoll` run by this user in a network namespace.
    pub(crate) fn command(&self, namespace: &str, atoll: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", namespace, "sh", "-c", ENTER])
            .arg(self.folder.path())
            .arg(atoll)
            .env("HOME", self.folder.path())
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        command
    }
}

/// Makes a folder and all that is in it the user's.
pub(crate) fn own(folder: &Path) {
    let changed = Command::new("chown")
        .args(["-R", &format!("{UID}:{UID}")])
        .arg(folder)
        .status();
    assert!(changed.expect("chown is everywhere").success());
}

fn write(path: &Path, text: &str, permissions: u32) {
    let folder = path.parent().expect("it lies in a folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .expect("a new folder takes a file");
    mode(path, permissions);
}

fn mode(path: &Path, permissions: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(permissions)).expect("its owner may");
}
