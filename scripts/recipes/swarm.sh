# examples/swarm: an overlay network between guests, a service on all of them, and what is left of it when one is killed.
#
# Packages go once into an image of the recipe's own instead of into three guests. It is built in a cache of its own; name a folder in
# ATOLL_RECIPES_CACHE to keep it.

# The address of the host's loopback that is a machine's own.
loopback_of() { "$atoll" ls --json | sed -n "/\"name\": \"$1\"/,/\"ssh_port\"/s/^ *\"loopback\": \"\(.*\)\",\$/\1/p"; }

on() { machine=$1; shift; "$atoll" ssh "$machine" -- "$@"; }

# An image of busybox alone, whose web server says in which replica and on which machine it runs.
web_image='set -eu
folder=$(mktemp -d)
mkdir -p "$folder/bin" "$folder/www/cgi-bin"
cp /bin/busybox "$folder/bin"
for applet in sh hostname httpd wget; do ln -s busybox "$folder/bin/$applet"; done
printf "#!/bin/sh\nprintf \"Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n\"\nhostname\n" >"$folder/www/cgi-bin/name"
chmod +x "$folder/www/cgi-bin/name"
printf "FROM scratch\nCOPY . /\nCMD [\"httpd\", \"-f\", \"-p\", \"8000\", \"-h\", \"/www\"]\n" >"$folder/Dockerfile"
docker build --quiet --tag web:1 "$folder"'

# Asks through a machine's published port until that many replicas have answered, 60 times at most; prints who did.
asked() {
    address=$(loopback_of "$1")
    seen=''
    for _ in $(seq 60); do
        seen=$( (printf '%s\n' $seen; curl -s --max-time 20 "http://$address:30000/cgi-bin/name" || true) | grep . | sort -u)
        [ "$(printf '%s\n' "$seen" | grep -c .)" -lt "$2" ] || break
        sleep 1
    done
    printf '%s: %s\n' "$1" "$(printf '%s' "$seen" | tr '\n' ' ')"
}

# As many answers in a row as there are replicas, twice over, with none left out.
answers_in_a_row() {
    address=$(loopback_of "$1")
    row=0
    for _ in $(seq 300); do
        if curl -sf --max-time 10 "http://$address:30000/cgi-bin/name" >/dev/null; then row=$((row + 1)); else row=0; sleep 1; fi
        [ $row -lt 6 ] || return 0
    done
    return 1
}

replicas() { on manager-1 docker service ls --format "'{{.Replicas}}'"; }

all_replicas_run() {
    for _ in $(seq 300); do
        [ "$(replicas)" = 3/3 ] && return
        sleep 2
    done
    on manager-1 docker service ps web >&2
    fail "not all of three replicas run"
}

recipe_swarm() {
    export XDG_CACHE_HOME=${ATOLL_RECIPES_CACHE:-$folder/cache}
    if ! "$atoll" image ls --json | grep -q '"name": *"debian"'; then
        "$atoll" image build debian --with docker.io --with busybox-static
    fi
    begin swarm
    "$atoll" up --timeout 3000
    on manager-1 docker node ls
    [ "$(on manager-1 docker node ls --format "'{{.Status}}'" | grep -c Ready)" = 3 ] || fail "not all of three nodes are ready"

    say "swarm: a service of three replicas on an overlay network"
    for machine in manager-1 worker-1 worker-2; do on $machine "$web_image"; done
    on manager-1 docker network create --driver overlay inside
    on manager-1 docker service create --detach --quiet --no-resolve-image --name web --replicas 3 --network inside \
        --publish 30000:8000 --hostname "'{{.Task.Slot}}@{{.Node.Hostname}}'" web:1
    all_replicas_run
    for machine in manager-1 worker-1 worker-2; do
        asked $machine 3 | tee /dev/stderr | grep -q '@manager-1.*@worker-1.*@worker-2' || fail "not all replicas answer through $machine"
    done

    say "swarm: one container reaches all over the overlay (VXLAN)"
    seen=$(on worker-2 'container=$(docker ps --quiet --filter label=com.docker.swarm.service.name=web)
        for _ in $(seq 9); do docker exec "$container" wget -q -T 20 -O - http://web:8000/cgi-bin/name; done' | sort -u | tr '\n' ' ')
    echo "$seen"
    case $seen in *@manager-1*@worker-1*@worker-2*) ;; *) fail "the overlay does not reach all replicas" ;; esac

    say "swarm: one worker is killed"
    kill -9 "$(pids | sed -n 's/^worker-1[[:space:]]*//p')"
    until [ "$(on manager-1 docker node ls --filter name=worker-1 --format "'{{.Status}}'")" = Down ]; do sleep 2; done
    all_replicas_run
    for machine in manager-1 worker-2; do
        answers_in_a_row $machine || fail "the service does not answer through $machine"
        asked $machine 3
    done
    on manager-1 docker service ps --filter desired-state=running web
    end
    unset XDG_CACHE_HOME
}
