//! Guests on `-netdev dgram`.

use atoll_e2e::{Attach, Guest, Kit, Net, Options, make_data, transfer};

const DGRAM: Options<'static> = Options {
    arguments: &["--qemu-dgram", "unix:{folder}/dgram.sock"],
};

#[test]
fn a_dgram_guest_and_a_stream_guest_move_a_megabyte_both_ways() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &DGRAM);
    let attached = [("a", Attach::Dgram), ("b", Attach::Stream)];
    let mut guests = Guest::start_attached(kit, &net, &attached);
    let sums: Vec<String> = guests.iter_mut().map(|guest| make_data(guest, 1)).collect();
    for (from, to) in [(0, 1), (1, 0)] {
        let [sender, receiver] = guests.get_disjoint_mut([from, to]).unwrap();
        let (arrived, _) = transfer(sender, receiver, 9000);
        assert_eq!(arrived, sums[from], "{} to {}", sender.name, receiver.name);
    }
}

#[test]
fn two_guests_share_one_dgram_socket() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &DGRAM);
    let attached = [("a", Attach::Dgram), ("b", Attach::Dgram)];
    let mut guests = Guest::start_attached(kit, &net, &attached);
    let addresses = [guests[0].address(), guests[1].address()];
    assert_ne!(addresses[0], addresses[1]);
    guests[0].ok("ping -c 1 -W 10 10.77.0.1");
    guests[1].ok(&format!("ping -c 1 -W 10 {}", addresses[0]));
}
