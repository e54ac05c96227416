//! What cloud-init reads in a machine: made from the file, the files it names, and the cluster's own ssh key.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use atoll_images::nocloud;
use atoll_runtime::{Documents, PORTS_AGENT};
use atoll_spec as spec;
use atoll_spec::Hint;
use atoll_spec::insert::{self, Mention};
use atoll_spec::template::Template;

use crate::files::{self, FileError};
use crate::launch::resolve;
use crate::problem::{Kind, Problem};

/// The value of an output of another machine, if it is known.
pub type Lookup<'a> = dyn Fn(&Mention) -> Option<String> + 'a;

/// What the documents depend on besides the machine.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The folder of the cluster file.
    pub folder: &'a Path,
    /// The cluster's own public key.
    pub key: &'a str,
    /// cloud-init's id of the machine.
    pub instance_id: &'a str,
    /// Who logs in.
    pub ssh_user: &'a str,
    /// Where the services of its network are, for a machine whose ports appear by themselves.
    pub services: Option<IpAddr>,
    /// The values of outputs of other machines.
    pub values: &'a Lookup<'a>,
}

impl std::fmt::Debug for Ground<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground")
            .field("folder", &self.folder)
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}

/// Where a machine finds its documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// The network serves them.
    Network,
    /// On a drive of its own: none of its NICs goes through a network of ours.
    Drive,
    /// Nowhere: it is on no network, and has no use for what they say.
    None,
}

/// Where this machine finds its documents.
pub fn seed(machine: &spec::Machine) -> Seed {
    match machine.served_nic() {
        Some(_) => Seed::Network,
        None if machine.nics.is_empty() => Seed::None,
        None => Seed::Drive,
    }
}

/// Writes the documents of a machine into a folder that becomes its drive.
pub fn write(folder: &Path, documents: &Documents) -> Result<(), FileError> {
    files::make_private(folder)?;
    for (name, text) in documents {
        files::write_atomic(&folder.join(name), text)?;
    }
    Ok(())
}

/// The documents of one machine, by their path below the seed.
pub fn documents(machine: &spec::Machine, ground: &Ground<'_>) -> Result<Documents, Problem> {
    let name = machine.name.as_str();
    let mut keys = vec![ground.key.to_owned()];
    for key in &machine.ssh.keys {
        keys.push(match key {
            spec::SshKey::Literal(line) => line.clone(),
            spec::SshKey::File(path) => {
                let text = read(&resolve(ground.folder, path), name, "ssh key")?;
                String::from_utf8_lossy(&text).trim().to_owned()
            }
        });
    }
    let user_data = match (&machine.template, user_data(machine, ground.folder)?) {
        (Some(variables), Some(text)) => Some(filled_in(&text, (variables, ground.values), name)?),
        (None, Some(text)) => Some(filled(text, name, ground.values)?),
        (_, None) => None,
    };
    let nic = |nic: &spec::Nic| {
        // A LAN has what it has: it is asked for IPv4, and its routers are listened to.
        let on_lan = nic.addresses().next().is_none();
        nocloud::Nic {
            mac: nic.mac.octets(),
            ipv4: on_lan || nic.address.is_some(),
            ipv6: on_lan || nic.address6.is_some(),
            dhcp6: nic.address6.is_some(),
        }
    };
    let nics: Vec<nocloud::Nic> = machine.nics.iter().map(nic).collect();
    let agent = ground.services.filter(|_| !machine.automatic.is_empty());
    let agent = agent.map(ports_agent);
    let documents = nocloud::documents(&nocloud::Machine {
        instance_id: ground.instance_id,
        hostname: name,
        ssh_user: ground.ssh_user,
        ssh_keys: &keys,
        user_data: user_data.as_deref(),
        nics: &nics,
        script: agent.as_deref().map(|script| ("atoll-ports", script)),
        on_drive: seed(machine) == Seed::Drive,
    });
    Ok(documents
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.into()))
        .collect())
}

/// A script that installs the one by which a machine says at which ports it listens.
fn ports_agent(services: IpAddr) -> String {
    let place = "/usr/local/lib/atoll";
    format!(
        "#!/bin/sh\nmkdir -p {place} || exit 1\ncat >{place}/ports.sh <<'END OF ATOLL'\n{PORTS_AGENT}END OF ATOLL\n\
         sh {place}/ports.sh install {services}\n"
    )
}

/// A machine's user-data before values are put in.
fn user_data(machine: &spec::Machine, folder: &Path) -> Result<Option<Vec<u8>>, Problem> {
    Ok(match &machine.user_data {
        None => None,
        Some(spec::UserData::Text(text)) => Some(text.clone().into_bytes()),
        Some(spec::UserData::File(path)) => {
            Some(read(&resolve(folder, path), machine.name.as_str(), "user-data")?)
        }
    })
}

/// The outputs that a machine's user-data mentions.
pub fn mentions(machine: &spec::Machine, folder: &Path) -> Result<Vec<Mention>, Problem> {
    let text = user_data(machine, folder)?.unwrap_or_default();
    let mentions = std::str::from_utf8(&text).map(|text| insert::mentions(text, machine.template.is_some()));
    mentions.map_or_else(
        |_| Ok(Vec::new()),
        |found| found.map_err(|error| wrong(machine.name.as_str(), &error)),
    )
}

fn filled(text: Vec<u8>, machine: &str, values: &Lookup<'_>) -> Result<Vec<u8>, Problem> {
    // An archive of bytes mentions nothing.
    let Ok(template) = std::str::from_utf8(&text) else {
        return Ok(text);
    };
    let filled = insert::fill(template, values).map_err(|error| wrong(machine, &error))?;
    Ok(filled.map_or(text, String::into_bytes))
}

fn wrong(machine: &str, error: &insert::InsertError) -> Problem {
    let message = format!("machine {machine}: its user-data: {error}");
    Problem::new(Kind::Configuration, message).with_hint_if(error.hint())
}

/// A template with the values of its references.
///
/// In a cloud-config the texts that mention outputs are filled in first, so that what machines gave stays text.
fn filled_in(
    text: &[u8],
    (variables, values): (&BTreeMap<String, String>, &Lookup<'_>),
    machine: &str,
) -> Result<Vec<u8>, Problem> {
    let wrong = |what: String, hint: Option<String>| {
        let message = format!("machine {machine}: its user-data is a template, and {what}");
        Problem::new(Kind::Configuration, message).with_hint_if(hint)
    };
    let text = std::str::from_utf8(text).map_err(|_| wrong("not in UTF-8".to_owned(), None))?;
    let text =
        insert::fill_template(text, variables, values).map_err(|error| self::wrong(machine, &error))?;
    let template = Template::parse(&text).map_err(|error| {
        let line = text[..error.span.start].matches('\n').count() + 1;
        wrong(format!("{error} in its line {line}"), error.hint())
    })?;
    let filled_in = template.render(|reference| {
        let value = variables.get(reference.path).cloned();
        let value =
            value.or_else(|| Some(Mention::of(reference)?.written(&values(&Mention::of(reference)?)?)));
        value.ok_or_else(|| {
            let line = text[..reference.start].matches('\n').count() + 1;
            let known: Vec<_> = variables.keys().map(String::as_str).collect();
            let hint = format!("there are: {}", known.join(", "));
            wrong(
                format!("${{{}}} in its line {line} has no value", reference.path),
                Some(hint),
            )
        })
    })?;
    Ok(filled_in.into_bytes())
}

fn read(path: &Path, machine: &str, what: &str) -> Result<Vec<u8>, Problem> {
    fs::read(path).map_err(|cause| {
        let message = format!(
            "machine {machine}: cannot read its {what} {}: {cause}",
            path.display()
        );
        Problem::new(Kind::Configuration, message).with_hint("paths start at the folder of the cluster file")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(text: &str) -> spec::Machine {
        spec::parse(&spec::Source::new("atoll.yaml"), text)
            .unwrap()
            .machines
            .remove(0)
    }

    fn made(machine: &spec::Machine, folder: &Path) -> Result<Documents, Problem> {
        let ground = Ground {
            folder,
            key: "ssh-ed25519 OURS",
            instance_id: "a-1",
            ssh_user: "debian",
            services: Some(std::net::Ipv4Addr::new(10, 77, 0, 1).into()),
            values: &|mention| (mention.output == "known").then(|| "a: \"b\"\n".to_owned()),
        };
        documents(machine, &ground)
    }

    #[test]
    fn our_key_and_the_users_are_both_let_in() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("me.pub"), "ssh-ed25519 THEIRS me\n").unwrap();
        let machine = machine("machines: {a: {image: debian, ssh: {keys: [./me.pub]}}}");
        let documents = made(&machine, folder.path()).unwrap();
        let meta_data = String::from_utf8(documents["meta-data"].to_vec()).unwrap();
        assert!(
            meta_data.contains("ssh-ed25519 OURS") && meta_data.contains("ssh-ed25519 THEIRS"),
            "{meta_data}"
        );
    }

    #[test]
    fn a_machine_whose_ports_appear_by_themselves_gets_the_script_that_says_them() {
        let folder = tempfile::tempdir().unwrap();
        let vendor_data = |text: &str| {
            let documents = made(&machine(text), folder.path()).unwrap();
            String::from_utf8(documents["vendor-data"].to_vec()).unwrap()
        };
        let with = vendor_data("machines: {a: {image: debian, forwards: ['*']}}");
        assert!(with.contains("ports.sh install 10.77.0.1"), "{with}");
        let without = vendor_data("machines: {a: {image: debian, forwards: ['80:80']}}");
        assert!(!without.contains("ports.sh"), "{without}");
    }

    #[test]
    fn values_of_outputs_are_put_into_texts_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let user_data = |text: &str| {
            fs::write(folder.path().join("u.yaml"), text).unwrap();
            let machine = machine("machines: {a: {image: debian, user-data: {file: u.yaml}}}");
            made(&machine, folder.path()).map(|made| String::from_utf8(made["user-data"].to_vec()).unwrap())
        };
        let text = "#cloud-config\nx: ${machine.b.outputs.known}\n";
        assert_eq!(
            user_data(text).unwrap(),
            "#cloud-config\nx: \"a: \\\"b\\\"\\n\"\n"
        );
        assert_eq!(
            user_data("#!/bin/sh\n${HOME:-/}\n").unwrap(),
            "#!/bin/sh\n${HOME:-/}\n"
        );
        let problem = user_data("${machine.b.outputs.other}").unwrap_err();
        assert_eq!(
            problem.message,
            "machine a: its user-data: output \"other\" of machine \"b\" is not known"
        );
        assert!(problem.hint.unwrap().contains("condition: outputs"));
    }

    #[test]
    fn a_template_is_filled_in_and_a_mistake_in_it_has_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let of = |text: &str| {
            fs::write(folder.path().join("setup.tmpl"), text).unwrap();
            let file = "variables: {role: db}\nmachines: {a: {image: debian, count: 1, user-data: {file: setup.tmpl}}}";
            made(&machine(file), folder.path())
        };
        let documents = of("#!/bin/sh\necho ${role} ${index} ${self} $HOME $$\n").unwrap();
        assert_eq!(&documents["user-data"][..], b"#!/bin/sh\necho db 1 a-1 $HOME $\n");
        for (text, expected) in [
            ("a\n${rule}", "${rule} in its line 2 has no value"),
            ("${HOME:-/}", "\"${HOME:\" is no reference in its line 1"),
        ] {
            let problem = of(text).unwrap_err();
            assert!(problem.message.ends_with(expected), "{problem}");
            assert_eq!(problem.kind, Kind::Configuration);
        }
    }

    #[test]
    fn a_missing_file_is_named_with_its_machine() {
        let machine = machine("machines: {a: {image: debian, user-data: {file: none.yaml}}}");
        let problem = made(&machine, Path::new("/w")).unwrap_err();
        assert!(
            problem
                .message
                .starts_with("machine a: cannot read its user-data /w/none.yaml"),
            "{problem}"
        );
        assert_eq!(problem.kind, Kind::Configuration);
    }
}
