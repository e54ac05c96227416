#!/usr/bin/env bash
# Runs examples for real, on guests that install packages: minutes each, so not part of `make test`.
#
#   scripts/recipes.sh [NAME…]      etcd, swarm; all when none is named
#
# Guests fetch packages by way of the host's network. Everything lives in folders of its own, but for the image cache. Set ATOLL_BIN to
# run a binary that is built already.
set -eu
cd "$(dirname "$0")/.."

recipes="etcd swarm"
folder=''
up=''

say() { printf '\n==> %s\n' "$*"; }

fail() { printf 'recipes: %s\n' "$*" >&2; exit 1; }

# Whatever happens, what was started is ended.
finish() {
    status=$?
    trap - EXIT
    if [ -n "$up" ]; then (cd "$folder/$up" && "$atoll" rm) >&2 || status=1; fi
    if [ -n "$folder" ]; then rm -rf "$folder"; fi
    exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A copy of an example, which the recipe may edit, becomes this folder.
begin() {
    say "$1"
    cp -r "examples/$1" "$folder/$1"
    cd "$folder/$1"
    up=$1
}

end() {
    "$atoll" rm
    cd - >/dev/null
    up=''
}

pids() { "$atoll" ls --json | sed -n 's/^ *"name": "\(.*\)",$/\1/p; s/^ *"pid": \(.*\),$/\1/p' | paste - - | sort; }

# How many members say that they are healthy.
healthy() { "$atoll" ssh etcd-1 -- etcdctl endpoint health --cluster 2>&1 | tee /dev/stderr | grep -c "is healthy" || true; }

recipe_etcd() {
    begin etcd
    "$atoll" up --timeout 1800
    [ "$(healthy)" = 3 ] || fail "not all of three members are healthy"
    "$atoll" ssh etcd-2 -- etcdctl put greeting hello
    before=$(pids)

    say "etcd: a fourth member"
    sed -i 's/^    count: 3$/    count: 4/' atoll.yaml
    "$atoll" up --timeout 1800
    [ "$(healthy)" = 4 ] || fail "not all of four members are healthy"
    [ "$("$atoll" ssh etcd-4 -- etcdctl get --print-value-only greeting)" = hello ] || fail "the fourth member lacks a value"
    [ "$(pids | grep -v ^etcd-4)" = "$before" ] || fail "the others were not left alone"
    end
}

for file in scripts/recipes/*.sh; do . "$file"; done

if [ -n "${ATOLL_BIN:-}" ]; then
    atoll=$ATOLL_BIN
else
    cargo build --package atoll-cli
    atoll=${CARGO_TARGET_DIR:-target}/debug/atoll
fi
case $atoll in /*) ;; *) atoll=$PWD/$atoll ;; esac
if ! "$atoll" image ls --json | grep -q '"name": *"debian"'; then "$atoll" image build debian; fi

# Short, since sockets lie in it and their paths hold 108 bytes.
folder=$(mktemp -d --tmpdir=/tmp)
export ATOLL_HOME=$folder/state XDG_RUNTIME_DIR=$folder
[ $# -gt 0 ] || set -- $recipes
for name in "$@"; do
    began=$SECONDS
    case " $recipes " in *" $name "*) "recipe_$name" ;; *) fail "there is no recipe $name" ;; esac
    printf -- '--- %s: passed (%d s)\n' "$name" $((SECONDS - began))
done
