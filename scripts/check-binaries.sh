#!/usr/bin/env bash
# check-binaries.sh VERSION FILE...: each file is a static executable of reasonable size, and those that run on this machine print the
# version. A wrong -X path is ignored by the linker without a word. And one use of text/template or reflect's MethodByName, be it in a library,
# makes the linker keep every method there is: all of the EC2 client, 36 MB more.
set -euo pipefail
limit=$((20 << 20))
version=$1
shift
case $(uname -m) in
x86_64) host=x86-64 ;;
aarch64) host=aarch64 ;;
*) host=$(uname -m) ;;
esac

for binary in "$@"; do
	size=$(stat -c %s "$binary")
	[ "$size" -le "$limit" ] || {
		echo "$binary has $size bytes, more than $limit: does something use text/template (cobra's Set...Template do)?" >&2
		exit 1
	}
	kind="static"
	if command -v file >/dev/null; then
		kind=$(file -b "$binary")
		[[ $kind == *"statically linked"* ]] || {
			echo "$binary is not static: $kind" >&2
			exit 1
		}
		[[ $kind == *"$host"* ]] || {
			echo "$binary: $size bytes, ${kind%%, Go BuildID*}"
			continue
		}
	elif said=$(ldd "$binary" 2>&1); then
		echo "$binary is not static: $said" >&2
		exit 1
	fi
	if said=$(timeout 10 "$binary" --version); then
		[[ $said == "emr-static-ip $version ("* ]] || {
			echo "$binary says '$said', not version $version" >&2
			exit 1
		}
	elif [[ $kind != static ]]; then
		echo "$binary --version failed" >&2
		exit 1
	fi
	echo "$binary: $size bytes, ${kind%%, Go BuildID*}, version $version"
done
