//! SRV records (RFC 2782).

use hickory_proto::rr::rdata::SRV;

use super::*;
use crate::ServiceTarget;

fn world() -> World {
    let mut config = config();
    let target = |host: &str, port| ServiceTarget {
        host: host.to_owned(),
        port,
    };
    config.dns.wildcards = true;
    config.dns.services = [
        (
            "_etcd-server._tcp",
            vec![target("a", 2380), target("d", 2380), target("a", 2381)],
        ),
        ("_ssh._tcp.a", vec![target("a", 22)]),
        ("_ldap._tcp", vec![target("ldap.example.com", 389)]),
        ("_sip._udp.voice.example.com", vec![target("registry", 5060)]),
        ("_gone._tcp", vec![target("nobody", 1)]),
    ]
    .map(|(name, targets)| (name.to_owned(), targets))
    .into();
    World::new(&config)
}

fn places(message: &Message) -> Vec<String> {
    let place = |record: &Record| match &record.data {
        RData::SRV(SRV {
            priority,
            weight,
            port,
            target,
            ..
        }) => format!("{priority} {weight} {port} {target}"),
        other => panic!("{other:?}"),
    };
    message.answers.iter().map(place).collect()
}

fn additional(message: &Message) -> Vec<(String, IpAddr)> {
    let address = |record: &Record| match record.data {
        RData::A(A(address)) => (record.name.to_string(), address.into()),
        RData::AAAA(AAAA(address)) => (record.name.to_string(), address.into()),
        ref other => panic!("{other:?}"),
    };
    message.additionals.iter().map(address).collect()
}

#[test]
fn a_service_is_at_every_place_that_was_configured_with_its_addresses() {
    let answer = world().local("_ETCD-server._tcp.lab.internal.", RecordType::SRV);
    assert_eq!(
        places(&answer),
        [
            "0 0 2380 a.lab.internal.",
            "0 0 2380 d.lab.internal.",
            "0 0 2381 a.lab.internal."
        ]
    );
    let d = "d.lab.internal.".to_owned();
    let expected = [
        ("a.lab.internal.".to_owned(), host(10).into()),
        (d.clone(), host(13).into()),
        (d, PREFIX.with(0x13).into()),
    ];
    assert_eq!(additional(&answer), expected);
    assert!(answer.metadata.authoritative);
}

#[test]
fn a_service_is_of_a_name_of_the_domain_or_of_the_world() {
    let mut world = world();
    let of_name = world.local("_ssh._tcp.a.lab.internal.", RecordType::SRV);
    assert_eq!(places(&of_name), ["0 0 22 a.lab.internal."]);
    let of_world = world.local("_sip._udp.voice.example.com.", RecordType::SRV);
    assert_eq!(places(&of_world), ["0 0 5060 registry.lab.internal."]);
    let elsewhere = world.local("_ldap._tcp.lab.internal.", RecordType::SRV);
    assert_eq!(places(&elsewhere), ["0 0 389 ldap.example.com."]);
    assert_eq!(additional(&elsewhere), []);
    let gone = world.local("_gone._tcp.lab.internal.", RecordType::SRV);
    assert_eq!((places(&gone).len(), additional(&gone).len()), (1, 0));
}

#[test]
fn other_types_of_a_service_and_the_names_above_it_have_no_data() {
    let mut world = world();
    for (name, kind) in [
        ("_ssh._tcp.a.lab.internal.", RecordType::A),
        ("_ssh._tcp.a.lab.internal.", RecordType::TXT),
        ("_tcp.lab.internal.", RecordType::SRV),
        ("_sip._udp.voice.example.com.", RecordType::A),
    ] {
        let answer = world.local(name, kind);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(
            answer.answers.is_empty() && answer.authorities.len() == 1,
            "{name}"
        );
    }
    let any = world.local("_etcd-server._tcp.lab.internal.", RecordType::ANY);
    assert_eq!(places(&any).len(), 1);
    for name in ["_ssh._udp.lab.internal.", "_http._tcp.lab.internal."] {
        let answer = world.local(name, RecordType::SRV);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
}

#[test]
fn a_network_without_a_domain_has_services_by_their_own_two_labels() {
    let mut config = config();
    config.domain = String::new();
    let target = ServiceTarget {
        host: "registry".to_owned(),
        port: 80,
    };
    config.dns.services = [("_http._tcp".to_owned(), vec![target])].into();
    let answer = World::new(&config).local("_http._tcp.", RecordType::SRV);
    assert_eq!(places(&answer), ["0 0 80 registry."]);
}
