#!/usr/bin/env bash
# Runs every fuzz test of the module for the given time (default 10s): `go test` itself takes only one at a time.
# An input that reaches something new is made smaller in 200 tries at most: go test would spend a minute on it, longer than the whole test.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}

count=0
found=()
for package in $(go list ./...); do
	mapfile -t tests < <(go test -timeout 10m -list '^Fuzz' "$package" | grep '^Fuzz' || true)
	for test in "${tests[@]}"; do
		echo "== $package $test"
		go test -vet=off -timeout 30m -run '^$' -fuzz "^$test\$" -fuzztime "$time" -fuzzminimizetime 200x "$package" || found+=("$package $test")
		count=$((count + 1))
	done
done
if [ ${#found[@]} -gt 0 ]; then
	printf 'a fault was found by:\n' >&2
	printf '  %s\n' "${found[@]}" >&2
	exit 1
fi
echo "$count fuzz tests, $time each, nothing found"
[ "$count" -gt 0 ]
