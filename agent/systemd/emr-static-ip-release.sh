#!/bin/sh
# Installed by emr-static-ip apply, removed by emr-static-ip release. EMR runs it when this node is scaled in or terminated, and waits
# for 60 s. It gives the node's static IP back, so that another node can have it at once.
#
# All is one command: a file of which only a part came to the disk does nothing. Nor does it matter that release removes the file.
{
	# release ends by itself within its --timeout, and becomes root through sudo -n where it is not; timeout(1) is for a node in distress.
	timeout -k 3 50 @PROGRAM@ release --timeout 45s@ARGS@
	code=$?
	if [ "$code" != 0 ]; then
		echo "emr-static-ip-release: the static IP was not given back in order (exit code $code): EC2 frees it when the instance has ended," \
			"and the next node that needs it takes the claim over" >&2
	fi
	exit 0 # the termination goes on in any case
}
