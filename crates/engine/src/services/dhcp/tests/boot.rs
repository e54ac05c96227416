//! Clients that boot from the network.

use dhcproto::v4::UnknownOption;

use super::*;
use crate::{BootClient, DhcpOptions, NetBoot};

fn config() -> Config {
    let files = [
        (BootClient::Bios, "undionly.kpxe"),
        (BootClient::EfiX64, "ipxe.efi"),
        (BootClient::HttpX64, "http://10.77.0.9/a.efi"),
        (BootClient::Ipxe, "menu.ipxe"),
    ];
    let mut config = Config::new(subnet(24));
    config.net_boot = NetBoot {
        server: None,
        files: files.map(|(client, file)| (client, file.to_owned())).into(),
    };
    config
}

/// Options 60, 93 and 77.
fn client(class: &[u8], architecture: u16, user_class: Option<&[u8]>) -> Vec<DhcpOption> {
    let architecture = UnknownOption::new(
        OptionCode::ClientSystemArchitecture,
        architecture.to_be_bytes().to_vec(),
    );
    let mut options = vec![
        DhcpOption::ClassIdentifier(class.to_vec()),
        DhcpOption::Unknown(architecture),
    ];
    options.extend(user_class.map(|class| DhcpOption::UserClass(class.to_vec())));
    options
}

fn offer(config: &Config, options: &[DhcpOption]) -> Message {
    World::new(config)
        .say(0, mac(1), MessageType::Discover, options)
        .unwrap()
}

fn file(message: &Message) -> String {
    let field = message.fname().unwrap_or_default();
    String::from_utf8_lossy(field).trim_end_matches('\0').to_owned()
}

fn option(message: &Message, code: OptionCode) -> Option<Vec<u8>> {
    match message.opts().get(code)? {
        DhcpOption::BootfileName(words)
        | DhcpOption::TFTPServerName(words)
        | DhcpOption::ClassIdentifier(words) => Some(words.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_kind_of_client_is_told_its_file_at_the_gateway() {
    for (options, expected) in [
        (client(b"PXEClient:Arch:00000", 0, None), "undionly.kpxe"),
        (client(b"PXEClient:Arch:00007", 7, None), "ipxe.efi"),
        (client(b"PXEClient:Arch:00000", 0, Some(b"iPXE")), "menu.ipxe"),
        (client(b"PXEClient:Arch:00007", 7, Some(b"\x04iPXE")), "menu.ipxe"),
        (client(b"PXEClient:Arch:00011", 11, None), ""),
    ] {
        let offer = offer(&config(), &options);
        assert_eq!(file(&offer), expected);
        let server = if expected.is_empty() { ZERO } else { GATEWAY };
        assert_eq!(offer.siaddr(), server, "{expected}");
    }
}

#[test]
fn who_does_not_boot_is_told_nothing_of_it() {
    for options in [vec![], client(b"MSFT 5.0", 0, None)] {
        let offer = offer(&config(), &options);
        assert_eq!((file(&offer).as_str(), offer.siaddr()), ("", ZERO));
    }
}

#[test]
fn uefi_over_http_is_told_a_uri_and_its_own_class() {
    let offer = offer(&config(), &client(b"HTTPClient:Arch:00016", 16, None));
    let told = |code| option(&offer, code);
    assert_eq!(told(OptionCode::BootfileName).unwrap(), b"http://10.77.0.9/a.efi");
    assert_eq!(told(OptionCode::ClassIdentifier).unwrap(), b"HTTPClient");
    assert_eq!((file(&offer).as_str(), offer.siaddr()), ("", ZERO));
}

#[test]
fn options_66_and_67_are_told_to_who_asks_and_what_is_chosen_stands_before_them() {
    let mut options = client(b"PXEClient", 0, None);
    let wanted = vec![OptionCode::TFTPServerName, OptionCode::BootfileName];
    options.push(DhcpOption::ParameterRequestList(wanted));
    let mut config = config();
    config.net_boot.server = Some(host(9));
    let told = offer(&config, &options);
    assert_eq!(told.siaddr(), host(9));
    assert_eq!(option(&told, OptionCode::TFTPServerName).unwrap(), b"10.77.0.9");
    assert_eq!(option(&told, OptionCode::BootfileName).unwrap(), b"undionly.kpxe");
    config.dhcp_options = DhcpOptions {
        v4: [(67, Some(b"chosen".to_vec()))].into(),
        ..DhcpOptions::default()
    };
    let told = offer(&config, &options);
    assert_eq!(option(&told, OptionCode::BootfileName).unwrap(), b"chosen");
}

#[test]
fn a_name_that_is_too_long_for_the_field_is_an_option() {
    let long = "a".repeat(200);
    let mut config = config();
    config.net_boot.files.insert(BootClient::Bios, long.clone());
    let offer = offer(&config, &client(b"PXEClient", 0, None));
    assert_eq!(file(&offer), "");
    assert_eq!(option(&offer, OptionCode::BootfileName).unwrap(), long.as_bytes());
}
