#!/usr/bin/env bash
# Installs what is missing for the work named by its arguments, and nothing that is there already:
#   run        what the demo and the tests need: ip, nft, both variants of iptables, unshare, sysctl
#   test       for a full check: make, file, git, jq, shellcheck, curl; systemd-nspawn and debootstrap for the test that boots a machine; qemu for arm64;
#              strace for what a run costs; a headless browser for the rehearsal's report
#   container  podman with buildah, and debootstrap for a base image without a registry
# Debian and Ubuntu (apt-get), Amazon Linux 2023 (dnf) and 2 (yum). As root, or through sudo.
set -euo pipefail
export PATH="$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin"

fail() {
	echo "setup: $*" >&2
	exit 1
}

manager=
for m in apt-get dnf yum; do
	if command -v "$m" >/dev/null; then
		manager=$m
		break
	fi
done

# package_for prints the package that brings a program, by package manager; nothing where there is none.
package_for() {
	case "$manager:$1" in
	apt-get:ip) echo iproute2 ;;
	dnf:ip | yum:ip) echo iproute ;;
	*:nft) echo nftables ;;
	dnf:iptables | dnf:iptables-nft) echo iptables-nft ;;
	dnf:iptables-legacy) echo iptables-legacy ;;
	*:iptables | apt-get:iptables-nft | apt-get:iptables-legacy) echo iptables ;;
	*:unshare) echo util-linux ;;
	apt-get:sysctl) echo procps ;;
	dnf:sysctl | yum:sysctl) echo procps-ng ;;
	apt-get:shellcheck) echo shellcheck ;;
	apt-get:qemu-aarch64-static) echo qemu-user-static ;;
	apt-get:chromium-headless-shell) echo chromium-headless-shell ;;
	*:systemd-nspawn) echo systemd-container ;;
	apt-get:curl | *:file | *:git | *:jq | *:make | *:strace | *:tar | apt-get:podman | apt-get:buildah | apt-get:runc | apt-get:debootstrap) echo "$1" ;;
	esac
}

need=()   # programs without which the work cannot be done
wanted=() # programs that make it better
for work in "$@"; do
	case $work in
	run)
		need+=(ip iptables unshare)
		wanted+=(nft iptables-nft iptables-legacy sysctl)
		;;
	test)
		need+=(make)
		wanted+=(curl file git jq shellcheck strace systemd-nspawn debootstrap qemu-aarch64-static chromium-headless-shell)
		;;
	container) need+=(podman buildah runc debootstrap tar) ;;
	*) fail "unknown work '$work'; known: run, test, container" ;;
	esac
done

# missing prints those of its arguments that are not installed.
missing() {
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || echo "$program"
	done
}

check_go() {
	command -v go >/dev/null || fail "Go is not installed (go.mod says which version is needed): see https://go.dev/doc/install"
	local said
	said=$(go list -m 2>&1) || fail "the installed Go cannot build this module: $said"
}

# quietly shows a command's output only when the command fails.
quietly() {
	local said
	said=$("$@" 2>&1) || {
		tail -n 30 <<<"$said" >&2
		return 1
	}
}

install() {
	local sudo=()
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || fail "not root and no sudo: as root, install: $*"
		sudo=(sudo)
	fi
	case $manager in
	apt-get)
		quietly timeout 300 "${sudo[@]}" apt-get -q update || echo "setup: apt-get update failed; going on with the lists that are there" >&2
		quietly timeout 900 "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@"
		;;
	dnf | yum) quietly timeout 900 "${sudo[@]}" "$manager" -q install -y "$@" ;;
	esac
}

check_go
mapfile -t lacking < <(missing "${need[@]}" "${wanted[@]}")
[ "${#lacking[@]}" -gt 0 ] || exit 0

packages=()
for program in "${lacking[@]}"; do
	package=$(package_for "$program")
	case " ${packages[*]-} " in
	*" $package "*) ;;
	*) [ -z "$package" ] || packages+=("$package") ;;
	esac
done
if [ "${#packages[@]}" -gt 0 ]; then
	echo "setup: missing: ${lacking[*]}; installing: ${packages[*]}"
	install "${packages[@]}" || {
		# One that this system does not have must not keep the others out.
		echo "setup: installing ${packages[*]} failed; trying one after the other" >&2
		for package in "${packages[@]}"; do
			install "$package" || echo "setup: installing $package failed" >&2
		done
	}
fi

mapfile -t lacking < <(missing "${need[@]}")
[ "${#lacking[@]}" = 0 ] || fail "still missing: ${lacking[*]}. Install them by hand${manager:+ (tried: $manager)}, then run this again."
mapfile -t lacking < <(missing "${wanted[@]}")
[ "${#lacking[@]}" = 0 ] || echo "setup: going on without: ${lacking[*]}" >&2
