#!/bin/sh
# What udhcpc found out, made so.
mkdir -p /run
case $1 in
deconfig)
    # What IPv6 has from the router is not DHCP's to take away.
    ip -4 address flush dev "$interface" scope global
    ip link set "$interface" up
    ;;
bound | renew)
    [ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
    ip address replace "$ip/$mask" dev "$interface"
    metric=${interface##*[!0-9]}
    for gateway in $router; do
        ip route replace default via "$gateway" dev "$interface" metric "${metric:-0}"
        break
    done
    # Destination and next hop, in turn (option 121).
    set -- "$1" $staticroutes
    event=$1
    shift
    while [ $# -ge 2 ]; do
        ip route replace "$1" via "$2" dev "$interface" metric "${metric:-0}"
        shift 2
    done
    {
        [ -n "$search$domain" ] && echo "search ${search:-$domain}"
        for server in $dns; do echo "nameserver $server"; done
    } >/run/resolv."$interface"
    [ -n "$hostname" ] && hostname "$hostname"
    cat /run/resolv.* >/etc/resolv.conf
    [ "$event" = bound ] && /etc/ready "$interface" "$ip" &
    ;;
leasefail)
    # IPv6 may be all there is: then the kernel has made an address of what the router announced, and the router is the
    # resolver, too.
    address=$(ip -6 -o address show dev "$interface" scope global | sed -n 's/.* inet6 \([^/]*\).*/\1/p' | head -n 1)
    router=$(ip -6 route show default dev "$interface" | sed -n 's/.*via \([^ ]*\).*/\1/p' | head -n 1)
    if [ -n "$address" ] && mkdir "/run/only6.$interface" 2>/dev/null; then
        [ -n "$router" ] && echo "nameserver $router%$interface" >/run/resolv."$interface"
        cat /run/resolv.* >/etc/resolv.conf
        /etc/ready "$interface" "$address" &
    fi
    ;;
nak) echo "atoll-micro: $interface: the DHCP server refused: $message" >/dev/console ;;
esac
