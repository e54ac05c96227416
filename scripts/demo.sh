#!/usr/bin/env bash
# Two Debian machines from one file, talking: to each other, and to the host.
#
# Lines that begin with `+` are what you would type yourself. Everything lives in folders of its own,
# but for the image cache, so that the demo meets none of your machines, and a second run is quick.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
atoll=$target/release/atoll
web_server=''
folder=''
up=''

say() { printf '\n==> %s\n' "$*"; }

show() { printf '+ %s\n' "$*" >&2; }

run() { show "$@"; "$@"; }

# Runs atoll under its plain name on screen, and from the build in fact.
atoll() { show atoll "$@"; "$atoll" "$@"; }

fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# Whatever happens, what was started is ended.
finish() {
    status=$?
    trap - EXIT
    if [ -n "$up" ]; then "$atoll" down >&2 || status=1; fi
    if [ -n "$web_server" ]; then kill "$web_server" 2>/dev/null || true; fi
    if [ -n "$folder" ]; then rm -rf "$folder"; fi
    exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "What the machine needs"
scripts/deps.sh demo

say "Build"
run cargo build --release --package atoll-cli
case $atoll in /*) ;; *) atoll=$PWD/$atoll ;; esac

say "A Debian image from packages, once"
if "$atoll" image ls --json 2>/dev/null | grep -q '"name": *"debian"'; then
    echo "already built"
else
    atoll image build debian
fi

# Short, since sockets lie in it and their paths hold 108 bytes.
folder=$(mktemp -d --tmpdir=/tmp)
mkdir -p "$folder/web"
export ATOLL_HOME=$folder/state XDG_RUNTIME_DIR=$folder

say "Two machines"
run cd examples/demo
up=yes
atoll up
atoll ls

say "a reaches b by name"
run_in_a() { atoll ssh a -- "$@"; }
run_in_a ping -c1 b
run_in_a curl -s http://b:8000/ | tee "$folder/page"
grep -q "Hello from machine b" "$folder/page" || fail "b served something else"

say "a reaches a web server on the host's loopback"
echo "Hello from the host's 127.0.0.1." >"$folder/web/file"
port=''
for try in 8123 8223 8323 8423; do
    busybox httpd -f -p "127.0.0.1:$try" -h "$folder/web" 2>/dev/null &
    web_server=$!
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$web_server" 2>/dev/null || break
        if busybox wget -q -O - "http://127.0.0.1:$try/file" 2>/dev/null | cmp -s - "$folder/web/file"; then
            port=$try
            break 2
        fi
        sleep 0.2
    done
    kill "$web_server" 2>/dev/null || true
    web_server=''
done
[ -n "$port" ] || fail "no port for a web server on the host"
run_in_a curl -s "http://host.demo.internal:$port/file" | tee "$folder/page"
cmp -s "$folder/page" "$folder/web/file" || fail "a did not get the host's file"

say "Down, and nothing is left"
atoll down
up=''
kill "$web_server" && wait "$web_server" 2>/dev/null || true
web_server=''
left=''
# Every process of this demo carries its ATOLL_HOME; the list of processes is taken before grep is one.
for environment in /proc/[0-9]*/environ; do
    pid=${environment#/proc/}
    pid=${pid%/environ}
    if [ "$pid" != $$ ] && grep -qz "^ATOLL_HOME=$ATOLL_HOME\$" "$environment" 2>/dev/null; then
        left="$left process $pid ($(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c1-60))"
    fi
done
for socket in $(find "$folder" -type s); do left="$left socket $socket"; done
for lock in $(find "$folder" -name '*lock*' -type f); do
    flock --nonblock "$lock" true || left="$left lock $lock"
done
[ -z "$left" ] || fail "left behind:$left"
echo "no process, no socket, no lock"
