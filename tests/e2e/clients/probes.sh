# Who scans sees what a real host behind a router would show: open, closed and refused, from whom, and at once.
. "${0%/*}/kit.sh"

scan() { nmap -n -Pn --reason --max-retries 2 "$@"; }
# seen TEXT PORT STATE REASON
seen() { grep -Eq "^$2 +$3 .*$4" <<<"$1" || fails "$2 is not $3, $4:" "$1"; }

for kind in -sS -sT; do
    found=$(scan $kind -p 80,81 198.18.8.2)
    seen "$found" 80/tcp open syn-ack
    seen "$found" 81/tcp closed "(reset|conn-refused)"
    found=$(scan -6 $kind -p 80,81 2001:db8:8::2)
    seen "$found" 80/tcp open syn-ack
    seen "$found" 81/tcp closed "(reset|conn-refused)"
done
for found in "$(scan -sU -p 9,53 198.18.8.2)" "$(scan -6 -sU -p 9,53 2001:db8:8::2)"; do
    seen "$found" 9/udp closed port-unreach
    seen "$found" 53/udp closed port-unreach
done
# The gateway answers DNS and NTP, and has no other door.
found=$(scan -sU -p 53,123,161 10.77.0.1)
seen "$found" 53/udp open udp-response
seen "$found" 123/udp open udp-response
seen "$found" 161/udp closed port-unreach
found=$(scan -sS -p 22,53,80 10.77.0.1)
seen "$found" 53/tcp open syn-ack
seen "$found" 22/tcp closed reset
seen "$found" 80/tcp closed reset
# What no router is, the gateway does not play: it has no other transport, and carries none.
found=$(scan -sO -p 6,17,47,132 10.77.0.1)
seen "$found" 6 open proto-response
seen "$found" 47 closed proto-unreach
found=$(scan -sO -p 6,17,47 198.18.8.2)
seen "$found" 6 open proto-response
seen "$found" 47 filtered admin-prohibited
# Nobody has this address, and its own network's router says so.
found=$(scan -sS -p 80 --host-timeout 20 198.18.9.1)
seen "$found" 80/tcp filtered "(host|net)-unreach"

has "$(arping -c 1 -w 10 -I tap0 10.77.0.1)" "Unicast reply from 10.77.0.1" "Received 1 response"
# Duplicate address detection (RFC 5227): the gateway's is taken, a free one is not.
! arping -q -D -c 1 -w 5 -I tap0 10.77.0.1 || fails "the gateway's address seems free"
arping -q -D -c 1 -w 1 -I tap0 10.77.0.99 || fails "a free address seems taken"

# answered PING...: by the second at the latest, for the first may learn that the way takes 1400 bytes.
answered() { has "$(ping -n -c 3 -i 0.2 -W 20 "$@" || true)" " bytes from "; }
for size in 0 56 1472 65507; do
    answered -4 -s $size 10.77.0.1
    answered -4 -s $size 198.18.8.2
done
for size in 0 56 1452 65527; do
    answered -6 -s $size fd77:77::1
    answered -6 -s $size 2001:db8:8::2
done
# Options of IPv4: nothing is recorded, and nothing is lost.
for options in "-R" "-T tsonly"; do
    answered -4 $options 10.77.0.1
    answered -4 $options 198.18.8.2
done
