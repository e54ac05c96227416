# What the scripts beside this one stand on. Each runs in the namespace of an `atoll net exec`, as `bash SCRIPT`, and ends with
# status 1 at the first thing that a client did not see, showing what it saw in its place.
set -eu
exec 2>&1

# Files of the clients: leases, pids, sockets.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fails WORDS: says what is wrong, and ends.
fails() {
    printf '%s\n' "FAILED: $1" "${2-}"
    exit 1
}

# has TEXT WORDS...: every one of the words stands in the text.
has() {
    local text=$1 words
    shift
    for words; do
        case $text in *"$words"*) ;; *) fails "\"$words\" is not in:" "$text" ;; esac
    done
}

# lacks TEXT WORDS...: none of them does.
lacks() {
    local text=$1 words
    shift
    for words; do
        case $text in *"$words"*) fails "\"$words\" is in:" "$text" ;; esac
    done
}

# until_has WORDS COMMAND...: the command's words have these, in the end.
until_has() {
    local words=$1 text='' try
    shift
    for try in $(seq 300); do
        text=$("$@" 2>&1) || true
        case $text in *"$words"*) return ;; esac
        sleep 0.1
    done
    fails "\"$words\" never comes from $*:" "$text"
}

# Forget every address, as a machine that boots has none but its link's own.
unconfigure() {
    ip -4 address flush dev tap0
    ip -6 address flush dev tap0 scope global
    ip -4 route flush dev tap0
    ip -6 route flush default
}

# The script of a DHCP client: it sets the address as real ones do, then writes what it was told.
told=$work/told
cat >"$work/script" <<SCRIPT
#!/bin/bash
address=\${new_ip_address-\${ip-}}
[ -z "\$address" ] || ip address replace "\$address/24" dev tap0
# The last line says that all is there.
{ env | sort; echo "told: \${reason-\${1-}}"; } >>$told
SCRIPT
chmod +x "$work/script"
