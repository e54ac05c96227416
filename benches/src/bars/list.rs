//! The list itself.

use super::{Bar, Need};
use crate::peers::{
    ATOLL, ATOLL_BEFORE, ATOLL_POLICY, ATOLL_TAP, ATOLL_TAP_BEFORE, ATOLL_TAP_POLICY, BRIDGED_TAP, DIRECT,
    GVPROXY, LOOPBACK, PASST, PASTA, SLIRP4NETNS, TAP_DIRECT, VM_ATOLL, VM_BARE,
};
use crate::results::{Key, Results};

const WAYS: [&str; 2] = ["up", "down"];
const MTUS: [&str; 2] = ["1500", "65520"];

/// Every bar, in the order of the report.
pub(super) fn bars(results: &Results) -> Vec<Bar> {
    let mut list = List {
        results,
        bars: Vec::new(),
    };
    list.tap();
    list.stream();
    list.guests();
    list.requests();
    list.streams();
    list.connections();
    list.loss();
    list.udp();
    list.idle();
    list.uplink();
    list.before();
    list.bars
}

/// A series of one suite.
type Series<'a> = (&'a str, &'a str, &'a str);

struct List<'a> {
    results: &'a Results,
    bars: Vec<Bar>,
}

impl List<'_> {
    fn add(&mut self, path: &str, what: impl Into<String>, need: Need, measured: Option<f64>) {
        self.bars.push(Bar {
            path: path.to_owned(),
            what: what.into(),
            need,
            measured,
        });
    }

    /// The ratio of two series (peer, case, metric) of a suite.
    fn ratio(&self, suite: &str, above: Series<'_>, below: Series<'_>) -> Option<f64> {
        self.results.ratio(key(suite, above), key(suite, below))
    }

    fn gbit(&self, suite: &str, above: (&str, &str), below: (&str, &str)) -> Option<f64> {
        self.ratio(suite, (above.0, above.1, "gbit"), (below.0, below.1, "gbit"))
    }

    fn tap(&mut self) {
        let path = "TAP, one stream";
        for (way, need) in [("up", 0.25), ("down", 0.3)] {
            let measured = self.gbit(
                "tcp-stream",
                (ATOLL_TAP, &format!("1500 {way}")),
                (LOOPBACK, &format!("65536 {way}")),
            );
            self.add(
                path,
                format!("MTU 1500 {way}, by loopback"),
                Need::AtLeast(need),
                measured,
            );
        }
        let against = |list: &Self, peer, way| {
            let case = format!("65520 {way}");
            list.gbit("tcp-stream", (ATOLL_TAP, &case), (peer, &case))
        };
        let peers = [against(self, PASTA, "up"), against(self, SLIRP4NETNS, "up")];
        let measured = peers.into_iter().flatten().reduce(f64::min);
        self.add(
            path,
            "MTU 65520 up, by the best TAP peer",
            Need::AtLeast(3.0),
            measured,
        );
        let measured = against(self, PASTA, "down");
        self.add(path, "MTU 65520 down, by pasta", Need::AtLeast(1.2), measured);
    }

    fn stream(&mut self) {
        let path = "QEMU stream, one stream";
        for case in cases(&MTUS) {
            for (peer, need) in [(PASST, 1.2), (GVPROXY, 3.0)] {
                let measured = self.gbit("tcp-stream", (ATOLL, &case), (peer, &case));
                self.add(
                    path,
                    format!("MTU {case}, by {peer}"),
                    Need::AtLeast(need),
                    measured,
                );
            }
            let processor = |peer| (peer, case.as_str(), "cpu_per_gb");
            let measured = self.ratio("tcp-stream", processor(ATOLL), processor(PASST));
            let what = format!("MTU {case}, processor time per GB by passt's");
            self.add(path, what, Need::Below(1.0), measured);
        }
    }

    fn guests(&mut self) {
        for mtu in MTUS {
            let idle = format!("{mtu}, 8 idle");
            let measured = self.gbit("guest-to-guest", (ATOLL, mtu), (DIRECT, mtu));
            let what = format!("MTU {mtu}, by two shims with nothing between");
            self.add("guest to guest", what, Need::AtLeast(0.8), measured);
            let measured = self.gbit("guest-to-guest", (ATOLL, &idle), (ATOLL, mtu));
            let what = format!("MTU {mtu}, with 8 idle guests by without");
            self.add("guest to guest", what, Need::AtLeast(0.9), measured);
        }
    }

    fn requests(&mut self) {
        let needs = [
            ("p50", "p50", Need::AtMost(1.0)),
            ("p99", "p99", Need::Below(1.0)),
            ("connects", "connections a second", Need::AtLeast(1.2)),
        ];
        for (metric, words, need) in needs {
            let measured = self.ratio("rr", (ATOLL, "1500", metric), (PASST, "1500", metric));
            self.add(
                "request and response",
                format!("{words}, by passt"),
                need,
                measured,
            );
        }
    }

    fn streams(&mut self) {
        for peer in [ATOLL, ATOLL_TAP] {
            for case in cases(&MTUS) {
                let of = |metric| key("streams", (peer, &case, metric));
                let (sum, least) = (
                    self.results.median(of("of_one")),
                    self.results.median(of("least_share")),
                );
                let path = "eight streams";
                self.add(
                    path,
                    format!("{peer}, MTU {case}, sum by one stream"),
                    Need::AtLeast(1.0),
                    sum,
                );
                let what = format!("{peer}, MTU {case}, slowest by fair share");
                self.add(path, what, Need::AtLeast(0.5), least);
            }
        }
    }

    fn connections(&mut self) {
        let path = "idle connections";
        let held = self.ratio(
            "idle-connections",
            (ATOLL, "1500", "held"),
            (ATOLL, "1500", "asked"),
        );
        let asked = self
            .results
            .median(key("idle-connections", (ATOLL, "1500", "asked")));
        let what = format!("held of {:.0}", asked.unwrap_or(0.0));
        self.add(path, what, Need::AtLeast(1.0), held);
        let each = self
            .results
            .median(key("idle-connections", (ATOLL, "1500", "bytes_each")));
        self.add(path, "bytes of the process each", Need::Below(1024.0), each);
        let kept = self
            .results
            .median(key("idle-connections", (ATOLL, "1500", "kept")));
        self.add(path, "one stream, with them by without", Need::AtLeast(0.9), kept);
        let path = "new connections";
        let of = |metric| key("new-connections", (ATOLL, "1500", metric));
        let failed = self.results.largest(of("failed"));
        self.add(path, "failed", Need::AtMost(0.0), failed);
        for (what, before, after) in [
            ("descriptors", "descriptors_before", "descriptors_after"),
            ("flows", "flows_before", "flows_after"),
        ] {
            let before = self.results.largest(of(before));
            let left = self
                .results
                .largest(of(after))
                .zip(before)
                .map(|(after, before)| after - before);
            self.add(path, format!("{what} left behind"), Need::AtMost(0.0), left);
        }
    }

    fn loss(&mut self) {
        for (peer, other) in [(ATOLL, PASST), (ATOLL_TAP, PASTA)] {
            let path = format!("{peer}, link with losses");
            for way in WAYS {
                for link in ["queue 500", "0.1 %", "1 %"] {
                    let case = format!("{link} {way}");
                    let timeouts = self.results.median(key("loss", (peer, &case, "timeouts")));
                    self.add(&path, format!("{case}, timeouts"), Need::AtMost(0.0), timeouts);
                }
                let (clean, few, many) = (
                    format!("no loss {way}"),
                    format!("0.1 % {way}"),
                    format!("1 % {way}"),
                );
                let measured = self.gbit("loss", (peer, &few), (peer, &clean));
                self.add(
                    &path,
                    format!("{few}, by without loss"),
                    Need::AtLeast(0.8),
                    measured,
                );
                let measured = self.gbit("loss", (peer, &many), (other, &many));
                self.add(&path, format!("{many}, by {other}"), Need::AtLeast(3.0), measured);
            }
        }
    }

    fn udp(&mut self) {
        for case in cases(&["1400", "64"]) {
            let measured = self.ratio("udp", (ATOLL_TAP, &case, "clean"), (PASTA, &case, "clean"));
            let what = format!("{case}, clean datagrams a second by pasta");
            self.add("UDP on a TAP", what, Need::AtLeast(1.0), measured);
        }
    }

    fn idle(&mut self) {
        let needs = [
            ("wakeups", "wake-ups a second", Need::Below(1.0)),
            ("ready", "start, ms", Need::AtMost(30.0)),
            ("megabytes", "resident, MB", Need::Below(10.0)),
        ];
        for (metric, what, need) in needs {
            let measured = self.results.median(key("idle-network", (ATOLL, "1500", metric)));
            self.add("idle network, 4 guests", what, need, measured);
        }
    }

    fn uplink(&mut self) {
        for way in WAYS {
            let measured = self.gbit("uplink", (BRIDGED_TAP, way), (TAP_DIRECT, way));
            let what = format!("MTU 1500 {way}, by a TAP attached directly");
            self.add("bridged uplink", what, Need::AtLeast(0.8), measured);
        }
        for way in WAYS {
            let measured = self.gbit("direct-attach", (VM_ATOLL, way), (VM_BARE, way));
            let what = format!("MTU 1500 {way}, by QEMU started by hand");
            self.add("VM attached directly", what, Need::AtLeast(0.97), measured);
        }
    }

    /// What all that was built since costs, and what a policy does.
    fn before(&mut self) {
        let series = [
            (ATOLL, ATOLL_BEFORE, 0.03),
            (ATOLL_TAP, ATOLL_TAP_BEFORE, 0.03),
            (ATOLL_POLICY, ATOLL_BEFORE, 0.1),
            (ATOLL_TAP_POLICY, ATOLL_TAP_BEFORE, 0.1),
        ];
        for (now, before, part) in series {
            let path = format!("{now} by {before}");
            for case in cases(&MTUS) {
                let measured = self.gbit("tcp-stream", (now, &case), (before, &case));
                self.add(&path, format!("MTU {case}"), Need::AtLeast(1.0 - part), measured);
            }
            let measured = self.ratio("rr", (now, "1500", "p50"), (before, "1500", "p50"));
            self.add(
                &path,
                "request and response, p50",
                Need::AtMost(1.0 + part),
                measured,
            );
        }
    }
}

fn key<'a>(suite: &'a str, (peer, case, metric): Series<'a>) -> Key<'a> {
    Key {
        suite,
        case,
        peer,
        metric,
    }
}

/// Both ways for each size.
fn cases(sizes: &[&str]) -> Vec<String> {
    let ways = |size: &&str| WAYS.map(|way| format!("{size} {way}"));
    sizes.iter().flat_map(ways).collect()
}
