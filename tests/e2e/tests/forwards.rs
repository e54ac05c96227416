//! Forwards beyond the plain one: loopback addresses of guests' own, ports that appear by themselves and clients' own sources, with the Linux kernel as the guests in namespaces.

use atoll_e2e::{Ended, Exec, with_namespaces};
use std::path::Path;
use std::process::Command;

/// The guests' program.
const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// What each script begins with: a network that runs in the background, whose ready line is in `ready`, and guests on it.
const PRELUDE: &str = r#"
set -eu
cd "$(mktemp -d)"
mkfifo ready
pids=
end() { kill $pids 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$PWD"; }
trap end EXIT
network() {
    $ATOLL net run --subnet 10.77.0.0/24 --ipv6 fd77:77::/64 --api unix:$PWD/api.sock "$@" >ready &
    pids="$pids $!"
    read -r line <ready
    echo "$line" >line
}
guest() {
    name=$1; shift
    $ATOLL net exec --join unix:$PWD/api.sock --name $name "$@" >$name.out &
    last=$!
    pids="$pids $last"
    for i in $(seq 600); do grep -q listening $name.out && return; sleep 0.1; done
    echo "$name did not start"; exit 1
}
# Where the forward to this port of this guest listens.
at() { tr '{' '\n' <line | grep "\"guest\":\"$1\",\"guest_port\":$2," | sed 's/.*"listen":"\([^"]*\)".*/\1/'; }
"#;

/// Runs a script in namespaces made by `unshare` with these options.
fn run(atoll: &Path, options: &str, script: &str) -> Ended {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user"])
        .args(options.split_whitespace());
    command.args(["--", "bash", "-c", &format!("{PRELUDE}{script}")]);
    command.env("ATOLL", atoll).env("PEER", PEER);
    Exec::launch(command).end()
}

/// The lines of a script that went well.
fn lines(ended: &Ended) -> Vec<&str> {
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended.stdout.lines().collect()
}

#[test]
fn three_guests_have_one_port_each_at_an_address_of_their_own() {
    let Some(atoll) = with_namespaces() else { return };
    let ended = run(
        atoll,
        "--net",
        r"
        ip link set lo up
        network --loopback --forward 22:a:22 --forward 22:b:22 --forward 22:c:22/udp --forward 127.0.0.1:2222:a:22
        for name in a b; do guest $name -- $PEER answer 0.0.0.0:22 0.0.0.0:6443; done
        for name in a b; do echo $name $(at $name 22 | tr '\n' ' '); done
        for name in a b; do exec 3<>/dev/tcp/$(at $name 22 | head -n 1 | tr : /); echo -n $name >&3; exec 3>&-; done
        echo c $(at c 22)
        ",
    );
    let lines = lines(&ended);
    let own: Vec<&str> = lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    for address in &own {
        assert!(address.starts_with("127.") && address.ends_with(":22"), "{own:?}");
    }
    assert!(
        own[0] != own[1] && own[1] != own[2] && own[0] != own[2],
        "{own:?}"
    );
    assert!(lines[0].ends_with(" 127.0.0.1:2222"), "{lines:?}");
}

#[test]
fn a_port_that_the_user_may_not_have_is_found_ten_thousand_higher() {
    let Some(atoll) = with_namespaces() else { return };
    // Root of a user namespace is nobody in particular in the host's network.
    let ended = run(
        atoll,
        "",
        r#"
        network --loopback --forward 22:web:22 --forward 8080:web:80
        guest web -- $PEER tell 0.0.0.0:22 0.0.0.0:80
        for port in 22 80; do read -r words </dev/tcp/$(at web $port | tr : /) || true; echo $(at web $port) ${words%:*}; done
        grep -o '"wanted_port":22' line
        "#,
    );
    let lines = lines(&ended);
    let [ssh, web, wanted] = lines[..] else {
        panic!("{lines:?}")
    };
    let (address, _) = ssh.split_once(':').unwrap();
    assert_eq!(ssh, format!("{address}:10022 you are 10.77.0.1"));
    assert_eq!(web, format!("{address}:8080 you are 10.77.0.1"));
    assert_eq!(wanted, r#""wanted_port":22"#);
}

#[test]
fn a_guest_sees_its_clients_own_address_and_port_over_both_families() {
    let Some(atoll) = with_namespaces() else { return };
    let ended = run(
        atoll,
        "--net",
        r#"
        ip link set lo up
        ip addr add 198.51.100.7/32 dev lo
        ip addr add 2001:db8::7/128 dev lo nodad
        for protocol in tcp udp; do
            set -- "$@" --forward 0.0.0.0:8080:10.77.0.9:80/$protocol,source=keep --forward [::]:8080:[fd77:77::9]:80/$protocol,source=keep
            set -- "$@" --forward 0.0.0.0:8081:10.77.0.9:80/$protocol
        done
        network "$@"
        guest web --address 10.77.0.9 --address fd77:77::9 -- $PEER tell 10.77.0.9:80 '[fd77:77::9]:80'
        $PEER ask 198.51.100.7:40001 198.51.100.7:8080
        $PEER ask '[2001:db8::7]:40002' '[2001:db8::7]:8080'
        $PEER ask 127.0.0.1:40003 127.0.0.1:8080
        $PEER ask '[::1]:40004' '[::1]:8080'
        $PEER ask 198.51.100.7:40005 198.51.100.7:8081
        "#,
    );
    let said =
        |seen: &str, own: &str| format!("tcp you are {seen} and is {own}; udp you are {seen} and is {own}");
    assert_eq!(
        lines(&ended),
        [
            said("198.51.100.7:40001", "198.51.100.7:40001"),
            said("[2001:db8::7]:40002", "[2001:db8::7]:40002"),
            said("10.77.0.1:40003", "127.0.0.1:40003"),
            said("[fd77:77::1]:40004", "[::1]:40004"),
            said("10.77.0.1:40005", "198.51.100.7:40005"),
        ]
    );
}

#[test]
fn what_a_guest_listens_at_appears_on_the_host_and_goes_with_it() {
    let Some(atoll) = with_namespaces() else { return };
    let ended = run(
        atoll,
        "--net",
        r#"
        ip link set lo up
        # 8081 of the host is somebody else's.
        $PEER answer 127.0.0.1:8081 >/dev/null & pids="$pids $!"
        network --forward 'web:*,except=9999' --forward 2222:web:22 2>log
        cat >inside <<'INSIDE'
        exec 2>inside.log
        trap 'kill $(jobs -p)' EXIT TERM
        busybox wget -q -O ports.sh http://169.254.169.254/atoll/ports.sh
        sh ports.sh >/dev/null &
        $PEER tell 0.0.0.0:22 >/dev/null &
        echo listening
        until [ -e start ]; do sleep 0.02; done
        $PEER tell 0.0.0.0:80 '[::]:8080' 0.0.0.0:8081 0.0.0.0:9999 127.0.0.1:7777 >/dev/null & server=$!
        until [ -e stop ]; do sleep 0.02; done
        kill $server
        until [ -e end ]; do sleep 0.02; done
INSIDE
        guest web -- bash inside
        open() { (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null; }
        until_open() { for i in $(seq 3000); do open $1 && return; sleep 0.02; done; echo "$1 did not open"; exit 1; }
        until_closed() { for i in $(seq 3000); do open $1 || return 0; sleep 0.02; done; echo "$1 did not close"; exit 1; }
        began=$(date +%s%N); touch start
        until_open 80
        echo "after $((($(date +%s%N) - began) / 1000000)) ms"
        until_open 8080; until_open 8082
        for port in 80 8080 8082; do $PEER ask 127.0.0.1:4000${port: -1} 127.0.0.1:$port; done
        for port in 22 9999 7777; do open $port && echo "$port is open"; done
        touch stop
        began=$(date +%s%N)
        until_closed 80
        echo "after $((($(date +%s%N) - began) / 1000000)) ms"
        until_closed 8082
        open 2222 && open 8081 && echo "the others stay"
        touch end; wait $last || true
        grep -o 'port 8081 of web is found at 127.0.0.1:8082: tcp port 127.0.0.1:8081 is taken' log
        "#,
    );
    let lines = lines(&ended);
    let said =
        |seen: &str, own: &str| format!("tcp you are {seen} and is {own}; udp you are {seen} and is {own}");
    let delays: Vec<u64> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("after ")?.strip_suffix(" ms")?.parse().ok())
        .collect();
    let rest: Vec<_> = lines
        .iter()
        .copied()
        .filter(|line| !line.starts_with("after "))
        .collect();
    assert_eq!(delays.len(), 2, "{lines:?}");
    assert!(delays.iter().all(|ms| *ms < 30_000), "{delays:?}");
    assert_eq!(
        rest,
        [
            said("10.77.0.1:40000", "127.0.0.1:40000").as_str(),
            // Its socket is one of IPv6.
            said("[::ffff:10.77.0.1]:40000", "127.0.0.1:40000").as_str(),
            said("10.77.0.1:40002", "127.0.0.1:40002").as_str(),
            "the others stay",
            "port 8081 of web is found at 127.0.0.1:8082: tcp port 127.0.0.1:8081 is taken",
        ]
    );
}
