#!/usr/bin/env bash
# publish.sh s3://BUCKET/PREFIX [--dry-run]: uploads dist/ (make dist) with the AWS CLI, so that clusters can name
# s3://BUCKET/PREFIX/bootstrap.sh as their bootstrap action. --dry-run says what would be uploaded; DIST names another directory.
#
# bootstrap.sh is told the place, and comes last, when every byte of the binaries has been read back: before that the former publication is
# in force, with its own binaries, which stay. To go back to a former version, publish it again.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
dist=${DIST:-dist}
scratch=

fail() {
	echo "publish: $*" >&2
	exit 1
}
usage() {
	echo "publish: $*" >&2
	echo "usage: publish.sh s3://BUCKET/PREFIX [--dry-run]" >&2
	exit 2
}

base='' dry=
for argument; do
	case $argument in
	--dry-run) dry=1 ;;
	-*) usage "unknown flag '$argument'" ;;
	*)
		[ -z "$base" ] || usage "more than one place: '$base' and '$argument'"
		base=${argument%/}
		;;
	esac
done
[ -n "$base" ] || usage "where to?"
# What stands in bootstrap.sh between quotation marks, and in IAM policies without escapes.
[[ $base =~ ^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._=-]+)*$ ]] || usage "'$base' is not s3://BUCKET/PREFIX (letters, digits and . _ = - in the prefix)"

[ -f "$dist/SHA256SUMS" ] || fail "there is no $dist/SHA256SUMS: run make dist first"
(cd "$dist" && sha256sum --quiet --check SHA256SUMS) || fail "$dist is not what make dist made: run it again"
version=$(<"$dist/VERSION")
case $version in
*-dirty | dev) echo "publish: note: version $version is not that of a commit" >&2 ;;
esac

trap '[ -z "$scratch" ] || rm -rf -- "$scratch"' EXIT
scratch=$(mktemp -d)
grep -q "^base='@BASE@'\$" "$dist/bootstrap.sh" || fail "$dist/bootstrap.sh has no place to be written into"
sed "s|^base='@BASE@'\$|base='$base'|" "$dist/bootstrap.sh" >"$scratch/bootstrap.sh"
sum() { sha256sum -- "$1" | cut -d' ' -f1; }
awk -v sum="$(sum "$scratch/bootstrap.sh")" '$2 == "bootstrap.sh" { $0 = sum "  bootstrap.sh" } { print }' "$dist/SHA256SUMS" >"$scratch/SHA256SUMS"

# upload FILE URL uploads a file and reads it back: what S3 has is what the checksum says, and the object can be read.
upload() {
	local was now
	echo "$1 -> $2"
	[ -z "$dry" ] || return 0
	timeout 900 aws s3 cp --only-show-errors -- "$1" "$2" || fail "uploading $2 failed (s3:PutObject on ${base#s3://}/*, and kms:GenerateDataKey where the bucket has a key); what was published before is in force"
	was=$(sum "$1")
	now=$(timeout 900 aws s3 cp --only-show-errors -- "$2" - | sha256sum | cut -d' ' -f1) || fail "reading $2 back failed (s3:GetObject on ${base#s3://}/*); what was published before is in force"
	[ "$was" = "$now" ] || fail "$2 is not what was uploaded: SHA-256 $now, not $was; what was published before is in force"
}

[ -n "$dry" ] || command -v aws >/dev/null || fail "the AWS CLI (aws) is not installed"
for architecture in amd64 arm64; do
	binary=$dist/emr-static-ip-linux-$architecture
	grep -q "^sha256_$architecture='$(sum "$binary")'\$" "$scratch/bootstrap.sh" || fail "$dist/bootstrap.sh has not the checksum of $binary: run make dist again"
	# By its sum, for bootstrap.sh, and beside the others of other versions; and by its name, for who wants it as the bootstrap action itself.
	upload "$binary" "$base/emr-static-ip-linux-$architecture-$(sum "$binary" | cut -c 1-12)"
	upload "$binary" "$base/emr-static-ip-linux-$architecture"
done
while read -r _ file; do
	case $file in
	bootstrap.sh | emr-static-ip-linux-amd64 | emr-static-ip-linux-arm64) ;;
	*) upload "$dist/$file" "$base/$file" ;;
	esac
done <"$dist/SHA256SUMS"
upload "$scratch/SHA256SUMS" "$base/SHA256SUMS"
upload "$scratch/bootstrap.sh" "$base/bootstrap.sh"

[ -z "$dry" ] || {
	echo "publish: nothing was uploaded (--dry-run)"
	exit 0
}
echo "publish: version $version is in $base; bootstrap.sh has the SHA-256 $(sum "$scratch/bootstrap.sh")"
echo "publish: the bootstrap action: Path=$base/bootstrap.sh,Args=[MASTER_IP,CORE_IP,...]"
