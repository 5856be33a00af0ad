#!/usr/bin/env bash
# dist.sh VERSION BIN DIR: puts what is published into DIR, from the binaries in BIN: both binaries, bootstrap.sh with their checksums,
# a software bill of materials for each, the manual page, the IAM policies and templates, and SHA256SUMS. The same sources give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
version=$1 bin=$2 dir=$3
umask 022
names=(emr-static-ip-linux-amd64 emr-static-ip-linux-arm64)

[[ $version =~ ^[A-Za-z0-9._+-]+$ ]] || {
	echo "dist: VERSION '$version' has other characters than letters, digits and . _ + -" >&2
	exit 1
}
rm -rf "$dir.new"
mkdir -p "$dir.new"
for name in "${names[@]}"; do
	install -m 0755 "$bin/$name" "$dir.new/$name"
	go run ./scripts/sbom "$version" "$bin/$name" >"$dir.new/$name.cdx.json"
done
sum() { sha256sum "$dir.new/$1" | cut -d' ' -f1; }
sed -e "s|@VERSION@|$version|; s|@SHA256_AMD64@|$(sum "${names[0]}")|; s|@SHA256_ARM64@|$(sum "${names[1]}")|" scripts/bootstrap.sh >"$dir.new/bootstrap.sh"
chmod 0755 "$dir.new/bootstrap.sh"
install -m 0644 LICENSE "$dir.new/LICENSE"
install -m 0644 scripts/emr-static-ip.8 "$dir.new/emr-static-ip.8"
echo "$version" >"$dir.new/VERSION"
for part in iam cloudformation terraform; do
	[ -d "scripts/$part" ] || continue
	# Go is of the sources only, and so is what tools leave.
	(cd scripts && find "$part" -type f ! -name '*.go' ! -path '*/.*' ! -name '*.tfstate*' -print0 | sort -z) |
		while IFS= read -r -d '' file; do install -D -m 0644 "scripts/$file" "$dir.new/$file"; done
done
(cd "$dir.new" && find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum) >"$dir.new.sums"
mv "$dir.new.sums" "$dir.new/SHA256SUMS"
rm -rf "$dir"
mv "$dir.new" "$dir"
echo "dist: version $version in $dir: $(wc -l <"$dir/SHA256SUMS") files, with their checksums in $dir/SHA256SUMS"
echo "dist: next, make publish TO=s3://BUCKET/PREFIX, with a bucket in the region of the clusters"
