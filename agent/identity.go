package agent

import "github.com/emr-static-ip/emr-static-ip/agent/ec2"

// Identity is what IMDS says about the node.
type Identity = ec2.Identity
