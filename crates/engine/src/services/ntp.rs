//! A time server: NTP version 4 in server mode (RFC 5905, 9.2 and 14), which is SNTP to those who speak that (RFC 4330).
//!
//! It hands on the host's clock, so that a guest agrees with its host after both have slept. The engine has no clock of that kind: a
//! sound request becomes [`Action::ReadClock`](crate::Action::ReadClock), whose question holds all that the answer needs, and
//! [`Event::ClockRead`](crate::Event::ClockRead) brings it back with the time. Nothing is kept in between.
//!
//! What an answer says of the time is what the host knows, and no more:
//!
//! | the host's clock | leap | stratum | root dispersion |
//! |---|---|---|---|
//! | kept in time | as the kernel says | 10 | the kernel's bound of its error |
//! | not kept | 3, unknown | 0 on the wire: 16, unsynchronised | 16 s, as far as NTP counts |
//! | not kept, and the network is told that it counts | 0 | 15 | none: it is the reference |
//! | the host does not tell | 0 | 15 | 1 s, a guess |
//!
//! A kernel knows nothing of the strata above it, and those who keep it in time are at 1 to 4 as a rule. So the stratum is one that any
//! server closer to the source beats. The reference is 127.127.1.0, by which NTP's own programs mean "the local clock". Clients leave a
//! server alone that says leap 3, and ask the next that they know.
//!
//! Bounds: a token bucket for each port, [`BURST`] requests and then [`RATE`] a second; what is beyond is not answered. An answer is 48
//! bytes, as long as the shortest request or shorter than what asked, and goes to who asked, so there is nothing to amplify.
//!
//! Left out: every mode but the client's (3), of which 6 and 7 are the ones known for amplification; authentication (who sends a MAC
//! gets an answer without one, and must not believe it); extension fields; kiss-o'-death, for which a guest that floods has no ear.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_wire::Endpoint;

use crate::policy::Bucket;
use crate::{ClockReading, ClockState, Config, Instant, Leap, PortId, TimeServer};

/// Requests of one port that are answered at once: several clients behind it that each begin with a burst of eight.
const BURST: u64 = 64;
/// Requests of one port that are answered in a second on the long run.
const RATE: u64 = 16;

/// A message without extension fields and authentication (RFC 5905, 7.3).
const LEN: usize = 48;
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=4;
const CLIENT: u8 = 3;
const SERVER: u8 = 4;
/// log2 of the seconds within which a clock is read: some 15 µs, of a loop that has other things to do.
const PRECISION: i8 = -16;
const LOCAL_CLOCK: [u8; 4] = [127, 127, 1, 0];
const STRATUM: u8 = 10;
/// The last that is followed.
const STRATUM_LAST: u8 = 15;
/// RFC 5905, 7.3: "unsynchronized" is 16, which packets carry as 0.
const UNSYNCHRONISED: u8 = 0;
const LEAP_UNKNOWN: u8 = 3;
/// RFC 5905, 7.2: MAXDISP.
const DISPERSION_MAX: Duration = Duration::from_secs(16);
/// Of a host that does not tell.
const DISPERSION_GUESS: Duration = Duration::from_secs(1);
/// From 1900, where NTP's seconds begin, to 1970.
const EPOCH: u64 = 2_208_988_800;

/// A guest asks for the time. Made by the engine, and handed back to it with the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockQuestion {
    /// Which of our addresses was asked, and by whom.
    asked: Endpoint,
    guest: Endpoint,
    version: u8,
    poll: u8,
    /// When the guest says that it asked: returned as it came.
    transmit: [u8; 8],
}

/// The server.
#[derive(Debug)]
pub(crate) struct NtpServer {
    mode: TimeServer,
    buckets: BTreeMap<PortId, Bucket>,
    malformed: u64,
    limited: u64,
}

impl NtpServer {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            mode: config.time_server,
            buckets: BTreeMap::new(),
            malformed: 0,
            limited: 0,
        }
    }

    /// Whether it answers at all.
    pub(crate) fn is_on(&self) -> bool {
        self.mode != TimeServer::Off
    }

    /// What was counted, by name.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [("ntp_malformed", self.malformed), ("ntp_limited", self.limited)].into_iter()
    }

    /// A datagram came to port 123 from a port.
    pub(crate) fn handle_request(
        &mut self,
        now: Instant,
        port: PortId,
        (guest, asked): (Endpoint, Endpoint),
        payload: &[u8],
    ) -> Option<ClockQuestion> {
        let Some(question) = parse((guest, asked), payload) else {
            self.malformed += 1;
            return None;
        };
        let bucket = self
            .buckets
            .entry(port)
            .or_insert_with(|| Bucket::new(RATE, BURST));
        if !bucket.try_take(now, 1) {
            self.limited += 1;
            return None;
        }
        Some(question)
    }

    /// The port is no more.
    pub(crate) fn forget_port(&mut self, port: PortId) {
        self.buckets.remove(&port);
    }

    /// The answer to a question: from where, to where, and what.
    pub(crate) fn answer(
        &self,
        question: &ClockQuestion,
        reading: &ClockReading,
    ) -> (Endpoint, Endpoint, [u8; LEN]) {
        let (leap, stratum, dispersion) = self.quality(reading);
        let [dispersion_a, dispersion_b, dispersion_c, dispersion_d] = short(dispersion);
        let head = [
            leap << 6 | question.version << 3 | SERVER,
            stratum,
            question.poll,
            PRECISION.to_be_bytes()[0],
            // Root delay: there is no way between the host's clock and us.
            0,
            0,
            0,
            0,
            dispersion_a,
            dispersion_b,
            dispersion_c,
            dispersion_d,
        ];
        let time = timestamp(reading.since_1970);
        // Reference, origin, receive, transmit. Whoever keeps the clock corrects it all the time; it is read once, when the request
        // has come and its answer leaves.
        let reference = if stratum == UNSYNCHRONISED {
            [0; 4]
        } else {
            LOCAL_CLOCK
        };
        let parts: [&[u8]; 6] = [&head, &reference, &time, &question.transmit, &time, &time];
        let mut message = [0; LEN];
        for (to, from) in message.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        (question.asked, question.guest, message)
    }

    /// Leap indicator, stratum and root dispersion.
    fn quality(&self, reading: &ClockReading) -> (u8, u8, Duration) {
        let leap = match reading.leap {
            Leap::None => 0,
            Leap::Insert => 1,
            Leap::Delete => 2,
        };
        match reading.state {
            ClockState::Kept { max_error } => (leap, STRATUM, max_error.min(DISPERSION_MAX)),
            ClockState::Free | ClockState::Untold if self.mode == TimeServer::Always => {
                (leap, STRATUM_LAST, Duration::ZERO)
            }
            ClockState::Untold => (leap, STRATUM_LAST, DISPERSION_GUESS),
            ClockState::Free => (LEAP_UNKNOWN, UNSYNCHRONISED, DISPERSION_MAX),
        }
    }
}

/// A request, if it is a client's.
fn parse((guest, asked): (Endpoint, Endpoint), payload: &[u8]) -> Option<ClockQuestion> {
    let message: &[u8; LEN] = payload.first_chunk()?;
    let (version, mode) = (message[0] >> 3 & 7, message[0] & 7);
    let [.., a, b, c, d, e, f, g, h] = *message;
    (VERSIONS.contains(&version) && mode == CLIENT).then_some(ClockQuestion {
        asked,
        guest,
        version,
        poll: message[2],
        transmit: [a, b, c, d, e, f, g, h],
    })
}

/// Seconds since 1900, of the era that they are in, and their fraction (RFC 5905, 6).
fn timestamp(since_1970: Duration) -> [u8; 8] {
    let seconds = since_1970.as_secs().wrapping_add(EPOCH) & u64::from(u32::MAX);
    let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
    (seconds << 32 | fraction).to_be_bytes()
}

/// Seconds in 16 bits and their fraction in 16, rounded up: it is an error.
fn short(time: Duration) -> [u8; 4] {
    let units = (time.as_nanos() << 16).div_ceil(1_000_000_000);
    u32::try_from(units).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::Subnet;

    const PAIR: (Endpoint, Endpoint) = (at(2, 40_000), at(1, 123));
    const PORT: PortId = PortId(1);
    /// 2026-11-24 12:00:00.25.
    const NOW: Duration = Duration::from_millis(1_795_521_600_250);

    const fn at(host: u8, port: u16) -> Endpoint {
        Endpoint {
            ip: IpAddr::V4(Ipv4Addr::new(10, 77, 0, host)),
            port,
        }
    }

    fn server(mode: TimeServer) -> NtpServer {
        let subnet = Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len: 24,
        };
        let mut config = Config::new(subnet);
        config.time_server = mode;
        NtpServer::new(&config)
    }

    fn request(first: u8) -> Vec<u8> {
        let mut message = vec![0; LEN];
        message[0] = first;
        message[2] = 6;
        message[40..].copy_from_slice(b"transmit");
        message
    }

    fn answer(mode: TimeServer, state: ClockState, leap: Leap) -> [u8; LEN] {
        let mut server = server(mode);
        let question = server.handle_request(Instant::ZERO, PORT, PAIR, &request(0o43));
        let reading = ClockReading {
            since_1970: NOW,
            state,
            leap,
        };
        let (from, to, message) = server.answer(&question.unwrap(), &reading);
        assert_eq!((to, from), PAIR);
        message
    }

    #[test]
    fn a_client_is_told_the_time_with_its_own_words_in_the_places_of_rfc_5905() {
        let max_error = Duration::from_millis(250);
        let message = answer(TimeServer::Auto, ClockState::Kept { max_error }, Leap::None);
        assert_eq!(message[..4], [0o44, 10, 6, 0xf0]);
        assert_eq!(message[4..12], [0, 0, 0, 0, 0, 0, 0x40, 0]);
        assert_eq!(message[12..16], LOCAL_CLOCK);
        assert_eq!(&message[24..32], b"transmit");
        // 2026-11-24 12:00 is 4 004 510 400 seconds after 1900.
        let time = [&4_004_510_400_u32.to_be_bytes()[..], &[0x40, 0, 0, 0]].concat();
        for place in [16, 32, 40] {
            assert_eq!(message[place..place + 8], time, "at {place}");
        }
    }

    #[test]
    fn what_is_said_of_the_time_is_what_the_host_knows() {
        let kept = ClockState::Kept {
            max_error: Duration::from_secs(60),
        };
        let (auto, always) = (TimeServer::Auto, TimeServer::Always);
        for (mode, state, leap, first, stratum, dispersion) in [
            (auto, kept, Leap::Insert, 0o144, 10, 16 << 16),
            (auto, kept, Leap::Delete, 0o244, 10, 16 << 16),
            (auto, ClockState::Free, Leap::None, 0o344, 0, 16 << 16),
            (auto, ClockState::Untold, Leap::None, 0o44, 15, 1 << 16),
            (always, ClockState::Free, Leap::None, 0o44, 15, 0),
            (always, kept, Leap::None, 0o44, 10, 16 << 16),
        ] {
            let message = answer(mode, state, leap);
            assert_eq!(message[..2], [first, stratum], "{mode:?} {state:?}");
            assert_eq!(message[8..12], u32::to_be_bytes(dispersion), "{mode:?} {state:?}");
        }
    }

    #[test]
    fn the_next_era_begins_in_2036() {
        let rollover = Duration::from_secs((1 << 32) - EPOCH);
        assert_eq!(timestamp(rollover), [0; 8]);
        assert_eq!(timestamp(rollover - Duration::from_secs(1))[..4], [0xff; 4]);
    }

    #[test]
    fn only_clients_are_answered_in_versions_that_there_are() {
        let mut server = server(TimeServer::Auto);
        for first in 0..=u8::MAX {
            let mut fresh = Instant::ZERO + Duration::from_secs(u64::from(first));
            fresh = fresh + Duration::from_secs(1);
            let answered = server
                .handle_request(fresh, PORT, PAIR, &request(first))
                .is_some();
            let (version, mode) = (first >> 3 & 7, first & 7);
            assert_eq!(answered, mode == 3 && (1..5).contains(&version), "{first:o}");
        }
        assert_eq!(
            server.handle_request(Instant::ZERO, PORT, PAIR, &[0o43; 47]),
            None
        );
    }

    #[test]
    fn a_flood_of_one_port_is_answered_at_a_rate_and_hinders_no_other_port() {
        let mut server = server(TimeServer::Auto);
        let mut ask = |seconds, port| {
            let now = Instant::ZERO + Duration::from_secs(seconds);
            server
                .handle_request(now, PortId(port), PAIR, &request(0o43))
                .is_some()
        };
        let mut flood = |seconds, port| (0..1000).filter(|_| ask(seconds, port)).count();
        assert_eq!((flood(0, 1), flood(0, 1), flood(0, 2)), (64, 0, 64));
        assert_eq!(flood(1, 1), 16);
    }

    proptest! {
        #[test]
        fn no_answer_is_longer_than_its_request(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut server = server(TimeServer::Auto);
            if let Some(question) = server.handle_request(Instant::ZERO, PORT, PAIR, &bytes) {
                let reading = ClockReading { since_1970: NOW, state: ClockState::Free, leap: Leap::None };
                let (_, _, message) = server.answer(&question, &reading);
                prop_assert!(message.len() <= bytes.len());
                prop_assert_eq!(&message[24..32], &bytes[40..48]);
            }
        }
    }
}
