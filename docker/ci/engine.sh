#!/usr/bin/env bash
# A Docker engine of our own beside any other, as root on Debian.
#
#   engine.sh start build   in the host's network, no bridge, no firewall rules: `docker build --network host`
#   engine.sh start serve   in a network namespace of its own: -p, compose networks; reaches nothing outside
#   engine.sh enter CMD...  run CMD in that namespace, where published ports are on 127.0.0.1
#   engine.sh stop          images stay
#
# Both use $DOCKER_HOST, a socket in the folder that holds everything of the engine.
set -euo pipefail

socket=${DOCKER_HOST#unix://}
state=$(dirname "$socket")
namespace=attend-ci

start() {
	mkdir -p "$state"
	local options=(--host "$DOCKER_HOST" --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/pid")
	if [ "$1" = serve ]; then
		ip netns add "$namespace"
		ip -n "$namespace" link set lo up
		# Not `ip netns exec`: that mounts /sys anew, and the engine then finds no cgroups.
		setsid nsenter --net="/run/netns/$namespace" dockerd "${options[@]}" >"$state/log" 2>&1 </dev/null &
	else
		setsid dockerd "${options[@]}" --bridge=none --iptables=false --ip-forward=false --ip-masq=false \
			>"$state/log" 2>&1 </dev/null &
	fi
	for _ in $(seq 120); do
		docker info >/dev/null 2>&1 && return
		sleep 0.25
	done
	echo "the engine does not answer; the end of its log:" >&2
	tail -n 5 "$state/log" >&2
	return 1
}

stop() {
	if [ -s "$state/pid" ]; then
		local process
		process=$(cat "$state/pid")
		kill "$process" 2>/dev/null || true
		for _ in $(seq 120); do
			kill -0 "$process" 2>/dev/null || break
			sleep 0.25
		done
	fi
	umount "$state/exec/netns/default" 2>/dev/null || true
	ip netns delete "$namespace" 2>/dev/null || true
}

case ${1:-} in
start) stop && start "${2:?build or serve}" ;;
stop) stop ;;
enter) shift && exec nsenter --net="/run/netns/$namespace" "$@" ;;
*) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
