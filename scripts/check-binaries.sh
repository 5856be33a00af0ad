#!/usr/bin/env bash
# check-binaries.sh VERSION FILE...: each file is a static executable, and those that run on this machine print the version. A wrong
# -X path is ignored by the linker without a word, hence the second check.
set -euo pipefail
version=$1
shift
case $(uname -m) in
x86_64) host=x86-64 ;;
aarch64) host=aarch64 ;;
*) host=$(uname -m) ;;
esac

for binary in "$@"; do
	kind="static"
	if command -v file >/dev/null; then
		kind=$(file -b "$binary")
		[[ $kind == *"statically linked"* ]] || {
			echo "$binary is not static: $kind" >&2
			exit 1
		}
		[[ $kind == *"$host"* ]] || {
			echo "$binary: $(stat -c %s "$binary") bytes, ${kind%%, Go BuildID*}"
			continue
		}
	elif said=$(ldd "$binary" 2>&1); then
		echo "$binary is not static: $said" >&2
		exit 1
	fi
	if said=$(timeout 10 "$binary" --version); then
		[[ $said == *"$version"* ]] || {
			echo "$binary says '$said', not version $version" >&2
			exit 1
		}
	elif [[ $kind != static ]]; then
		echo "$binary --version failed" >&2
		exit 1
	fi
	echo "$binary: $(stat -c %s "$binary") bytes, ${kind%%, Go BuildID*}, version $version"
done
