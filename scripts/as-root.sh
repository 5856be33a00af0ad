#!/usr/bin/env bash
# as-root.sh [--namespaces-first] COMMAND...: runs a command with the rights that namespaces and netfilter need.
#
# Root runs it as it is. Anyone else runs it through sudo, or as root of a user namespace with networks and mounts of its own.
# sudo comes first, since some tests need the real root. With --namespaces-first the user namespace comes first: what works
# there needs no password and can change nothing of the machine.
set -euo pipefail

ways=(sudo namespaces)
if [ "${1-}" = --namespaces-first ]; then
	ways=(namespaces sudo)
	shift
fi
if [ "$(id -u)" = 0 ]; then
	exec "$@"
fi
for way in "${ways[@]}"; do
	case $way in
	sudo)
		if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
			exec sudo -E env "PATH=$PATH" "$@"
		fi
		;;
	namespaces)
		if unshare --user --map-root-user --net --mount true 2>/dev/null; then
			exec unshare --user --map-root-user --net --mount "$@"
		fi
		;;
	esac
done
echo "$0: not root, no sudo without a password, and no user namespaces here: run this as root" >&2
exit 1
