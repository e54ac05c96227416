#!/bin/sh
# PID 1 of the micro guest. Its kernel command line may say:
#   atoll.hostname=NAME     name itself, and tell the DHCP server
#   atoll.addr=ADDR/LEN     the first NIC's address, instead of DHCP; with atoll.gw=ADDR and atoll.dns=ADDR
#   atoll.run=BASE64        a shell script to run once the network is up; then the guest powers off
#   atoll.exec=1            a shell for anyone who connects to TCP port 7777: for tests only
export PATH=/bin HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /run
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
echo 1 >/proc/sys/net/ipv6/conf/default/accept_ra
# Routes that a router tells (RFC 4191) are taken only as far as this says; unset it says none.
echo 128 >/proc/sys/net/ipv6/conf/default/accept_ra_rt_info_max_plen

option() { sed -n "s/^\(.* \)\{0,1\}$1=\([^ ]*\).*/\2/p" /proc/cmdline; }

name=$(option atoll.hostname)
hostname "${name:-micro}"

while read -r module; do insmod "/lib/modules/$module" 2>/dev/null; done </lib/modules/order

ip link set lo up
mkfifo /run/ready
address=$(option atoll.addr)
first=yes
for nic in $(ls /sys/class/net | grep -v '^lo$'); do
    ip link set "$nic" up
    if [ -n "$address" ] && [ "$first" = yes ]; then
        ip address add "$address" dev "$nic"
        [ -n "$(option atoll.gw)" ] && ip route add default via "$(option atoll.gw)"
        [ -n "$(option atoll.dns)" ] && echo "nameserver $(option atoll.dns)" >/etc/resolv.conf
        /etc/ready "$nic" "${address%/*}" &
    else
        udhcpc -f -S -i "$nic" -s /etc/udhcpc -t 5 -T 1 -A 1 -x "hostname:$(hostname)" \
            -O search -O mtu -O staticroutes >/dev/null 2>&1 &
    fi
    first=no
done
[ "$first" = yes ] && echo "atoll-micro: no network card"

[ -d /dev/input ] && acpid -d -c /etc/acpi >/dev/null 2>&1 &
[ "$(option atoll.exec)" = 1 ] && nc -ll -p 7777 -e /bin/sh >/dev/null 2>&1 &

script=$(option atoll.run)
if [ -n "$script" ]; then
    read -r _ </run/ready
    echo "$script" | base64 -d >/run/script
    sh /run/script
    echo "atoll-micro: exit $?"
    poweroff -f
fi
cat /run/ready >/dev/null &
while :; do
    setsid cttyhack sh -l
    sleep 1
done
