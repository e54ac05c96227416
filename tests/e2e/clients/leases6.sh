# IPv6 by itself, and by DHCPv6: what the router announces as tools read it, and the clients that follow it.
. "${0%/*}/kit.sh"

unconfigure
read_ra=$(rdisc6 -1 -r 3 -w 5000 tap0)
for line in "Hop limit +: +64 " "Stateful address conf. +: +Yes" "Stateful other conf. +: +Yes" "Router lifetime +: +1800 " \
    "MTU +: +9000 bytes" "Prefix +: fd77:77::/64" "On-link +: +Yes" "Autonomous address conf.: +Yes" "Valid time +: +5400 " \
    "Pref. time +: +2700 " "Recursive DNS server +: fd77:77::1" "DNS search list +: lab.internal" "from fe80::1"; do
    grep -Eq "$line" <<<"$read_ra" || fails "rdisc6 does not read \"$line\":" "$read_ra"
done
has "$(ndisc6 -1 -r 3 -w 5000 fd77:77::1 tap0)" "Target link-layer address: 52:55:" "from fd77:77::1"
lacks "$(ndisc6 -1 -r 1 -w 300 fd77:77::99 tap0 || true)" "Target link-layer address"

# dhcpcd: an address of its own by what the router announces, one by lease, and the resolvers of both.
unconfigure
: >"$told"
for folder in /run /var/lib/dhcpcd; do [ ! -d $folder ] || mount -t tmpfs tmpfs $folder; done
mkdir -p /run/dhcpcd
printf '%s\n' 'slaac hwaddr' nodelay 'option dhcp6_name_servers, dhcp6_domain_search' >"$work/dhcpcd.conf"
timeout 60 dhcpcd -6 -B -d -f "$work/dhcpcd.conf" -c "$work/script" tap0 >"$work/said" 2>&1 &
client=$!
until_has "told: BOUND6" cat "$told" "$work/said"
has "$(cat "$told")" "told: ROUTERADVERT" "nd1_addr1=fd77:77::" "nd1_rdnss1_servers=fd77:77::1" "nd1_dnssl1_search=lab.internal" \
    "nd1_mtu=9000" "new_dhcp6_ia_na1_ia_addr1=fd77:77::9" "new_dhcp6_name_servers=fd77:77::1"
until_has "fd77:77::9/128" ip -6 -o address show dev tap0
has "$(ip -6 route show default)" "via fe80::1"
kill $client
wait $client || true

# systemd-networkd, which drops to a user of its own: here that is root, who is the only one. Where /sys is read-only it does not
# wait for udev.
unconfigure
sed '/^systemd-network:/d' /etc/passwd >"$work/passwd"
echo 'systemd-network:x:0:0::/:/bin/sh' >>"$work/passwd"
mount --bind "$work/passwd" /etc/passwd
mount -t sysfs -o ro sysfs /sys
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp /run/systemd/network
printf '[Match]\nName=tap0\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n[DHCPv4]\nUseDomains=yes\nUseMTU=yes\nClientIdentifier=mac\n' \
    >/run/systemd/network/10-tap.network
SYSTEMD_LOG_LEVEL=info /lib/systemd/systemd-networkd >"$work/said" 2>&1 &
client=$!
until_has "ADMIN_STATE=configured" sh -c 'cat /run/systemd/netif/links/*'
until_has "fd77:77::9/128" ip -6 -o address show dev tap0
until_has "fd77:77::" sh -c 'ip -6 -o address show dev tap0 dynamic scope global | grep /64'
has "$(cat /run/systemd/netif/links/*)" "OPER_STATE=routable" "10.77.0.1" "fd77:77::1" "lab.internal"
has "$(ip -4 route)" "default via 10.77.0.1 dev tap0 proto dhcp" "192.168.10.0/24 via 10.77.0.5"
has "$(ip -6 route)" "default via fe80::1 dev tap0 proto ra"
has "$(ip -4 -o address show dev tap0)" "inet 10.77.0.9/24"
kill $client
wait $client || true

# dhclient, the last one as it stays at the port that clients share: an address by lease, and its release; then the stateless information alone.
unconfigure
: >"$told"
touch "$work/leases"
dhclient6() {
    dhclient -6 -v -1 -lf "$work/leases" -pf "$work/pid" -sf "$work/script" "$@" tap0 >"$work/said" 2>&1 ||
        fails "dhclient -6 $* fails" "$(cat "$work/said")"
}
dhclient6
has "$(cat "$told")" "told: BOUND6" "new_ip6_address=fd77:77::9" "new_ip6_prefixlen=128" "new_dhcp6_name_servers=fd77:77::1" \
    "new_dhcp6_domain_search=lab.internal." "new_preferred_life=3600" "new_renew=1800"
dhclient -6 -v -r -lf "$work/leases" -pf "$work/pid" -sf "$work/script" tap0 >"$work/said" 2>&1
has "$(cat "$told")" "told: RELEASE6"
: >"$told"
dhclient6 -S
has "$(cat "$told")" "new_dhcp6_name_servers=fd77:77::1" "new_dhcp6_domain_search=lab.internal."
lacks "$(cat "$told")" "new_ip6_address"
# It stays, to ask again.
dhclient -6 -x -lf "$work/leases" -pf "$work/pid" -sf "$work/script" tap0 >/dev/null 2>&1
