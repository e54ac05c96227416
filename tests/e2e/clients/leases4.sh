# The DHCP clients of Debian, one after the other: each is bound, told all that the network has to tell, renewed and released.
. "${0%/*}/kit.sh"

address=$(ip -4 -o address show dev tap0 | sed 's/.* inet \([^/]*\).*/\1/')
unconfigure

# dhclient (isc-dhcp-client), with the options that Debian's configuration asks for.
cat >"$work/dhclient.conf" <<'CONF'
option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
send host-name "dhclient";
send dhcp-lease-time 300;
request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, domain-search, host-name,
    interface-mtu, rfc3442-classless-static-routes, ntp-servers;
CONF
touch "$work/leases"
dhclient4() { dhclient -4 -v -cf "$work/dhclient.conf" -lf "$work/leases" -pf "$work/pid" -sf "$work/script" "$@" tap0; }
dhclient4 -1 >"$work/said" 2>&1 || fails "dhclient gets no lease" "$(cat "$work/said")"
text=$(cat "$told")
has "$text" "told: BOUND" "new_ip_address=$address" "new_subnet_mask=255.255.255.0" "new_routers=10.77.0.1" \
    "new_domain_name=lab.internal" "new_domain_name_servers=10.77.0.1" "new_domain_search=lab.internal." "new_interface_mtu=9000" \
    "new_rfc3442_classless_static_routes=24 192 168 10 10 77 0 5 0 10 77 0 1" "new_ntp_servers=198.18.7.2" \
    "new_dhcp_lease_time=300" "new_broadcast_address=10.77.0.255"
dhclient4 -r >"$work/said" 2>&1
has "$(cat "$work/said" "$told")" "DHCPRELEASE of $address on tap0 to 10.77.0.1" "told: RELEASE"
lacks "$(cat "$work/said")" "send_packet"

# udhcpc (busybox), of a machine of which nothing is known. It is told to renew by SIGUSR1 and to release by SIGUSR2. What was
# released is free for who asks for it.
: >"$told"
unconfigure
own=$(ip -o link show dev tap0 | sed 's/.*ether \([^ ]*\).*/\1/')
ip link set tap0 address 52:54:00:77:66:54
busybox udhcpc -f -i tap0 -s "$work/script" -t 20 -T 10 -O mtu -O search -O 121 -O ntpsrv -x hostname:udhcpc -x lease:60 \
    >"$work/said" 2>&1 &
client=$!
until_has "told: bound" cat "$told"
has "$(cat "$told")" "ip=10.77.0." "router=10.77.0.1" "subnet=255.255.255.0" "dns=10.77.0.1" "domain=lab.internal" \
    "search=lab.internal" "mtu=9000" "lease=60" "ntpsrv=198.18.7.2" "staticroutes=192.168.10.0/24 10.77.0.5 0.0.0.0/0 10.77.0.1"
leased=$(sed -n 's/^ip=//p' "$told")
[ "$(dig +short +tries=2 udhcpc.lab.internal @10.77.0.1)" = "$leased" ] || fails "udhcpc has no name"
# An answer that is there before udhcpc has closed the connected socket by which it asked is lost with that: it then asks all.
kill -USR1 $client
until_has "told: renew" cat "$told"
has "$(cat "$work/said")" "sending renew to server 10.77.0.1"
as_another() { ip link set tap0 address "$1" && timeout 20 busybox udhcpc -f -n -q -i tap0 -s /bin/true -t 5 -T 3 -r "$leased" 2>&1; }
lacks "$(as_another 52:54:00:77:66:55)" "lease of $leased obtained"
ip link set tap0 address 52:54:00:77:66:54
kill -USR2 $client
until_has "entering released state" cat "$work/said"
kill $client
wait $client || true
has "$(as_another 52:54:00:77:66:56)" "lease of $leased obtained"
ip link set tap0 address "$own"

# dhcpcd, with its privilege separation, and files of its own below /run and /var.
unconfigure
: >"$told"
for folder in /run /var/lib/dhcpcd; do [ ! -d $folder ] || mount -t tmpfs tmpfs $folder; done
mkdir -p /run/dhcpcd
cat >"$work/dhcpcd.conf" <<'CONF'
hostname dhcpcd
option domain_name_servers, domain_name, domain_search, classless_static_routes, interface_mtu, ntp_servers
require dhcp_server_identifier
noarp
nodelay
CONF
timeout 60 dhcpcd -4 -1 -B -d -f "$work/dhcpcd.conf" -c "$work/script" tap0 >"$work/said" 2>&1 ||
    fails "dhcpcd gets no lease" "$(cat "$work/said")"
has "$(cat "$told")" "told: BOUND" "new_ip_address=10.77.0." "new_routers=10.77.0.1" "new_domain_name=lab.internal" \
    "new_interface_mtu=9000" "new_classless_static_routes=192.168.10.0/24 10.77.0.5 0.0.0.0/0 10.77.0.1"
