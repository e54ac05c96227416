#!/usr/bin/env bash
# Install the Debian packages that Atoll needs, or say which are missing.
#
#   scripts/deps.sh [demo] [test]
#
# `demo` is what running machines takes, `test` what the checks take besides. As root, or where sudo
# asks for no password, missing packages are installed; otherwise they are listed and the exit status
# is 1. Nothing is done when nothing is missing.
#
# Debian 12's QEMU (7.2) works, but its packages conflict with a newer qemu-utils, and newer QEMU
# reconnects to a restarted network faster. So where apt offers no QEMU from 9 on, backports are added:
# a source derived from the machine's own by changing its suite.
set -eu

case $(uname -m) in
    aarch64 | arm64) qemu_command=qemu-system-aarch64 qemu_package=qemu-system-arm ;;
    *) qemu_command=qemu-system-x86_64 qemu_package=qemu-system-x86 ;;
esac
# The checks also run a guest of the other architecture.
case $qemu_package in
    qemu-system-x86) foreign_command=qemu-system-aarch64 foreign_package=qemu-system-arm ;;
    *) foreign_command=qemu-system-x86_64 foreign_package=qemu-system-x86 ;;
esac
demo_packages="gcc libc6-dev mmdebstrap busybox-static e2fsprogs openssh-client uidmap"
test_packages="bind9-dnsutils cpio curl dhcpcd-base dnsmasq-base gnupg iperf3 iproute2 iputils-arping iputils-ping iputils-tracepath
    isc-dhcp-client keepalived mtr-tiny ndisc6 netcat-openbsd nftables nmap ntpsec-ntpdig procps rsync sudo systemd tcpdump traceroute"
# Without these a check is skipped, so it is no error when a release does not have them.
optional_packages="rustc-web rust-web-src rust-web-clippy valgrind"

say() { printf 'deps: %s\n' "$*" >&2; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

usable() { "$1" --version >/dev/null 2>&1; }

may_install() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" </dev/null >&2; }

missing_of() { for package; do installed "$package" || printf '%s ' "$package"; done; }

# Names every package that is wanted and not there. QEMU counts by its command: one built by hand is
# as good.
missing() {
    case " $* " in *" demo "*) missing_of $demo_packages ;; esac
    case " $* " in *" test "*) missing_of $test_packages ;; esac
    usable $qemu_command || printf '%s ' $qemu_package
    case " $* " in *" test "*) usable $foreign_command || printf '%s ' $foreign_package ;; esac
    usable qemu-img || printf '%s ' qemu-utils
}

# The lowest major version among these packages that apt would install. Each is asked for: of one that is
# installed from backports already apt offers that, of the others still the release's own, which conflicts.
offered_qemu() { LC_ALL=C apt-cache policy "$@" | sed -n 's/^  Candidate: \([0-9]*:\)\{0,1\}\([0-9]*\)\..*/\2/p' | sort -n | head -n 1; }

# Writes a deb822 source for backports, from the first source of the machine that has this release's
# own suite, whichever of apt's two formats it is in.
backports_source() {
    local release=$1 files
    files=$(ls /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
    [ -z "$files" ] || awk -v suite="$release" '
        function flush() { if (mine) { printf "%s", stanza; found = 1; exit } stanza = ""; mine = 0 }
        /^[ \t]*$/ || FNR == 1 { flush() }
        /^#/ || /^[ \t]*$/ { next }
        /^Suites:/ {
            for (i = 2; i <= NF; i++) if ($i == suite) mine = 1
            stanza = stanza "Suites: " suite "-backports\n"; next
        }
        /^Components:/ { stanza = stanza "Components: main\n"; next }
        { stanza = stanza $0 "\n" }
        END { if (!found) flush() }
    ' $files
    files=$(ls /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true)
    [ -z "$files" ] || awk -v suite="$release" '
        $1 == "deb" && !done {
            options = ""; line = $0
            if (match(line, /\[[^]]*\]/)) {
                options = substr(line, RSTART + 1, RLENGTH - 2)
                line = substr(line, 1, RSTART - 1) substr(line, RSTART + RLENGTH)
            }
            split(line, field)
            if (field[3] != suite) next
            print "Types: deb\nURIs: " field[2] "\nSuites: " suite "-backports\nComponents: main"
            if (match(options, /signed-by=[^ ]*/)) print "Signed-By: " substr(options, RSTART + 10, RLENGTH - 10)
            done = 1
        }
    ' $files
}

# Takes the first stanza only: a machine with both formats names its suite twice.
add_backports() {
    local release stanza
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    stanza=$(backports_source "$release" | awk '/^Types:/ && seen++ { exit } { print }')
    if [ -z "$stanza" ]; then
        say "no source of this machine names the suite $release, so backports are not added"
        return 1
    fi
    say "adding $release-backports to /etc/apt/sources.list.d/atoll-backports.sources"
    printf '%s\n' "$stanza" | as_root tee /etc/apt/sources.list.d/atoll-backports.sources >/dev/null
    apt update
}

# Prints `-t RELEASE-backports` when these packages of QEMU are better taken from there.
qemu_target() {
    local release offered
    offered=$(offered_qemu "$@")
    [ "${offered:-0}" -lt 9 ] || return 0
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    LC_ALL=C apt-cache policy | grep -q "n=$release-backports" || add_backports || return 0
    printf -- '-t %s-backports' "$release"
}

install_missing() {
    local qemu='' rest='' package
    apt update
    for package; do
        case $package in qemu-*) qemu="$qemu $package" ;; *) rest="$rest $package" ;; esac
    done
    [ -z "$rest" ] || apt install --no-install-recommends $rest
    [ -z "$qemu" ] || apt install --no-install-recommends $(qemu_target $qemu) $qemu
}

install_optional() {
    local package wanted=''
    for package in $(missing_of $optional_packages); do
        LC_ALL=C apt-cache policy "$package" | grep -q '^  Candidate: [0-9]' && wanted="$wanted $package"
    done
    [ -z "$wanted" ] || apt install --no-install-recommends $wanted || say "optional packages not installed:$wanted"
}

[ $# -gt 0 ] || set -- demo
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "this is no Debian system; needed: $qemu_command, qemu-img, mmdebstrap, a static busybox, mke2fs, ssh, cc"
    exit 0
fi
wanted=$(missing "$@")
if [ -n "$wanted" ]; then
    if ! may_install; then
        say "missing Debian packages, and no right to install them (no root, no sudo without a password):"
        say "  apt-get install $wanted"
        exit 1
    fi
    say "installing $wanted"
    install_missing $wanted
fi
case " $* " in *" test "*) if may_install; then install_optional; fi ;; esac
