#!/usr/bin/env bash
# Runs the kernel and end-to-end tests in a container without network: with docker where an engine answers, else with podman and
# buildah. The base image is BASE where that is set; else one from a registry; else, where none can be reached, one made with
# debootstrap from the package mirror of this machine, which is kept for the next time. --clean removes the images.
# --demo builds the image of the rehearsal in place of that of the tests, and runs it once with the words that follow, as an operator
# would. --stage ARCH... only puts the programs of that image into bin/container, for builders of images elsewhere.
# PACKAGES are the Go packages to test, TEST_FLAGS flags for the test programs (-test.v, -test.run=...).
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin"

packages=${PACKAGES:-./netcfg/... ./cmd/emrsim/lab/... ./cmd/emrsim ./cmd/emrsim/scenarios}
image=localhost/emr-static-ip-test
demo_image=localhost/emrsim
own_base=localhost/emr-static-ip-test-base
registry_base=docker.io/library/debian:bookworm-slim
name=emr-static-ip-test-$$
scratch=

say() { echo "test-container: $*"; }
fail() {
	echo "test-container: $*" >&2
	exit 1
}

root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# The engine's command; podman needs root for what the tests do.
kind=podman
if timeout 20 docker info >/dev/null 2>&1; then
	kind=docker
fi
engine=("$kind")
[ "$kind" = docker ] || [ "$(id -u)" = 0 ] || engine=(sudo podman)

cleanup() {
	timeout 60 "${engine[@]}" rm --force "$name" >/dev/null 2>&1 || true
	timeout 60 "${engine[@]}" image rm "$image" >/dev/null 2>&1 || true
	[ -z "$scratch" ] || root rm -rf "$scratch"
}

have_image() { timeout 60 "${engine[@]}" image inspect "$1" >/dev/null 2>&1; }

# mirror prints where this machine's apt gets the main packages of its own release; nothing where it cannot tell.
mirror() {
	command -v apt-get >/dev/null || return 0
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
		awk -v release="$1" '$1 ~ /^https?:/ && $2 == release && $3 == "main" { print $1; exit }'
}

# make_base makes a minimal Debian with the programs that the tests call, so that building the image needs no network.
make_base() {
	local release proxy source settings=()
	# shellcheck disable=SC1091
	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[ -n "$release" ] || release=bookworm
	proxy=$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null | sed -n "s/^proxy='\(.*\)'\$/\1/p")
	[ -z "$proxy" ] || [ "$proxy" = DIRECT ] || settings+=("http_proxy=$proxy")
	source=$(mirror "$release")
	scratch=$(mktemp -d)
	say "making a base image of Debian $release with debootstrap (once; about a minute)"
	root env "${settings[@]}" timeout 900 debootstrap --variant=minbase --include=iptables,nftables,iproute2,procps \
		"$release" "$scratch/root" ${source:+"$source"} >"$scratch/log" 2>&1 || {
		tail -n 20 "$scratch/log" >&2
		fail "debootstrap failed"
	}
	root tar -C "$scratch/root" --exclude=./var/cache/apt/archives/*.deb -c . | timeout 600 "${engine[@]}" import - "$own_base" >/dev/null
	root rm -rf "$scratch"
	scratch=
}

choose_base() {
	if [ -n "${BASE:-}" ]; then
		base=$BASE
	elif have_image "$own_base"; then
		base=$own_base
	elif have_image "$registry_base" || timeout 300 "${engine[@]}" pull --quiet "$registry_base" >/dev/null 2>&1; then
		base=$registry_base
	else
		say "no registry can be reached"
		command -v debootstrap >/dev/null || scripts/setup.sh container
		make_base
		base=$own_base
	fi
}

# stage builds what goes into the image: one static test program for each package that has tests, in a directory of the package's
# name with its testdata; the two programs of the end-to-end tests; and the script that runs them all.
stage() {
	local package
	rm -rf bin/container
	mkdir -p bin/container/bin
	go build -ldflags "-X github.com/emr-static-ip/emr-static-ip/agent.version=${VERSION:-v0.9.0}" -o bin/container/bin/ ./cmd/emr-static-ip ./cmd/emrsim
	# shellcheck disable=SC2086 # a list of patterns
	go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' $packages >bin/container/packages
	while read -r package; do
		package=${package#github.com/emr-static-ip/emr-static-ip/}
		mkdir -p "bin/container/$package"
		go test -c -vet=off -o "bin/container/$package/tests" "./$package"
		[ ! -f "$package/README.md" ] || cp "$package/README.md" "bin/container/$package/" # what a test compares with
		[ ! -d "$package/testdata" ] || cp -r "$package/testdata" "bin/container/$package/"
		echo "$package"
	done <bin/container/packages >bin/container/list
	rm bin/container/packages
	install -D -t bin/container/scripts scripts/bootstrap.sh # what a test runs
	cp README.md bin/container/                              # what a test compares with
	[ -s bin/container/list ] || fail "no tests in $packages"
	cat >bin/container/run <<'RUN'
#!/bin/sh
# Runs every test program in its package's directory; the tests set sysctls of their own namespaces, so /proc/sys is made writable.
mount -o remount,rw /proc/sys || echo "/proc/sys stays read-only"
cd /emr-static-ip || exit 1
failed=
while read -r package; do
	echo "== $package"
	(cd "$package" && timeout 900 ./tests -test.timeout=14m "$@" </dev/null) || failed="$failed $package"
done <list
[ -z "$failed" ] || { echo "FAILED:$failed"; exit 1; }
echo "all passed: $(tr '\n' ' ' <list)"
RUN
	chmod +x bin/container/run
}

# stage_demo builds the two programs of the demo for the architectures that are named.
stage_demo() {
	local arch
	rm -rf bin/container
	for arch in "$@"; do
		mkdir -p "bin/container/demo/$arch"
		GOARCH=$arch go build -ldflags "-s -w -X github.com/emr-static-ip/emr-static-ip/agent.version=${VERSION:-v0.9.0}" \
			-o "bin/container/demo/$arch/" ./cmd/emr-static-ip ./cmd/emrsim
	done
}

# demo builds the image of the demo and runs it.
demo() {
	local arch
	arch=$(go env GOARCH)
	stage_demo "$arch"
	choose_base
	say "$kind, base image $base"
	local build=(--quiet --target demo --build-arg "BASE=$base" --build-arg "TARGETARCH=$arch" -f Dockerfile.test -t "$demo_image" .)
	if [ "$kind" = docker ]; then
		timeout 900 docker build "${build[@]}" >/dev/null
		timeout 1800 docker run --rm --privileged --network none --name "$name" "$demo_image" "$@"
	else
		root timeout 900 buildah bud --isolation chroot "${build[@]}" >/dev/null
		root timeout 1800 podman --runtime runc run --rm --privileged --network none --name "$name" --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$demo_image" "$@"
	fi
}

if [ "${1:-}" = --clean ]; then
	for made in "$image" "$demo_image" "$own_base"; do
		! have_image "$made" || "${engine[@]}" image rm --force "$made" >/dev/null
	done
	exit 0
fi

# As in the Makefile, so that nothing is compiled twice.
GOFLAGS=$(scripts/goflags.sh)
export CGO_ENABLED=0 GOFLAGS
if [ "${1:-}" = --stage ]; then
	stage_demo "${@:2}"
	exit 0
fi
trap cleanup EXIT
[ "$kind" = docker ] || scripts/setup.sh container
if [ "${1:-}" = --demo ]; then
	demo "${@:2}"
	exit 0
fi
stage
choose_base
say "$kind, base image $base"

# What the tests need inside: namespaces and mounts (SYS_ADMIN), links and rules (NET_ADMIN), raw sockets as iptables-legacy opens
# them (NET_RAW: docker gives it by default, podman does not). No network reaches the container.
allow=(--cap-add NET_ADMIN --cap-add SYS_ADMIN --cap-add NET_RAW --security-opt seccomp=unconfined --network none)
run=("$image" /emr-static-ip/run)
# shellcheck disable=SC2206 # a list of flags
run+=(${TEST_FLAGS:-})
if [ "$kind" = docker ]; then
	timeout 900 docker build --quiet --target test --build-arg "BASE=$base" -f Dockerfile.test -t "$image" . >/dev/null
	timeout 1800 docker run --name "$name" "${allow[@]}" --security-opt apparmor=unconfined "${run[@]}"
else
	# chroot isolation and bounded limits work also on a machine that is a container itself.
	root timeout 900 buildah bud --quiet --isolation chroot --target test --build-arg "BASE=$base" -f Dockerfile.test -t "$image" . >/dev/null
	root timeout 1800 podman --runtime runc run --name "$name" --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "${allow[@]}" "${run[@]}"
fi
