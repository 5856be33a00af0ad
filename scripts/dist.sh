#!/usr/bin/env bash
# dist.sh VERSION BIN DIR: makes the directory DIR that is published, from the binaries in BIN. It contains both binaries, bootstrap.sh
# with their checksums, a software bill of materials for each binary, the licences of what is linked into them, the manual pages, the IAM
# policies, the templates, and SHA256SUMS.
# The same sources give the same bytes with the same Go and kind of machine.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
version=$1 bin=$2 dir=$3
umask 022
names=(emr-static-ip-linux-amd64 emr-static-ip-linux-arm64)
# Neither a time nor a random serial number may get into a bill of materials.
sbom=(go run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0 bin -json -std -notimestamp -noserial)

[[ $version =~ ^[A-Za-z0-9._+-]+$ ]] || {
	echo "dist: VERSION '$version' has other characters than letters, digits and . _ + -" >&2
	exit 1
}
rm -rf "$dir.new"
mkdir -p "$dir.new"
for name in "${names[@]}"; do
	install -m 0755 "$bin/$name" "$dir.new/$name"
	"${sbom[@]}" -version "$version" -output "$dir.new/$name.cdx.json" "$bin/$name"
done
# cyclonedx-gomod guesses licences, sometimes wrongly, and asks the module proxy for the product itself.
go run ./scripts/notices "$dir.new/THIRD-PARTY-NOTICES.txt" "${names[@]/#/$dir.new/}"
chmod 0644 "$dir.new"/*.txt "$dir.new"/*.cdx.json
sum() { sha256sum "$dir.new/$1" | cut -d' ' -f1; }
sed -e "s|@VERSION@|$version|; s|@SHA256_AMD64@|$(sum "${names[0]}")|; s|@SHA256_ARM64@|$(sum "${names[1]}")|" scripts/bootstrap.sh >"$dir.new/bootstrap.sh"
chmod 0755 "$dir.new/bootstrap.sh"
install -m 0644 LICENSE "$dir.new/LICENSE"
mkdir "$dir.new/man"
go run ./scripts/manpage "$version" "$dir.new/man"
echo "$version" >"$dir.new/VERSION"
for part in agent/iam scripts/cloudformation scripts/terraform; do
	# No Go sources, and nothing that tools leave behind.
	(cd "${part%/*}" && find "${part##*/}" -type f ! -name '*.go' ! -path '*/.*' ! -name '*.tfstate*' -print0 | sort -z) |
		while IFS= read -r -d '' file; do install -D -m 0644 "${part%/*}/$file" "$dir.new/$file"; done
done
# What is published has iam/ beside terraform/.
sed -i 's|/\.\./agent/iam/|/iam/|' "$dir.new/terraform/modules/roles/main.tf"
grep -q 'path.module}/../../../iam/' "$dir.new/terraform/modules/roles/main.tf"
(cd "$dir.new" && find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum) >"$dir.new.sums"
mv "$dir.new.sums" "$dir.new/SHA256SUMS"
rm -rf "$dir"
mv "$dir.new" "$dir"
echo "dist: version $version in $dir: $(wc -l <"$dir/SHA256SUMS") files, with their checksums in $dir/SHA256SUMS"
echo "dist: next, make publish TO=s3://BUCKET/PREFIX, with a bucket in the region of the clusters"
