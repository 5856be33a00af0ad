package agent

import "github.com/emr-static-ip/emr-static-ip/agent/emr"

// Role is a node's part in an EMR cluster.
type Role = emr.Role

// The roles.
const (
	RoleMaster = emr.Master
	RoleCore   = emr.Core
	RoleTask   = emr.Task
)
