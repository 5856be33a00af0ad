#!/usr/bin/env bash
# dist-check.sh VERSION DIR: makes DIR again from a copy of the sources in another directory, under another umask, time zone and locale, and
# fails unless every byte is the same. FRESH=1: with an empty build cache, so that everything is compiled again (minutes).
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1 dir=$2
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
elsewhere="$scratch/another place/with a longer name"
mkdir -p "$elsewhere"
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done
else
	find . -path ./bin -prune -o -path ./dist -prune -o -type f -printf '%P\0'
fi | tar --null --files-from=- -c | tar -x -C "$elsewhere"
[ -z "${FRESH:-}" ] || export GOCACHE="$scratch/cache"
(
	umask 077
	export TZ=Asia/Kathmandu LC_ALL=C.UTF-8
	make --no-print-directory -C "$elsewhere" dist VERSION="$version"
) >"$scratch/log" 2>&1 || {
	tail -n 30 "$scratch/log" >&2
	exit 1
}
modes() { (cd "$1" && find . -printf '%P %m\n' | sort); }
if ! diff -r "$dir" "$elsewhere/dist" || ! diff <(modes "$dir") <(modes "$elsewhere/dist"); then
	echo "dist-check: two builds of version $version differ" >&2
	exit 1
fi
(cd "$dir" && sha256sum --quiet --check SHA256SUMS)
echo "dist-check: two builds of version $version in different directories have the same bytes"
