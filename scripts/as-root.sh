#!/usr/bin/env bash
# Runs a command with the rights that namespaces and netfilter need: as it is for root, else through sudo, else as root of a user
# namespace of its own, with networks and mounts of its own.
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
	exec "$@"
fi
if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
	exec sudo -E env "PATH=$PATH" "$@"
fi
if unshare --user --map-root-user --net --mount true 2>/dev/null; then
	exec unshare --user --map-root-user --net --mount "$@"
fi
echo "$0: not root, no sudo without a password, and no user namespaces here: run this as root" >&2
exit 1
