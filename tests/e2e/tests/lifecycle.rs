//! How `atoll net run` ends, and begins again.

use atoll_e2e::{Guest, Kit, Net, Options, PATIENCE, left_behind};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Neither the first nor the last of the pool.
const WISH: &str = "10.77.0.99";

const PLAIN: Options<'static> = Options { arguments: &[] };

#[test]
fn sigterm_ends_it_with_status_0_and_leaves_no_file() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &PLAIN);
    assert!(net.socket().exists());
    let (status, folder) = net.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(left_behind(folder.path()).unwrap(), [""; 0]);
}

#[test]
fn after_sigkill_it_starts_again_on_the_same_path_and_its_guests_come_back() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &PLAIN);
    let mut guests = Guest::start_all(kit, &net, &["a", "b"]);
    let addresses = [guests[0].address(), guests[1].address()];
    let (status, folder) = net.kill();
    assert_eq!(status.signal(), Some(9), "{status}");

    let net = Net::start_in(kit, &PLAIN, folder);
    if kit.reconnects() {
        guests[0].ok(&format!(
            "ping -c 1 -W 30 {} || ping -c 10 -W 2 {}",
            addresses[1], addresses[1]
        ));
    }
    drop(net);
}

#[test]
fn after_sigkill_a_guest_keeps_the_lease_that_its_state_folder_holds() {
    let Some(kit) = Kit::find() else { return };
    if !kit.reconnects() {
        return;
    }
    let options = Options {
        arguments: &["--state", "{folder}/state"],
    };
    let net = Net::start(kit, &options);
    let mut guests = Guest::start_all(kit, &net, &["a", "b"]);
    let other = guests[1].address();
    // An Ethernet address of which nothing is known asks for an IP address that is nobody's first choice, so that
    // only memory can give the same one again.
    guests[0].ok("killall udhcpc; ip link set eth0 down; ip link set eth0 address 52:54:00:77:00:63");
    guests[0].ok("ip link set eth0 up");
    assert!(ask(&mut guests[0], &format!("-r {WISH}")).contains(&format!("lease of {WISH} obtained")));
    let leases = net.folder().join("state/leases.json");
    let written = wait_for_file(&leases, |text| text.contains(&format!("\"{WISH}\"")));
    let text = fs::read_to_string(&leases);
    assert!(written, "{WISH} is not in {}: {text:?}", leases.display());
    let (status, folder) = net.kill();
    assert_eq!(status.signal(), Some(9), "{status}");

    let net = Net::start_in(kit, &options, folder);
    let told = ask(&mut guests[0], "");
    assert!(told.contains(&format!("lease of {WISH} obtained")), "{told}");
    guests[0].ok(&format!("ping -c 3 -W 20 {other}"));
    drop(net);
}

/// Asks for a lease as a guest does that just booted, and configures what comes; gives what udhcpc said.
fn ask(guest: &mut Guest, options: &str) -> String {
    guest.ok(&format!(
        "udhcpc -f -n -q -i eth0 -t 20 -T 2 -A 1 -s /etc/udhcpc {options}"
    ))
}

/// Whether the file comes to hold what `wanted` looks for, in good time.
fn wait_for_file(path: &Path, wanted: impl Fn(&str) -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if fs::read_to_string(path).is_ok_and(|text| wanted(&text)) {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn a_socket_in_use_is_not_stolen() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &PLAIN);
    let socket = net.socket();
    let folder = socket.parent().unwrap();
    let second = Net::command(kit, &PLAIN, folder).output().unwrap();
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{words}");
    assert!(
        words.contains(&socket.display().to_string()),
        "the message does not name the socket: {words}"
    );
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    guests[0].ok("ping -c 1 -W 10 10.77.0.1");
}
