# Who looks for the way finds its routers: the gateway, the one behind it, the host.
. "${0%/*}/kit.sh"

# way TEXT HOPS...: these hops, in this order, and no other line in between.
way() {
    local text=$1 hop number=0
    shift
    for hop; do
        number=$((number + 1))
        # A router may be shown by more than one line (tracepath), never by another's.
        grep -Eq "^ *$number[:.].* *$hop( |\$)|^ *$number +$hop( |\$)" <<<"$text" || fails "hop $number is not $hop:" "$text"
    done
}

# A router on the way that has no route says so, and the gateway passes that on. First of all: Linux counts its other
# errors to a host against these.
has "$(traceroute -n -q 1 -w 5 -m 3 198.18.9.1)" "!H"

v4="10.77.0.1 198.18.7.2 198.18.8.2"
v6="fd77:77::1 2001:db8:7::2 2001:db8:8::2"
for kind in "" -I "-T -p 80" "-T -p 81" "-U -p 53"; do
    way "$(traceroute -4 -n -q 1 -w 5 -m 5 $kind 198.18.8.2)" $v4
    way "$(traceroute -6 -n -q 1 -w 5 -m 5 $kind 2001:db8:8::2)" $v6
done
for kind in "" -u "-T -P 80"; do
    way "$(mtr -4 -n --report -c 1 -i 0.1 -G 0.5 $kind 198.18.8.2)" $v4
    way "$(mtr -6 -n --report -c 1 -i 0.1 -G 0.5 $kind 2001:db8:8::2)" $v6
done
for path in "-4 -n 198.18.8.2" "-6 -n 2001:db8:8::2"; do
    found=$(tracepath $path)
    case $path in -4*) way "$found" $v4 ;; *) way "$found" $v6 ;; esac
    # The link behind the router takes 1400 bytes.
    has "$found" "Resume: pmtu 1400 hops 3"
done
way "$(rltraceroute6 -n -q 1 -m 5 2001:db8:8::2)" $v6
way "$(tcptraceroute6 -n -q 1 -m 5 2001:db8:8::2 80)" $v6
# Whoever sent a packet that was to cross few routers sends others afterwards, on the same socket's port.
for address in 198.18.8.2 2001:db8:8::2; do
    has "$(curl -sS -g -m 20 "http://$( [ "${address#*:}" = "$address" ] && echo "$address" || echo "[$address]")/")" "beyond"
done
