use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

const ADMIN: &str = "\
apiVersion: v1
kind: Config
clusters:
- {name: a, cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: TFMwdA==}}
contexts:
- {name: a, context: {cluster: a, user: b}}
users:
- {name: b, user: {token: '0123'}}
";

const OWN: &str = "\
apiVersion: v1
kind: Config
clusters:
- cluster:
    server: https://work.example:6443
  name: work # at work
contexts:
- context:
    cluster: work
    user: me
  name: work
current-context: work
users:
- name: me
  user:
    token: secret
";

struct World {
    folder: tempfile::TempDir,
    paths: ClusterPaths,
    wanted: Installed,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = ClusterPaths {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
            images: folder.path().join("images"),
        };
        fs::create_dir(&paths.state).unwrap();
        let wanted = Installed {
            file: folder.path().join("home/.kube/config"),
            name: "demo".to_owned(),
        };
        Self {
            folder,
            paths,
            wanted,
        }
    }

    fn with_own(self, text: &str) -> Self {
        fs::create_dir_all(self.wanted.file.parent().unwrap()).unwrap();
        fs::write(&self.wanted.file, text).unwrap();
        self
    }

    fn install(&self, wanted: &Installed) -> Result<(), InstallError> {
        let admin = Admin::parse(ADMIN).unwrap();
        let at = "127.64.0.1:6443".parse().unwrap();
        install(&self.paths, (&admin, at), wanted, false)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.wanted.file).unwrap()
    }

    /// What the real kubectl says of the file, if there is one.
    fn kubectl(&self, arguments: &[&str]) -> Option<String> {
        let run = Command::new("kubectl")
            .args(arguments)
            .env("KUBECONFIG", &self.wanted.file)
            .env("HOME", self.folder.path())
            .output();
        let output = run.ok()?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Some(String::from_utf8(output.stdout).unwrap())
    }
}

#[test]
fn the_file_is_the_one_that_kubectl_writes_to() {
    let world = World::new().with_own("");
    let there = world.wanted.file.display().to_string();
    let found = |value: Option<String>| {
        user_file(|name| match name {
            "KUBECONFIG" => value.clone().map(Into::into),
            _ => Some("/home/u".into()),
        })
    };
    assert_eq!(found(None), Some("/home/u/.kube/config".into()));
    assert_eq!(found(Some(":".to_owned())), Some("/home/u/.kube/config".into()));
    assert_eq!(found(Some(format!("/no/a:{there}:/no/b"))), Some(there.into()));
    assert_eq!(found(Some("/no/a:/no/b".to_owned())), Some("/no/b".into()));
    assert_eq!(user_file(|_| None), None);
}

#[test]
fn a_cluster_is_put_into_a_file_once_and_taken_out_to_the_byte() {
    let world = World::new().with_own(OWN);
    fs::set_permissions(&world.wanted.file, fs::Permissions::from_mode(0o640)).unwrap();
    world.install(&world.wanted).unwrap();
    let merged = world.text();
    world.install(&world.wanted).unwrap();
    assert_eq!(world.text(), merged);
    let mode = fs::metadata(&world.wanted.file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(uninstall(&world.paths).unwrap(), Some(world.wanted.clone()));
    assert_eq!(world.text(), OWN);
    assert_eq!(uninstall(&world.paths).unwrap(), None);
    // Neither lock nor temporary file stays.
    let folder = world.wanted.file.parent().unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_not_there_is_made_for_its_user_alone() {
    let world = World::new();
    world.install(&world.wanted).unwrap();
    let mode = fs::metadata(&world.wanted.file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_context_of_somebody_elses_is_neither_replaced_nor_taken_out() {
    let world = World::new().with_own(OWN);
    let theirs = Installed {
        name: "work".to_owned(),
        ..world.wanted.clone()
    };
    assert!(matches!(world.install(&theirs), Err(InstallError::Taken { .. })));
    assert_eq!(uninstall(&world.paths).unwrap(), None);
    assert_eq!(world.text(), OWN);
}

#[test]
fn another_name_takes_the_place_of_the_one_before() {
    let world = World::new().with_own(OWN);
    world.install(&world.wanted).unwrap();
    let other = Installed {
        name: "other".to_owned(),
        ..world.wanted.clone()
    };
    world.install(&other).unwrap();
    assert!(!kubeconfig::has(&world.text(), "demo").unwrap());
    assert_eq!(uninstall(&world.paths).unwrap(), Some(other));
    assert_eq!(world.text(), OWN);
}

#[test]
fn while_another_program_writes_nothing_is_written() {
    let world = World::new().with_own(OWN);
    let lock = world.wanted.file.with_file_name("config.lock");
    fs::write(&lock, "").unwrap();
    assert!(matches!(world.install(&world.wanted), Err(InstallError::Locked { path }) if path == lock));
    assert_eq!(world.text(), OWN);
    assert!(lock.exists(), "it is not ours to remove");
}

#[test]
fn the_forward_of_the_machine_is_found() {
    let forward = |machine: &str, protocol: &str, listen: &str| -> ForwardStatus {
        serde_json::from_value(serde_json::json!({
            "network": "lan", "machine": machine, "id": 1, "protocol": protocol, "listen": listen,
            "guest": machine, "guest_port": 6443,
        }))
        .unwrap()
    };
    let forwards = [
        forward("b", "tcp", "127.0.0.1:1"),
        forward("a", "udp", "127.0.0.1:2"),
        forward("a", "tcp", "0.0.0.0:3"),
        forward("c", "tcp", "[::]:4"),
    ];
    let found = |machine, port| address(&forwards, machine, port).map(|it| it.to_string());
    assert_eq!(found("a", 6443), Some("127.0.0.1:3".to_owned()));
    assert_eq!(found("c", 6443), Some("[::1]:4".to_owned()));
    assert_eq!(found("a", 443), None);
}

/// Where kubectl is installed.
#[test]
fn kubectl_itself_reads_the_file_and_writes_it_in_between() {
    let world = World::new().with_own(OWN);
    world.install(&world.wanted).unwrap();
    let arguments = ["config", "view", "--raw", "-o", "json"];
    let Some(text) = world.kubectl(&arguments) else {
        return;
    };
    let said: serde_json::Value = serde_json::from_str(&text).unwrap();
    let named = |list: &str, name: &str| {
        let items = said[list].as_array().unwrap();
        items.iter().find(|it| it["name"] == name).unwrap().clone()
    };
    let cluster = &named("clusters", "demo")["cluster"];
    assert_eq!(cluster["server"], "https://127.64.0.1:6443");
    assert_eq!(cluster["tls-server-name"], "127.0.0.1");
    assert_eq!(named("users", "demo")["user"]["token"], "0123");
    assert_eq!(named("contexts", "demo")["context"]["user"], "demo");
    assert_eq!(named("users", "me")["user"]["token"], "secret");
    assert_eq!(said["current-context"], "work");
    world.kubectl(&["config", "use-context", "demo"]).unwrap();
    uninstall(&world.paths).unwrap();
    let contexts = world.kubectl(&["config", "get-contexts", "-o", "name"]).unwrap();
    assert_eq!(contexts, "work\n");
    assert_eq!(
        world.kubectl(&["config", "view", "-o", "jsonpath={.current-context}"]),
        Some(String::new())
    );
}
