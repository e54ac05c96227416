use proptest::prelude::*;

use super::*;

/// As k3s writes it, shortened.
const K3S: &str = "\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: TFMwdA==
    server: https://127.0.0.1:6443
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {}
users:
- name: default
  user:
    client-certificate-data: Y2VydA==
    client-key-data: a2V5
";

/// A user's own, with what an editor and other programs leave in it.
const OWN: &str = "\
# mine
apiVersion: v1
kind: Config
clusters:
  # at work
  - cluster:
      server: https://work.example:6443 # by VPN
      extensions:
        - name: minikube.sigs.k8s.io
          extension: {last-update: \"Mon, 1 Jan\"}
    name: work
contexts:
  - {name: work, context: {cluster: work, user: me}}
current-context: work
preferences: {}
users:
  - name: me
    user:
      exec:
        command: login
        args: [\"- x\", 'y']

# the end
";

fn at() -> SocketAddr {
    "127.0.0.1:16443".parse().unwrap()
}

fn demo() -> Entry {
    Admin::parse(K3S).unwrap().entry("demo", at())
}

#[test]
fn a_guests_kubeconfig_leads_to_the_forward_and_keeps_the_name_that_its_certificate_has() {
    let admin = Admin::parse(K3S).unwrap();
    assert_eq!(admin.port(), 6443);
    let alone = admin.entry("demo", at()).alone();
    assert_eq!(
        alone,
        "\
apiVersion: v1
kind: Config
current-context: \"demo\"
clusters:
  - name: \"demo\"
    cluster:
      server: \"https://127.0.0.1:16443\"
      certificate-authority-data: \"TFMwdA==\"
      tls-server-name: \"127.0.0.1\"
users:
  - name: \"demo\"
    user:
      client-certificate-data: \"Y2VydA==\"
      client-key-data: \"a2V5\"
contexts:
  - name: \"demo\"
    context:
      cluster: \"demo\"
      user: \"demo\"
"
    );
    assert_eq!(demo().merged_into("", false).unwrap(), alone);
    assert_eq!(demo().merged_into("{}\n", false).unwrap(), alone);
}

#[test]
fn what_would_run_programs_or_read_files_of_the_host_is_refused() {
    for (key, value) in [
        (
            "exec",
            "{command: id, apiVersion: client.authentication.k8s.io/v1}",
        ),
        ("auth-provider", "{name: gcp}"),
        ("tokenFile", "/etc/shadow"),
        ("client-key", "/root/.ssh/id_ed25519"),
        ("as", "root"),
        ("token", "[a]"),
        ("client-key-data", "twice"),
    ] {
        let text = format!("{K3S}    {key}: {value}\n");
        assert_eq!(Admin::parse(&text), Err(KubeconfigError::Refused(key.to_owned())));
    }
    for (key, value) in [
        ("proxy-url", "http://10.0.0.1"),
        ("certificate-authority", "/etc/passwd"),
        ("insecure-skip-tls-verify", "true"),
    ] {
        let text = K3S.replace("    server:", &format!("    {key}: {value}\n    server:"));
        assert_eq!(Admin::parse(&text), Err(KubeconfigError::Refused(key.to_owned())));
    }
}

#[test]
fn a_server_is_an_https_address() {
    for (url, said) in [
        ("https://control-1:6443", Some(("control-1", 6443))),
        ("https://control-1/", Some(("control-1", 443))),
        ("https://[fd00::1]:6443", Some(("fd00::1", 6443))),
        ("http://control-1:80", None),
        ("https://:6443", None),
        ("https://a:b:1", None),
        ("https://user@host:1", None),
        ("https://a:6443/path", None),
        ("unix:///run/docker.sock", None),
    ] {
        let said = said.map(|(host, port): (&str, u16)| (host.to_owned(), port));
        assert_eq!(host_and_port(url), said, "{url}");
    }
}

#[test]
fn another_context_is_put_in_and_taken_out_to_the_byte() {
    let merged = demo().merged_into(OWN, false).unwrap();
    assert_eq!(without(&merged, "demo").unwrap(), OWN);
    assert_eq!(
        demo().merged_into(&merged, false).unwrap(),
        merged,
        "once is enough"
    );
    assert!(merged.contains("current-context: work\n"), "{merged}");
    let mut rest = merged.lines();
    assert!(
        OWN.lines().all(|line| rest.any(|other| other == line)),
        "{merged}"
    );
    // What was put in can be read by whoever reads the file.
    assert_eq!(
        Admin::parse(&merged.replace("current-context: work", "current-context: demo"))
            .unwrap()
            .entry("demo", at()),
        demo()
    );
}

#[test]
fn it_becomes_the_current_context_when_asked_for_and_is_none_afterwards() {
    let merged = demo().merged_into(OWN, true).unwrap();
    assert!(merged.contains("current-context: \"demo\"\n"), "{merged}");
    let after = without(&merged, "demo").unwrap();
    assert_eq!(
        after,
        OWN.replace("current-context: work", "current-context: \"\"")
    );
}

#[test]
fn empty_and_missing_lists_are_filled() {
    for own in [
        "apiVersion: v1\nclusters: []\ncontexts: null\nusers:\ncurrent-context: \"\"\nkind: Config\npreferences: {}\n",
        "apiVersion: v1\nkind: Config",
        "---\nkind: Config\nusers: [ ] # none\n",
    ] {
        let merged = demo().merged_into(own, false).unwrap();
        assert_eq!(
            Admin::parse(&merged).unwrap().entry("demo", at()),
            demo(),
            "{merged}"
        );
        assert!(!has(&without(&merged, "demo").unwrap(), "demo").unwrap());
    }
}

#[test]
fn a_file_that_cannot_be_edited_without_changing_the_rest_is_left_alone() {
    for own in [
        "{\"clusters\": [{\"name\": \"a\", \"cluster\": {}}]}\n",
        "clusters: [{name: a, cluster: {}}]\n",
        "kind: Config\n...\n",
        "- a\n",
        "clusters: {a: b}\n",
    ] {
        assert_eq!(
            demo().merged_into(own, false),
            Err(KubeconfigError::Unusual),
            "{own}"
        );
    }
    assert_eq!(
        without("clusters: [{name: a}]\n", "a"),
        Err(KubeconfigError::Unusual)
    );
    assert!(matches!(
        demo().merged_into("a: [", false),
        Err(KubeconfigError::NoYaml(_))
    ));
}

/// A list as programs and people write it.
fn list(key: &'static str, held: &'static str) -> impl Strategy<Value = String> {
    let item = ("[a-z]{1,6}", "[ -~]{0,12}", any::<bool>(), any::<bool>());
    (prop::collection::vec(item, 0..4), 0..3_usize).prop_map(move |(items, indent)| {
        let pad = " ".repeat(indent);
        let mut out = format!("{key}:\n");
        for (name, said, comment, name_first) in items {
            if comment {
                out += &format!("{pad}# {said}\n\n");
            }
            let name = format!("name: other-{name}\n");
            let held = format!(
                "{held}:\n{pad}    text: {}\n{pad}    block: |\n{pad}      - {said}x\n",
                json!(said)
            );
            out += &if name_first {
                format!("{pad}- {name}{pad}  {held}")
            } else {
                format!("{pad}- {held}{pad}  {name}")
            };
        }
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_else_is_in_the_file_stays(
        parts in (list("clusters", "cluster"), list("contexts", "context"), list("users", "user"))
            .prop_map(|(a, b, c)| vec![a, b, c, "current-context: x\n".to_owned(), "kind: Config\n".to_owned()])
            .prop_shuffle(),
    ) {
        let own = parts.concat();
        let merged = demo().merged_into(&own, false).unwrap();
        prop_assert_eq!(without(&merged, "demo").unwrap(), own);
    }

    #[test]
    fn a_value_from_a_guest_is_text_and_nothing_else(token in any::<String>()) {
        let text = K3S.replace("client-key-data: a2V5", &format!("token: {}", json!(token)));
        // Not every text can be written in YAML; what was read is what is written.
        if let Ok(admin) = Admin::parse(&text) {
            let merged = admin.entry("demo", at()).merged_into(OWN, true).unwrap();
            prop_assert_eq!(Admin::parse(&merged).unwrap().entry("demo", at()), admin.entry("demo", at()));
            prop_assert_eq!(without(&merged, "demo").unwrap(), OWN.replace("context: work", "context: \"\""));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "([a-z{}\\[\\]:,\"'#&*!|> -]{0,12}\n){0,8}") {
        let _ = Admin::parse(&text);
        if let Ok(merged) = demo().merged_into(&text, true) {
            prop_assert_eq!(has(&merged, "demo"), Ok(true));
            prop_assert!(without(&merged, "demo").is_ok());
        }
    }
}
