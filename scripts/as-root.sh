#!/usr/bin/env bash
# as-root.sh [--namespaces-first] COMMAND...: runs a command with the rights that namespaces and netfilter need.
#
# Root runs it as it is. Anyone else runs it through sudo, or as root of a user namespace with networks and mounts of its own.
# sudo comes first, since some tests need the real root. With --namespaces-first the user namespace comes first: what works
# there needs no password and can change nothing of the machine.
set -euo pipefail

order=(by_sudo by_namespaces)
if [ "${1-}" = --namespaces-first ]; then
	order=(by_namespaces by_sudo)
	shift
fi
if [ "$(id -u)" = 0 ]; then
	exec "$@"
fi

by_sudo() {
	command -v sudo >/dev/null || return 0
	sudo -n true 2>/dev/null || [ -t 0 ] || return 0
	exec sudo -E env "PATH=$PATH" "$@"
}
by_namespaces() {
	unshare --user --map-root-user --net --mount true 2>/dev/null || return 0
	exec unshare --user --map-root-user --net --mount "$@"
}
for way in "${order[@]}"; do "$way" "$@"; done
echo "$0: not root, no sudo without a password, and no user namespaces here: run this as root" >&2
exit 1
