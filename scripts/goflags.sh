#!/usr/bin/env bash
# goflags.sh prints GOFLAGS for everything that is built, vetted and tested here: the caller's own, and those below. With one set
# of flags the AWS SDK is compiled once, and the tests run what is published. In a shell: export GOFLAGS="$(scripts/goflags.sh)"
set -euo pipefail

# The same bytes in every directory. The version goes in by -X and not from version control: the build is the same in a checkout,
# an archive, and a directory of another user.
flags="-trimpath -buildvcs=false"
# No HTTP/2: AWS's endpoints for EC2, SSM and EMR, IMDS and proxies are spoken to by HTTP/1.1. 0.4 MB of the program.
flags+=" -tags=nethttpomithttp2"
# No debugging information: the binaries are stripped, and tests do without. Stack traces do not need it.
# No inlining but in the standard library, and there not in net and crypto: the program waits for networks and processes. A cold
# build compiles service/ec2 in 35 s of CPU in place of 72, it took 2.5 MB off the program, and a simulated launch takes
# as long as before. For each package the last -gcflags counts, so -dwarf stands everywhere.
flags+=" '-gcflags=all=-l -dwarf=false' -gcflags=std=-dwarf=false"
flags+=" '-gcflags=net/...=-l -dwarf=false' '-gcflags=crypto/...=-l -dwarf=false'"

case " ${GOFLAGS:-} " in
*" $flags "*) printf '%s\n' "$GOFLAGS" ;;
*) printf '%s\n' "${GOFLAGS:+$GOFLAGS }$flags" ;;
esac
