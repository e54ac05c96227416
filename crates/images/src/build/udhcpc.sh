#!/bin/sh
# What udhcpc found out, made so.
mkdir -p /run
case $1 in
deconfig)
    ip address flush dev "$interface" scope global
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
    {
        [ -n "$search$domain" ] && echo "search ${search:-$domain}"
        for server in $dns; do echo "nameserver $server"; done
    } >/run/resolv."$interface"
    [ -n "$hostname" ] && hostname "$hostname"
    cat /run/resolv.* >/etc/resolv.conf
    [ "$1" = bound ] && /etc/ready "$interface" "$ip" &
    ;;
nak) echo "atoll-micro: $interface: the DHCP server refused: $message" >/dev/console ;;
esac
