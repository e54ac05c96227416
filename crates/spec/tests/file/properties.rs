//! What holds for any file.

use std::collections::{BTreeSet, HashSet};

use atoll_spec::Cluster;
use proptest::prelude::*;

use crate::accepted::FULL;
use crate::{accepted, read};

fn machines<'a>(names: impl IntoIterator<Item = &'a String>, prefix: u8) -> Cluster {
    let names: String = names.into_iter().map(|name| format!("  {name}:\n")).collect();
    accepted(&format!(
        "networks: {{lan: {{subnet: 10.0.0.0/{prefix}}}}}\ndefaults: {{image: debian}}\nmachines:\n{names}"
    ))
}

fn some_names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set("[a-z][a-z0-9]{0,3}", 1..=60)
        .prop_map(BTreeSet::into_iter)
        .prop_map(Iterator::collect)
        .prop_filter("null is no name", |names: &Vec<String>| {
            !names.contains(&"null".to_owned())
        })
        .prop_shuffle()
}

/// Lines of a cluster file in any order and indentation: nearly YAML, nearly right.
fn scrambled_file() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "machines:",
        "networks:",
        "defaults:",
        "a:",
        "lan:",
        "image: debian",
        "subnet: 10.0.0.0/8",
        "subnet: off",
        "ipv6: fd77::/64",
        "ipv6: off",
        "address: [10.0.0.5, fd77::5]",
        "memory: 1G",
        "nics: [lan]",
        "- lan",
        "forwards: [\"22:22\"]",
        "&x",
        "*x",
        "<<: *x",
        "user-data: |",
        "\"",
        "{",
        "}",
        "[",
        "]",
        "? ",
        "!!str",
        "---",
        "\t",
        "\u{feff}",
        "é🏝",
        "\r",
        "%YAML 1.2",
        "# c",
        ": ",
        "null",
        "\0",
    ]);
    let line = (0..4usize, prop::collection::vec(words, 0..4));
    let text = |(indent, words): (usize, Vec<&str>)| format!("{}{}\n", "  ".repeat(indent), words.join(" "));
    prop::collection::vec(line.prop_map(text), 0..20).prop_map(|lines| lines.concat())
}

/// A right file with a few characters or words put in place of others.
fn mutated_file() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[\\[\\]{}:,&*|'\"#\n -]{0,2}",
        "lan|a|b|null|10.1.2.10|8022:22|[0-9]{1,3}",
        any::<String>()
    ];
    let edit = (any::<prop::sample::Index>(), 0..6usize, word);
    prop::collection::vec(edit, 1..4).prop_map(|edits| {
        edits.into_iter().fold(
            FULL.replace("SHA512", &"aB".repeat(64)),
            |text, (at, len, word)| {
                let at = at.index(text.len() + 1);
                let (before, after) = (
                    text.get(..at).unwrap_or_default(),
                    text.get(at + len..).unwrap_or_default(),
                );
                format!("{before}{word}{after}")
            },
        )
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_words(text in prop_oneof![any::<String>(), scrambled_file(), mutated_file()]) {
        if let Err(errors) = read(&text) {
            prop_assert!(errors.iter().count() > 0);
            prop_assert!(errors.to_string().starts_with("error: "));
            prop_assert!(!errors.styled().is_empty());
            for error in errors.iter() {
                let (line, column) = errors.position(error);
                prop_assert!(line >= 1 && line <= text.matches('\n').count() + 1 && column >= 1);
            }
        }
    }

    #[test]
    fn addresses_are_unique_and_those_of_guests(names in some_names()) {
        let cluster = machines(&names, 26);
        let (subnet, prefix) = (cluster.networks[0].subnet.unwrap(), cluster.networks[0].ipv6.unwrap());
        let (mut addresses, mut addresses6, mut macs) = (HashSet::new(), HashSet::new(), HashSet::new());
        for assignment in cluster.assignments() {
            let nic = assignment.nic;
            let (address, address6) = (nic.address.unwrap(), nic.address6.unwrap());
            prop_assert!(subnet.contains(address) && subnet.reserved_for(address).is_none());
            prop_assert!(prefix.contains(address6) && prefix.reserved_for(address6).is_none());
            prop_assert!(addresses.insert(address), "{} twice", address);
            prop_assert!(addresses6.insert(address6), "{} twice", address6);
            prop_assert!(macs.insert(nic.mac), "{} twice", nic.mac);
        }
        prop_assert_eq!(addresses.len(), names.len());
    }

    #[test]
    fn a_machine_added_at_the_end_moves_no_other(names in some_names(), cut in any::<prop::sample::Index>()) {
        let before = machines(&names[..=cut.index(names.len())], 26);
        let after = machines(&names, 26);
        for (old, new) in before.machines.iter().zip(&after.machines) {
            prop_assert_eq!(&old.nics, &new.nics);
        }
    }

    #[test]
    fn a_machine_removed_moves_only_one_whose_place_it_had(names in some_names(), gone in any::<prop::sample::Index>()) {
        let before = machines(&names, 8);
        let gone = gone.index(names.len());
        let rest = names.iter().enumerate().filter(|(index, _)| *index != gone).map(|(_, name)| name);
        if names.len() > 1 {
            let after = machines(rest, 8);
            let [left] = &before.machines[gone].nics[..] else { panic!("one NIC") };
            for machine in &after.machines {
                let old = &before.machine(machine.name.as_str()).unwrap().nics[0];
                let new = &machine.nics[0];
                prop_assert!(new.address == old.address || new.address == left.address);
                prop_assert!(new.mac == old.mac || new.mac == left.mac);
            }
        }
    }
}
