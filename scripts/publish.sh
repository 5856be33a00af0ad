#!/usr/bin/env bash
# publish.sh s3://BUCKET/PREFIX [--dry-run]: uploads dist/ (make dist) with the AWS CLI, so that clusters can name
# s3://BUCKET/PREFIX/bootstrap.sh as their bootstrap action. --dry-run says what would be uploaded; DIST names another directory.
#
# bootstrap.sh is told the place, and comes last, when every byte of the binaries has been read back: before that the former publication is
# in force, with its own binaries, which stay. To go back to a former version, publish it again.
#
# It needs s3:PutObject and s3:GetObject on BUCKET/PREFIX/* and s3:ListBucket on BUCKET. The AWS CLI, which is slow to start, is started four times.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
dist=${DIST:-dist}
scratch=

fail() {
	echo "publish: $*" >&2
	exit 1
}
help() {
	cat <<-'END'
		usage: publish.sh s3://BUCKET/PREFIX [--dry-run]

		Uploads what make dist has put into dist/, reads it back, and puts it in force by bootstrap.sh, which comes last.

		  --dry-run   say what would be uploaded
		  -h, --help  this text

		DIST=DIRECTORY names another directory than dist. The AWS CLI's own variables and configuration hold: AWS_PROFILE, AWS_REGION.
	END
}
usage() {
	echo "publish: $*" >&2
	echo "usage: publish.sh s3://BUCKET/PREFIX [--dry-run], --help" >&2
	exit 2
}

base='' dry=
for argument; do
	case $argument in
	--dry-run) dry=1 ;;
	-h | --help)
		help
		exit 0
		;;
	-*) usage "unknown flag '$argument'" ;;
	*)
		[ -z "$base" ] || usage "more than one place: '$base' and '$argument'"
		base=$argument
		;;
	esac
done
[ -n "$base" ] || usage "where to?"
# What stands in bootstrap.sh between quotation marks, and in IAM policies without escapes.
if ! [[ ${base%/} =~ ^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._=-]+)*$ ]]; then
	bucket=${base#s3://} bucket=${bucket%%/*}
	[[ $base != s3://* || $bucket != *[A-Z]* ]] || usage "a bucket's name has no capital letters: put your bucket in the place of '$bucket'"
	usage "'$base' does not have the form s3://BUCKET/PREFIX (bucket: 3 to 63 lower-case letters, digits, dots, hyphens; prefix: letters, digits and . _ = -)"
fi
base=${base%/}

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

# stage FILE NAME puts a file where it is uploaded from, under the name that it has below the place.
stage() {
	echo "$1 -> $base/$2"
	mkdir -p "$(dirname "$scratch/new/$2")"
	cp -- "$1" "$scratch/new/$2"
}
# upload_failed ends the run, before anything has been put in force.
upload_failed() { fail "$*; what was published before is in force"; }
may_write="s3:PutObject on ${base#s3://}/*, and kms:GenerateDataKey where the bucket has a key"
may_read="s3:GetObject on ${base#s3://}/* and s3:ListBucket on $(cut -d/ -f3 <<<"$base")"

[ -n "$dry" ] || command -v aws >/dev/null || fail "the AWS CLI (aws) is not installed"
for architecture in amd64 arm64; do
	binary=$dist/emr-static-ip-linux-$architecture
	grep -q "^sha256_$architecture='$(sum "$binary")'\$" "$scratch/bootstrap.sh" || fail "$dist/bootstrap.sh has not the checksum of $binary: run make dist again"
	# By its sum, for bootstrap.sh, and beside the others of other versions; and by its name, for who wants it as the bootstrap action itself.
	stage "$binary" "emr-static-ip-linux-$architecture-$(sum "$binary" | cut -c 1-12)"
	stage "$binary" "emr-static-ip-linux-$architecture"
done
while read -r _ file; do
	case $file in
	bootstrap.sh | emr-static-ip-linux-amd64 | emr-static-ip-linux-arm64) ;;
	*) stage "$dist/$file" "$file" ;;
	esac
done <"$dist/SHA256SUMS"
awk -v sum="$(sum "$scratch/bootstrap.sh")" '$2 == "bootstrap.sh" { $0 = sum "  bootstrap.sh" } { print }' "$dist/SHA256SUMS" >"$scratch/SHA256SUMS"
stage "$scratch/SHA256SUMS" SHA256SUMS
echo "$scratch/bootstrap.sh -> $base/bootstrap.sh"

if [ -z "$dry" ]; then
	timeout 1800 aws s3 cp --only-show-errors --recursive -- "$scratch/new" "$base/" || upload_failed "uploading to $base failed ($may_write)"
	# What S3 has is what was uploaded, and can be read. There may be more in the place: former versions, and what others put there.
	only=(--exclude '*')
	(cd "$scratch/new" && find . -type f -exec sha256sum -- {} + | sed 's|  \./|  |') >"$scratch/sums"
	while read -r _ file; do only+=(--include "$file"); done <"$scratch/sums"
	timeout 1800 aws s3 cp --only-show-errors --recursive "${only[@]}" -- "$base/" "$scratch/back" || upload_failed "reading $base back failed ($may_read)"
	mkdir -p "$scratch/back"
	(cd "$scratch/back" && sha256sum --quiet --check "$scratch/sums") >&2 || upload_failed "what is in $base is not what was uploaded"
	timeout 900 aws s3 cp --only-show-errors -- "$scratch/bootstrap.sh" "$base/bootstrap.sh" || upload_failed "uploading $base/bootstrap.sh failed ($may_write)"
	now=$(timeout 900 aws s3 cp --only-show-errors -- "$base/bootstrap.sh" - | sha256sum | cut -d' ' -f1) || fail "reading $base/bootstrap.sh back failed ($may_read): publish again"
	[ "$now" = "$(sum "$scratch/bootstrap.sh")" ] || fail "$base/bootstrap.sh is not what was uploaded: publish again"
fi

[ -z "$dry" ] || {
	echo "publish: nothing was uploaded (--dry-run)"
	exit 0
}
echo "publish: version $version is in $base; bootstrap.sh has the SHA-256 $(sum "$scratch/bootstrap.sh")"
echo "publish: the bootstrap action: Path=$base/bootstrap.sh,Args=[MASTER_IP,CORE_IP,...]"
