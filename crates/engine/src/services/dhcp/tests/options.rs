//! Options that somebody chose.

use super::*;
use crate::DhcpOptions;

fn chosen(options: &[(u8, Option<&[u8]>)]) -> DhcpOptions {
    let one = |(code, data): &(u8, Option<&[u8]>)| (*code, data.map(<[u8]>::to_vec));
    DhcpOptions {
        v4: options.iter().map(one).collect(),
        ..DhcpOptions::default()
    }
}

/// What an offer to a client says, by code.
fn offered(world: &mut World, mac: Mac, wanted: Option<&[u8]>) -> BTreeMap<u8, Vec<u8>> {
    let codes = wanted.map(|codes| codes.iter().map(|code| OptionCode::from(*code)).collect());
    let options: Vec<DhcpOption> = codes.map(DhcpOption::ParameterRequestList).into_iter().collect();
    let mut all = vec![DhcpOption::MessageType(MessageType::Discover)];
    all.extend(options);
    let client = Client {
        ingress: PortId(1),
        mac,
        src: ZERO,
    };
    let asked = bytes(&message(mac, ZERO, &all));
    let reply = world
        .server
        .handle_message(at(0), client, &asked, rules(&world.names))
        .unwrap();
    let mut rest = &reply.message[240..];
    let mut told = BTreeMap::new();
    while let [code, len, tail @ ..] = rest {
        if *code == 255 {
            break;
        }
        let (data, tail) = tail.split_at(usize::from(*len));
        assert!(
            told.insert(*code, data.to_vec()).is_none(),
            "option {code} comes twice"
        );
        rest = tail;
    }
    told
}

#[test]
fn what_is_chosen_is_told_whether_or_not_it_is_asked_for() {
    let mut config = Config::new(subnet(24));
    config.dhcp_options = chosen(&[(66, Some(b"boot.example")), (224, Some(&[0, 7]))]);
    let mut world = World::new(&config);
    for wanted in [None, Some(&[1, 3][..]), Some(&[224, 66])] {
        let told = offered(&mut world, mac(1), wanted);
        assert_eq!(told[&66], b"boot.example", "{wanted:?}");
        assert_eq!(told[&224], [0, 7], "{wanted:?}");
    }
}

#[test]
fn what_is_chosen_stands_in_place_of_what_the_network_says_and_off_means_nothing() {
    let mut config = Config::new(subnet(24));
    config.dhcp_options = chosen(&[(6, Some(&[10, 77, 0, 9])), (3, None), (15, None)]);
    let told = offered(&mut World::new(&config), mac(1), None);
    assert_eq!(told[&6], [10, 77, 0, 9]);
    assert!(!told.contains_key(&3) && !told.contains_key(&15));
    assert!(told.contains_key(&42), "the rest is as it was");
}

#[test]
fn one_guests_options_stand_before_all_guests_and_can_be_changed() {
    let mut config = Config::new(subnet(24));
    config.dhcp_options = chosen(&[(66, Some(b"all")), (67, Some(b"all"))]);
    config.dhcp_options_of = [(mac(1), chosen(&[(67, Some(b"one"))]))].into();
    let mut world = World::new(&config);
    let told = offered(&mut world, mac(1), None);
    assert_eq!((&told[&66][..], &told[&67][..]), (&b"all"[..], &b"one"[..]));
    assert_eq!(offered(&mut world, mac(2), None)[&67], b"all");
    world
        .server
        .set_options(mac(1), &chosen(&[(66, Some(b"one")), (67, None)]));
    let told = offered(&mut world, mac(1), None);
    assert_eq!((&told[&66][..], told.get(&67)), (&b"one"[..], None));
    world.server.set_options(mac(1), &DhcpOptions::default());
    assert_eq!(offered(&mut world, mac(1), None)[&67], b"all");
}

#[test]
fn the_protocols_own_options_are_not_for_anybody_to_choose() {
    let mut config = Config::new(subnet(24));
    let own: Vec<(u8, Option<&[u8]>)> = [1, 51, 53, 54, 58, 59, 61, 255, 0]
        .map(|code| (code, Some(&b"evil"[..])))
        .to_vec();
    config.dhcp_options = chosen(&own);
    let told = offered(&mut World::new(&config), mac(1), None);
    assert_eq!(
        (&told[&53][..], &told[&54][..]),
        (&[2][..], &GATEWAY.octets()[..])
    );
    assert!(told.values().all(|data| data != b"evil"));
}

#[test]
fn routes_lead_by_the_router_that_is_chosen() {
    let mut config = Config::new(subnet(24));
    config.routes = vec![crate::StaticRoute {
        to: Ipv4Addr::new(192, 168, 0, 0).into(),
        prefix_len: 16,
        via: host(5).into(),
    }];
    config.dhcp_options = chosen(&[(3, Some(&[10, 77, 0, 7]))]);
    let told = offered(&mut World::new(&config), mac(1), None);
    assert_eq!(told[&121], [16, 192, 168, 10, 77, 0, 5, 0, 10, 77, 0, 7]);
    config.dhcp_options = chosen(&[(3, None)]);
    let told = offered(&mut World::new(&config), mac(1), None);
    assert_eq!(told[&121], [16, 192, 168, 10, 77, 0, 5], "no default route");
}

#[test]
fn what_does_not_fit_the_clients_message_is_left_out_and_the_rest_is_told() {
    let mut config = Config::new(subnet(24));
    config.dhcp_options = chosen(&[
        (43, Some(&[7; 255])),
        (224, Some(&[1; 200])),
        (225, Some(b"short")),
    ]);
    let told = offered(&mut World::new(&config), mac(1), None);
    assert!(told.len() > 6 && told.contains_key(&53));
    assert_eq!(told[&225], b"short");
    assert!(!told.contains_key(&43) || !told.contains_key(&224));
}

proptest::proptest! {
    #[test]
    fn whatever_is_chosen_a_client_is_offered_its_address(
        options in proptest::collection::btree_map(
            proptest::prelude::any::<u8>(),
            proptest::option::of(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)),
            0..20,
        ),
    ) {
        let mut config = Config::new(subnet(24));
        config.dhcp_options.v4 = options;
        let mut world = World::new(&config);
        let told = offered(&mut world, mac(1), None);
        proptest::prop_assert_eq!(&told[&53][..], &[2][..]);
        proptest::prop_assert_eq!(&told[&1][..], &[255, 255, 255, 0][..]);
    }
}
