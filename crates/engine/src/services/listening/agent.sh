#!/bin/sh
# Tells the network's metadata service at which ports programs of this machine listen, when that changes and every ten seconds.
#
#   sh ports.sh [ADDRESS]           stay in the foreground; ADDRESS is 169.254.169.254 when left out
#   sh ports.sh install [ADDRESS]   as a service: systemd, OpenRC, or in the background until the next start
#
# Left out: ports on loopback addresses, which nobody outside reaches, and UDP ports of the ephemeral range, which are clients'. Needs awk,
# sleep, and one of bash, curl, wget, nc and python3.

if [ "$1" = install ]; then
    shift
    where=/usr/local/lib/atoll
    mkdir -p $where || exit 1
    [ "$0" = $where/ports.sh ] || cp "$0" $where/ports.sh || exit 1
    if [ -d /run/systemd/system ]; then
        cat >/etc/systemd/system/atoll-ports.service <<UNIT
[Unit]
Description=Tells the network which ports are listened at
After=network.target
[Service]
ExecStart=/bin/sh $where/ports.sh $*
Restart=always
RestartSec=5
DynamicUser=yes
Nice=10
[Install]
WantedBy=multi-user.target
UNIT
        systemctl daemon-reload && systemctl enable --now atoll-ports.service
    elif [ -x /sbin/openrc-run ]; then
        printf '#!/sbin/openrc-run\ncommand=/bin/sh\ncommand_args="%s"\ncommand_background=yes\npidfile=/run/atoll-ports.pid\n' \
            "$where/ports.sh $*" >/etc/init.d/atoll-ports
        chmod 755 /etc/init.d/atoll-ports && rc-update add atoll-ports default && rc-service atoll-ports start
    else
        nohup sh $where/ports.sh "$@" >/dev/null 2>&1 &
    fi
    exit
fi

server=${1:-169.254.169.254}
range=$(cat /proc/sys/net/ipv4/ip_local_port_range 2>/dev/null) || range='32768 60999'

# Addresses are words in the machine's byte order.
case $(uname -m) in
s390* | ppc | ppc64 | mips | mips64 | sparc* | parisc*) net='^7F......$' one='^0000000000000000(0000000000000001|0000FFFF7F......)$' ;;
*) net='^......7F$' one='^0000000000000000(0000000001000000|FFFF0000......7F)$' ;;
esac
files=
for file in /proc/net/tcp /proc/net/udp /proc/net/tcp6 /proc/net/udp6; do
    [ -r $file ] && files="$files $file"
done

# A port a line. A TCP socket listens in state 0A; one of UDP has no peer, state 07.
ports() {
    awk -v range="$range" -v net="$net" -v one="$one" '
        function number(hex,    i, value) {
            value = 0
            for (i = 1; i <= length(hex); i++) value = value * 16 + index("0123456789ABCDEF", substr(hex, i, 1)) - 1
            return value
        }
        BEGIN { split(range, ephemeral, /[ \t]+/) }
        FNR == 1 { protocol = FILENAME ~ /udp/ ? "udp" : "tcp"; next }
        $4 != (protocol == "udp" ? "07" : "0A") { next }
        {
            split($2, place, ":")
            if (place[1] ~ net || place[1] ~ one) next
            port = number(place[2])
            if (protocol == "udp" && port >= ephemeral[1] && port <= ephemeral[2]) next
            if (port == 0 || seen[protocol, port]++ || count++ >= 128) next
            print protocol, port
        }' $files
}

# The body is in $1. Whoever answers, the connection was closed by us: HTTP/1.0.
if command -v bash >/dev/null 2>&1 && bash -c ': >/dev/tcp/127.0.0.1/0' 2>&1 | grep -qv 'No such file'; then way=bash
elif command -v curl >/dev/null 2>&1; then way=curl
elif command -v nc >/dev/null 2>&1; then way=nc
elif command -v wget >/dev/null 2>&1; then way=wget
elif command -v python3 >/dev/null 2>&1; then way=python3
else
    echo "one of bash, curl, nc, wget and python3 is needed" >&2
    exit 1
fi
case $server in *:*) host="[$server]" ;; *) host=$server ;; esac

request() {
    printf 'PUT /atoll/ports HTTP/1.0\r\nHost: %s\r\nContent-Length: %s\r\n\r\n%s' "$host" "${#1}" "$1"
}

tell() {
    case $way in
    bash) request "$1" | bash -c "exec 3<>/dev/tcp/$server/80 && cat >&3 && read -r -t 5 line <&3 && echo \"\$line\"" 2>/dev/null | grep -q ' 204 ' ;;
    curl) curl -sf -m 5 -X PUT --data-binary "$1" "http://$host/atoll/ports" >/dev/null 2>&1 ;;
    nc) request "$1" | nc -w 5 "$server" 80 2>/dev/null | grep -q ' 204 ' ;;
    wget) wget -q -T 5 -O /dev/null --post-data="$1" "http://$host/atoll/ports" >/dev/null 2>&1 ;;
    python3) request "$1" | python3 -c "import socket,sys
s=socket.create_connection(('$server',80),5); s.sendall(sys.stdin.buffer.read()); sys.exit(b' 204 ' not in s.recv(64))" 2>/dev/null ;;
    esac
}

# Not every sleep knows parts of a second; either way ten of them pass between two reports of the same.
pause=0.4 often=25
sleep $pause 2>/dev/null || pause=1 often=10
told=none
turns=0
while :; do
    now=$(ports)
    turns=$((turns + 1))
    if [ "$now" != "$told" ] || [ $turns -ge $often ]; then
        if tell "$now"; then
            told=$now turns=0
        else
            sleep 2
        fi
    fi
    sleep $pause
done
