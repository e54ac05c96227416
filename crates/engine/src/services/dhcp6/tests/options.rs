//! Options that somebody chose, and what clients are told that boot from the network.

use super::*;
use crate::{BootClient, DhcpOptions, NetBoot};

fn told(config: &Config, options: &[DhcpOption]) -> Vec<DhcpOption> {
    let mut world = World::new(config);
    let reply = world
        .say(0, mac(1), MessageType::InformationRequest, options)
        .unwrap();
    reply.opts().iter().cloned().collect()
}

fn unknown(code: OptionCode, data: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(code, data.to_vec()))
}

#[test]
fn what_is_chosen_is_told_in_place_of_what_the_network_says() {
    let mut config = config();
    let chosen = |options: &[(u16, Option<&[u8]>)]| DhcpOptions {
        v6: options
            .iter()
            .map(|(code, data)| (*code, data.map(<[u8]>::to_vec)))
            .collect(),
        ..DhcpOptions::default()
    };
    config.dhcp_options = chosen(&[
        (23, None),
        (41, Some(b"UTC0")),
        (1, Some(b"evil")),
        (200, Some(b"all")),
    ]);
    config.dhcp_options_of = [(mac(1), chosen(&[(200, Some(b"one"))]))].into();
    let options = told(&config, &[]);
    let has = |code: u16| {
        options
            .iter()
            .filter(move |option| u16::from(OptionCode::from(*option)) == code)
    };
    assert_eq!(has(23).count(), 0);
    assert_eq!(has(41).count(), 1);
    assert!(options.contains(&unknown(OptionCode::from(200), b"one")));
    assert_eq!(has(1).next(), Some(&DhcpOption::ClientId(DUID.to_vec())));
}

#[test]
fn a_client_that_boots_is_told_where_its_file_is() {
    let mut config = config();
    let files = [
        (BootClient::EfiX64, "a.efi"),
        (BootClient::HttpX64, "http://a/b.efi"),
        (BootClient::Ipxe, "menu.ipxe"),
    ];
    config.net_boot = NetBoot {
        server: None,
        files: files.map(|(client, file)| (client, file.to_owned())).into(),
    };
    let wanted = asks_for(&[OptionCode::OptBootfileUrl]);
    let ipxe = unknown(OptionCode::UserClass, b"\0\x04iPXE");
    let gateway = host(1);
    for (architecture, user_class, expected) in [
        (7, None, Some(format!("tftp://[{gateway}]/a.efi"))),
        (16, None, Some("http://a/b.efi".to_owned())),
        (7, Some(ipxe), Some(format!("tftp://[{gateway}]/menu.ipxe"))),
        (11, None, None),
    ] {
        let architecture = unknown(OptionCode::ClientArchType, &u16::to_be_bytes(architecture));
        let mut options = vec![wanted.clone(), architecture];
        options.extend(user_class);
        let said = told(&config, &options)
            .into_iter()
            .find_map(|option| match option {
                DhcpOption::Unknown(option) if option.code() == OptionCode::OptBootfileUrl => {
                    Some(String::from_utf8(option.data().to_vec()).unwrap())
                }
                _ => None,
            });
        assert_eq!(said, expected);
    }
}
