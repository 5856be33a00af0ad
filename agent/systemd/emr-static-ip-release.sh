#!/bin/sh
# Installed by emr-static-ip apply, removed by emr-static-ip release. EMR runs this script when it
# scales in or terminates this node, and waits 60 s. The script releases the node's static IP, so
# that another node can have it at once.
#
# The whole script is one command, so that a truncated file does nothing. The shell has read it all
# when release removes the file.
{
	# release ends within its --timeout, and becomes root through sudo -n. timeout(1) is for a node in
	# which even that fails.
	timeout -k 3 50 @PROGRAM@ release --timeout 45s@ARGS@
	code=$?
	if [ "$code" != 0 ]; then
		echo "emr-static-ip-release: the static IP was not given back in order (exit code $code): EC2 frees it when the instance has ended," \
			"and the next node that needs it takes it over" >&2
	fi
	exit 0 # the termination goes on in any case
}
