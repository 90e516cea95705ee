#!/usr/bin/env bash
# Stand-ins for the base images, python:3.11-slim and prom/prometheus, from Debian's packages, for machines that reach no
# image registry. Loaded into the engine at $DOCKER_HOST; an image that is there already is left alone.
#
#   images.sh PROMETHEUS    the path of a Prometheus server's binary
set -euo pipefail

prometheus=${1:?the path of a Prometheus server}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sources=(/etc/apt/sources.list.d/debian.sources /etc/apt/sources.list)

present() { docker image inspect "$1" >/dev/null 2>&1; }

debian() {
	for list in "${sources[@]}"; do [ -s "$list" ] && break; done
	mmdebstrap --quiet --variant=minbase --aptopt='APT::Install-Recommends "false"' \
		--include=ca-certificates,python3,python3-venv,python3-pip bookworm "$work/root" "$list"
	rm -rf "$work/root/var/cache/apt/archives"/*.deb "$work/root/var/lib/apt/lists"/*
	# What this machine needs to reach PyPI, in the stand-in only.
	cp -L /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/ca-certificates.crt"
	if [ -f /etc/pip.conf ]; then cp -L /etc/pip.conf "$work/root/etc/pip.conf"; fi
	ln -s /usr/bin/python3.11 "$work/root/usr/local/bin/python"
}

if ! present python:3.11-slim; then
	debian
	tar -C "$work/root" -c . | docker import --change 'ENV LANG=C.UTF-8' --change 'CMD ["python"]' - python:3.11-slim
fi
server=$(sed -n 's/^ *image: \(prom.*\)/\1/p' docker/compose.yaml)
if ! present "$server"; then
	mkdir -p "$work/prometheus/bin"
	cp "$prometheus" "$work/prometheus/bin/prometheus"
	printf 'FROM python:3.11-slim\nCOPY bin /bin\nENTRYPOINT ["/bin/prometheus"]\n' >"$work/prometheus/Dockerfile"
	/usr/bin/docker build --quiet --tag "$server" "$work/prometheus"
fi
