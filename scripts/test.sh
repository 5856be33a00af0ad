#!/usr/bin/env bash
# Runs `go test` with the given arguments and then checks that the tests left the checkout as it was. Built as the calling
# user; where that is not root, the test programs alone run with more rights. Of all packages (./...) those that take longest
# begin first.
set -euo pipefail
cd "$(dirname "$0")/.."

# state prints one line for what differs from the last commit: names, and contents of tracked files.
state() { { git status --porcelain && git diff; } | git hash-object --stdin; }

checkout=$(git rev-parse --is-inside-work-tree 2>/dev/null || true)
before=$([ "$checkout" != true ] || state)

flags=()
[ "$(id -u)" = 0 ] || flags=(-exec "$PWD/scripts/as-root.sh")
# Tests of nodes wait far more than they compute: one package more than processors at a time.
slow=()
if [ "${*: -1}" = ./... ]; then
	flags+=(-p "$(($(nproc) + 1))")
	slow=(./cmd/emrsim/lab ./cmd/emrsim/simulation ./netcfg ./cmd/emrsim/boot ./cmd/emrsim/scenarios ./scripts ./cmd/emrsim ./agent)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
go test -vet=off "${flags[@]}" "${@:1:$#-1}" "${slow[@]}" "${@: -1}" | tee "$log" || status=$?
slowest=$(awk '$1 == "ok" && $3 + 0 >= 10 { print $3 + 0, $2 }' "$log" | sort -rn | head -n 8 | sed 's|github.com/emr-static-ip/emr-static-ip/||; s| | s  |')
[ -z "$slowest" ] || printf 'the packages that took longest, of %s s:\n%s\n' "$SECONDS" "$slowest"
[ "$status" = 0 ] || exit "$status"

if [ "$checkout" = true ] && [ "$(state)" != "$before" ]; then
	echo "the tests changed the checkout:" >&2
	git status --short >&2
	git diff --exit-code
	exit 1
fi
