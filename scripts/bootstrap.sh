#!/bin/bash
# The EMR bootstrap action: fetches the emr-static-ip binary for this node's architecture, checks it, installs it and runs it.
#
#   bootstrap.sh [BASE] ARGUMENTS...      ARGUMENTS are emr-static-ip's: MASTER_IP CORE_IP...
#
# BASE is where the binaries are, s3://BUCKET/PREFIX or http(s)://...; it needs to be given only to a copy that publish.sh did not make
# (also as EMR_STATIC_IP_BASE). EMR hands a bootstrap action nothing but its arguments: not the place that it came from. So publish.sh
# writes the place into the copy that it uploads, and make dist the SHA-256 of the binaries. Sums that come with this script
# are worth more than a list fetched from beside the binaries: who can replace a binary could replace the list too, and a node that
# starts while a new version is uploaded gets the binary that belongs to its script, or none.
#
# It needs what Amazon Linux 2 and 2023 ship on EMR: bash, coreutils, the AWS CLI or curl, and sudo where it is not run as root. Run again,
# it fetches nothing where the binary is installed already.
#
# Exit codes are those of emr-static-ip; of this script's own: 1 wrong checksum, not found, unknown architecture, bucket in another region, or no
# such program, or a broken one; 4 no access to the bucket, no credentials, or a wrong clock; 5 S3 cannot be reached; 9 not root and no sudo.
set -u

base='@BASE@'
version='@VERSION@'
sha256_amd64='@SHA256_AMD64@'
sha256_arm64='@SHA256_ARM64@'
program=/usr/local/sbin/emr-static-ip

attempts=4         # at fetching
attempt_seconds=45 # for one of them: 300 KB/s are enough

credentials_seconds=120 # how long IMDS may be late with the credentials of the instance profile: as long as the program itself waits
credentials_pause=5

left_seconds=3600 # after which a temporary file is one that a killed run has left, whatever process has its number
clock_seconds=900 # S3 refuses requests whose time is farther from its own

scratch='' staged='' # what this run has to remove

help() {
	cat <<-'END'
		usage: bootstrap.sh [BASE] MASTER_IP CORE_IP...

		The EMR bootstrap action of emr-static-ip. It fetches the program for this node's architecture, checks its SHA-256, installs it as
		/usr/local/sbin/emr-static-ip, and runs it with the arguments, which emr-static-ip --help explains.

		  BASE  where the binaries are: s3://BUCKET/PREFIX or an http(s) address. The copy that scripts/publish.sh uploads knows it.
	END
}

# say prints a line, in which control characters and whatever else a terminal may take for more than text are question marks.
say() {
	local LC_ALL=C text="emr-static-ip bootstrap: $*"
	printf '%s\n' "${text//[^[:print:]]/?}" >&2
}

# fail CODE WHAT REMEDY ends the run.
fail() {
	say "failed (exit code $1): $2"
	say "what to do: $3"
	exit "$1"
}

# has_sum FILE tells whether the file is there, with the wanted checksum.
has_sum() {
	local sum
	sum=$(sha256sum -- "$1" 2>/dev/null) && [ "${sum%% *}" = "$sha256" ]
}

# as_root COMMAND... runs a command as root.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n -- "$@"; fi
}

# find_region sets $region: older AWS CLIs ask us-east-1 where nobody names one, and in a subnet with the gateway endpoint of its own region
# alone that ends in silence. IMDS knows, once it answers.
find_region() {
	local imds=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254} token
	region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}}
	[ -z "$region" ] || return 0
	token=$(curl --silent --fail --noproxy '*' --max-time 3 --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' "${imds%/}/latest/api/token") &&
		region=$(curl --silent --fail --noproxy '*' --max-time 3 --header "X-aws-ec2-metadata-token: $token" "${imds%/}/latest/meta-data/placement/region")
	case $region in
	*[!a-z0-9-]*) region= ;;
	esac
}

# s3_copy URL FILE copies an object to a file, within a bound and in $region, where that is known.
s3_copy() {
	local status=0
	${region:+env "AWS_DEFAULT_REGION=$region"} timeout -k 5 "$attempt_seconds" \
		aws s3 cp --only-show-errors --cli-connect-timeout 10 --cli-read-timeout 20 "$1" "$2" || status=$?
	case $status in
	124 | 137) echo "no answer, or not all of it, within $attempt_seconds s" ;;
	esac
	return "$status"
}

# fetch URL FILE tries once. Where it fails, $said is what was said, and $problem what that means: denied, credentials (there are none),
# missing, unreachable, other.
fetch() {
	local status=0
	case $1 in
	s3://*)
		[ -n "$region" ] || find_region
		said=$(s3_copy "$1" "$2" 2>&1) || status=$?
		;;
	*) said=$(curl --silent --show-error --fail --location --connect-timeout 10 --max-time "$attempt_seconds" --output "$2" "$1" 2>&1) || status=$? ;;
	esac
	[ "$status" != 0 ] || return 0
	refused "$1"
	case $status in
	12[67] | 132 | 134 | 139) problem=broken said=${said:-it ended with exit code $status} ;; # not started, or ended by a signal of its own
	esac
	said=${said//[[:space:]]/ }
	[ "${#said}" -le 600 ] || said="${said:0:300} ... ${said: -300}"
	return 1
}

# refused URL sets $problem by $said, where the names in URL do not count: a bucket or prefix may be called credentials.
refused() {
	local text=$said object=${1#*://} bucket key
	bucket=${object%%/*} key=${object#*/}
	text=${text//"$key"/}
	text=${text//"$bucket"/}
	case $text in
	*Traceback* | *ImportError* | *"No module named"* | *"bad interpreter"* | *"failed to run command"* | *"shared libraries"* | *"GLIBC_"* | *"env: "*": No such file or directory"*) problem=broken ;;
	*"roxy after CONNECT"* | *"unnel connection failed"* | *"to proxy URL"* | *"resolve proxy"*) problem=proxy ;;
	*TimeTooSkewed* | *"request time and the current time"* | *"ignature expired"* | *"ignature not yet current"*) problem=clock ;;
	*"not yet valid"* | *"certificate has expired"*) problem=certificate ;;
	*"certificate verify failed"* | *"certificate problem"* | *"issuer certificate"* | *"CA bundle"*) problem=authority ;;
	*"artial credentials"* | *custom-process* | *"onfig profile"* | *"parse config file"* | *"SSO "* | *assume-role*) problem=settings ;;
	*"(301)"* | *PermanentRedirect* | *AuthorizationHeaderMalformed* | *"is wrong; expecting"* | *IllegalLocation* | *region_name*) problem=region ;;
	*"(403)"* | *" 403"* | *AccessDenied* | *"Access Denied"* | *InvalidAccessKeyId* | *ExpiredToken*) problem=denied ;;
	*"(404)"* | *" 404"* | *NoSuchBucket* | *NoSuchKey*) problem=missing ;;
	*redentials*) problem=credentials ;;
	*onnect* | *"timed out"* | *imeout* | *"no answer"* | *"resolve host"* | *unreachable* | *SSL*) problem=unreachable ;;
	*) problem=other ;;
	esac
}

# find_clock sets $problem to clock where S3 has refused a request because this node's clock is wrong. S3's answer to HeadObject is 403 without a
# reason, but with S3's time; the AWS CLI does not show it.
find_clock() {
	local url=https://s3.$region.amazonaws.com line='' date='' seconds now
	[ -n "$region" ] && [ -z "${AWS_ENDPOINT_URL_S3:-}${AWS_ENDPOINT_URL:-}" ] || return 0
	case $region in cn-*) url=$url.cn ;; esac
	while IFS= read -r line; do
		case $line in [Dd]ate:\ *) date=${line#*: } ;; esac
	done < <(curl --silent --head --connect-timeout 3 --max-time 5 "$url/")
	[ -n "$date" ] && seconds=$(date -d "${date%$'\r'}" +%s 2>/dev/null) || return 0
	now=$(date +%s)
	[ "$((now - seconds))" -gt "$clock_seconds" ] || [ "$((seconds - now))" -gt "$clock_seconds" ] || return 0
	problem=clock said="$said; S3's time is ${date%$'\r'}, this node's is $(date -u '+%a, %d %b %Y %T GMT')"
}

# download URL FILE fetches a file that has the wanted checksum, or ends the run.
download() {
	local attempt=1 pause=1 problem='' said='' region='' began=$SECONDS left
	while :; do
		if fetch "$1" "$2"; then
			! has_sum "$2" || return 0
			problem=checksum said="it has the SHA-256 $(sha256sum -- "$2" | cut -d' ' -f1), not $sha256"
		fi
		if [ "$problem" = credentials ]; then
			left=$((credentials_seconds - SECONDS + began))
			[ "$left" -gt 0 ] || break
			say "waiting for AWS credentials of the instance profile (at most $left s more): $said"
			sleep "$credentials_pause"
			continue
		fi
		case $problem in
		broken | missing | region | clock | authority | settings) break ;; # for good
		esac
		[ "$attempt" -lt "$attempts" ] || break
		say "attempt $attempt of $attempts at $1: ${said:-failed}; next in $pause s"
		sleep "$pause"
		attempt=$((attempt + 1)) pause=$((pause * 2))
	done
	[ "$problem" != denied ] || find_clock
	case $problem in
	broken) fail 1 "the AWS CLI (aws) of this node does not work, for $1: $said" "look at what an earlier bootstrap action has installed (pip with another version of botocore or urllib3?); put this one before it, or give an https:// address as the first argument, which needs curl alone" ;;
	clock) fail 4 "this node's clock is wrong, for $1: $said" "set it: chronyc makestep, then chronyc tracking (Amazon Time Sync is at 169.254.169.123; systemctl status chronyd)" ;;
	certificate) fail 5 "by this node's clock ($(date -u '+%F %TZ')) the certificate is not valid, for $1: $said" "look at the clock (chronyc tracking), then at a proxy that has a certificate of its own" ;;
	proxy) fail 5 "the proxy does not lead to $1: $said" "look at HTTPS_PROXY and HTTP_PROXY (407: http://USER:PASSWORD@HOST:PORT), have the proxy admit the host, or name the host in NO_PROXY where a VPC endpoint leads to it" ;;
	authority) fail 5 "an authority that this node does not know has signed the certificate, for $1: $said" "something on the way replaces AWS's certificate (a proxy that inspects TLS): name the file with its authority's certificate with AWS_CA_BUNDLE (curl: CURL_CA_BUNDLE)" ;;
	settings) fail 4 "the credential settings of this node cannot work, for $1: $said" "look at the AWS_* variables and at ~/.aws/config and ~/.aws/credentials of $(id -un); without any, the instance profile is used" ;;
	region) fail 1 "the bucket is not in the region ${region:-of the AWS CLI}, for $1: $said" "publish to a bucket in the cluster's region (publish.sh): the S3 gateway endpoint leads to no other; where AWS_REGION or AWS_DEFAULT_REGION is set on the node, it must be that region" ;;
	checksum) fail 1 "wrong checksum of $1: $said; it was not run" "find out who has replaced it, then publish this version again (publish.sh)" ;;
	denied) fail 4 "no access to $1: $said" "allow s3:GetObject on ${base#s3://}/* to the role of the cluster's instance profile (JobFlowRole), and kms:Decrypt where the bucket is encrypted with a key; S3 says 403 also for a missing object where s3:ListBucket is not allowed: was all of it published (publish.sh)?" ;;
	credentials) fail 4 "no AWS credentials within $credentials_seconds s, for $1: $said" "give the cluster an instance profile (JobFlowRole); where it has one, look at the metadata service of this node: curl -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token" ;;
	missing) fail 1 "not found: $1: $said" "publish this version to $base again (publish.sh)" ;;
	unreachable) fail 5 "cannot reach $1${region:+ (region $region)}: $said" "a subnet without NAT needs the gateway endpoint com.amazonaws.${region:-REGION}.s3 in its route table, with a policy that admits the bucket, and the bucket in that region; otherwise look at routes, security group, DNS and proxy" ;;
	*) fail 1 "cannot fetch $1: ${said:-for no given reason}" "see what is said there; run again" ;;
	esac
}

# clean removes what this run made and nobody needs.
clean() {
	[ -z "$scratch" ] || rm -rf -- "$scratch"
	[ -z "$staged" ] || as_root rm -f -- "$staged"
	scratch='' staged=''
}

# sweep removes what killed runs have left. The names have the process id of their run. A file whose process exists may be another run's that goes
# on, unless it is old: process ids are used again.
sweep() {
	local file modified now process
	now=$(date +%s)
	for file in "${program%/*}/.${program##*/}".{,*.}?????????? "${TMPDIR:-/tmp}/.${program##*/}".{,*.}??????????; do
		if [ -L "$file" ] || ! modified=$(stat -c %Y -- "$file" 2>/dev/null); then
			continue
		fi
		process=${file%.*} process=${process##*.}
		case $process in
		'' | *[!0-9]*) process=unknown ;; # of an earlier version
		esac
		if [ "$((now - modified))" -le "$left_seconds" ] && { [ "$process" = unknown ] || [ -e "/proc/$process" ]; }; then
			continue
		elif [ -f "$file" ] && [ "${file%/*}" = "${program%/*}" ]; then
			as_root rm -f -- "$file" 2>/dev/null || continue
		elif [ -d "$file" ] && [ -O "$file" ]; then # others can make files in /tmp, too
			rm -rf -- "$file" || continue
		else
			continue
		fi
		say "removed $file, which a run that was killed had left"
	done
}

# installed tells whether the program is there, as it should be.
installed() { has_sum "$program" && [ -x "$program" ]; }

# install_program FILE puts the file in the place of the program, all of it or nothing. Until then it has a name of its own beside it, since another
# run may be at the same; what that one has installed is as good.
install_program() {
	local directory=${program%/*}
	if as_root mkdir -p -- "$directory" && staged=$(as_root mktemp -- "$directory/.${program##*/}.$$.XXXXXXXXXX") &&
		as_root install -m 0755 -- "$1" "$staged" && has_sum "$staged" && as_root mv -f -T -- "$staged" "$program"; then
		staged=''
		return 0
	fi
	! installed || return 0
	[ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || fail 9 "not root, and sudo -n does not work" "run it as root; on EMR, sudo -n works for the user hadoop"
	fail 1 "cannot install $program" "look at the message above: is the disk full, or read-only?"
}

# try_program ends the run if the program cannot start: a crash of the Go runtime for want of memory would end with 2, which says that the arguments
# are wrong.
try_program() {
	local told code
	told=$("$program" version 2>&1 >/dev/null) && return
	code=$?
	told=${told:0:300}
	case $code in
	12[67]) fail 1 "$program cannot start: $told" "it is built for $architecture: is this machine ($(uname -m)) another one, or its file system mounted noexec?" ;;
	esac
	case $code:$told in
	2:*runtime* | 2:*"fatal error"* | 13[0-9]:*) fail 1 "$program cannot start: $told" "look at the memory and at the limits of this node (free -m, ulimit -a)" ;;
	esac
}

main() {
	local machine architecture sha256 url
	base=${EMR_STATIC_IP_BASE:-$base}
	case ${1:-} in
	s3://* | http://* | https://*)
		base=$1
		shift
		;;
	esac
	case ${1:-} in
	-h | --help)
		help
		return
		;;
	esac
	base=${base%/}
	machine=$(uname -m)
	case $machine in
	x86_64) architecture=amd64 sha256=$sha256_amd64 ;;
	aarch64 | arm64) architecture=arm64 sha256=$sha256_arm64 ;;
	*) fail 1 "no binary for the architecture $machine" "use instance types with x86-64 or Graviton processors (x86_64, aarch64)" ;;
	esac
	case $sha256 in
	*[!0-9a-f]* | '') fail 1 "this copy of bootstrap.sh has no checksums: it is the source, not what make dist made of it" "publish with scripts/publish.sh s3://BUCKET/PREFIX, and use the bootstrap.sh from there" ;;
	esac
	sweep
	if installed; then
		say "version $version is installed already"
	else
		case $base in
		s3://?* | http://?* | https://?*) ;;
		*) fail 1 "it is not known where the binaries are" "publish with scripts/publish.sh s3://BUCKET/PREFIX, and use the bootstrap.sh from there; or give s3://BUCKET/PREFIX as the first argument" ;;
		esac
		# The name has the checksum in it, so that versions stand side by side: nodes of clusters that start meanwhile find theirs.
		url=$base/emr-static-ip-linux-$architecture-${sha256:0:12}
		case $base in
		s3://*) command -v aws >/dev/null || fail 1 "no AWS CLI (aws) in PATH, $PATH" "EMR's nodes have it; elsewhere install it, or give an https:// address as the first argument" ;;
		*) command -v curl >/dev/null || fail 1 "no curl in PATH, $PATH" "install it (Amazon Linux: dnf install curl-minimal)" ;;
		esac
		trap clean EXIT
		trap 'exit 143' TERM
		trap 'exit 130' INT
		scratch=$(mktemp -d -t ".${program##*/}.$$.XXXXXXXXXX") || fail 1 "cannot make a temporary directory" "look at the message above: is the disk full, or read-only?"
		download "$url" "$scratch/emr-static-ip"
		install_program "$scratch/emr-static-ip"
		clean
		trap - EXIT TERM INT
		say "installed version $version for $architecture from $url"
	fi
	try_program
	unset EMR_STATIC_IP_BASE # it is this script's, and no flag of the program
	# It becomes root by itself, with what it needs of the environment, and says so where it cannot (exit code 9).
	exec "$program" "$@"
}

main "$@"
