//! Whatever clients ask and resolvers answer, in whatever order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A step of whatever happens.
#[derive(Clone, Debug)]
enum Step {
    Query {
        port: u16,
        over_tcp: bool,
        name: u8,
        kind: u16,
    },
    Bytes {
        bytes: Vec<u8>,
        over_tcp: bool,
    },
    Mangled {
        at: usize,
        bit: u8,
    },
    Answer {
        query: u64,
        code: u8,
        good: bool,
    },
    Failure {
        query: u64,
    },
    Wait {
        millis: u16,
    },
}

impl Step {
    fn is_over_tcp(&self) -> bool {
        matches!(
            self,
            Self::Query { over_tcp: true, .. } | Self::Bytes { over_tcp: true, .. }
        )
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u16..4, any::<bool>(), 0u8..4, 1u16..70).prop_map(|(port, over_tcp, name, kind)| Step::Query {
            port,
            over_tcp,
            name,
            kind
        }),
        (prop::collection::vec(any::<u8>(), 0..80), any::<bool>())
            .prop_map(|(bytes, over_tcp)| Step::Bytes { bytes, over_tcp }),
        (0usize..60, any::<u8>()).prop_map(|(at, bit)| Step::Mangled { at, bit }),
        (0u64..40, 0u8..6, any::<bool>()).prop_map(|(query, code, good)| Step::Answer { query, code, good }),
        (0u64..40).prop_map(|query| Step::Failure { query }),
        (0u16..3000).prop_map(|millis| Step::Wait { millis }),
    ]
}

fn act(world: &mut World, now: Instant, step: &Step, asked: &[(QueryId, Bytes)]) {
    let names = [
        "example.org.",
        "a.lab.internal.",
        "nobody",
        "9.0.77.10.in-addr.arpa.",
    ];
    match step {
        Step::Query {
            port,
            over_tcp,
            name,
            kind,
        } => {
            let client = if *over_tcp {
                tcp(u32::from(*port))
            } else {
                udp(u32::from(*port), *port)
            };
            let kind = RecordType::from(*kind);
            world.ask(now, client, &question(names[usize::from(*name)], kind));
        }
        Step::Bytes { bytes, over_tcp } => world.ask(now, if *over_tcp { tcp(9) } else { udp(9, 9) }, bytes),
        Step::Mangled { at, bit } => {
            let mut message = build(names[0], RecordType::A);
            message.set_edns(Edns::new());
            let mut message = message.to_vec().unwrap();
            let at = at % message.len();
            message[at] ^= bit;
            world.ask(now, udp(8, 8), &message);
        }
        Step::Answer { query, code, good } => {
            let Some((query, message)) = asked.iter().find(|(id, _)| id.0 == *query) else {
                return;
            };
            let mut answer = message.to_vec();
            answer[2] |= 0x80;
            answer[3] = *code;
            if !good {
                answer.truncate(usize::from(*code) * 5);
            }
            world.service.handle_answer(now, *query, &answer);
        }
        Step::Failure { query } => world.service.handle_failure(now, QueryId(*query)),
        Step::Wait { .. } => world.service.handle_timeout(now),
    }
}

/// What came out so far.
#[derive(Debug, Default)]
struct Ledger {
    asked: Vec<(QueryId, Bytes)>,
    open: BTreeSet<QueryId>,
    answers_over_tcp: usize,
}

impl Ledger {
    fn enter(&mut self, outputs: Vec<DnsOutput>) {
        for output in outputs {
            match output {
                DnsOutput::Ask { query, message, .. } => {
                    assert!(self.open.insert(query));
                    self.asked.push((query, message));
                }
                DnsOutput::Forget(query) => assert!(self.open.remove(&query)),
                DnsOutput::Answer { message, client } => {
                    let over_tcp = matches!(client.via, DnsVia::Tcp(_));
                    self.answers_over_tcp += usize::from(over_tcp);
                    assert!(over_tcp || message.len() <= 1472);
                    assert_eq!(message[2] & 0x80, 0x80);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn every_message_over_tcp_is_answered_once_and_all_is_bounded(
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut config = config();
        config.limits.dns_queries = 6;
        let mut world = World::new(&config);
        let mut ledger = Ledger::default();
        let mut now = Instant::ZERO;
        for step in &steps {
            if let Step::Wait { millis } = step {
                now = now + Duration::from_millis(u64::from(*millis));
            }
            act(&mut world, now, step, &ledger.asked);
            ledger.enter(world.outputs());
            prop_assert!(world.service.forwarder.len() <= 6);
            prop_assert!(ledger.open.len() <= 6 * 12);
        }
        world.service.handle_timeout(now + TOTAL);
        ledger.enter(world.outputs());
        prop_assert!(ledger.open.is_empty());
        prop_assert_eq!(world.service.poll_timeout(), None);
        prop_assert_eq!(ledger.answers_over_tcp, steps.iter().filter(|step| step.is_over_tcp()).count());
    }
}
