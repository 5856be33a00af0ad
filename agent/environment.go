package agent

import "github.com/emr-static-ip/emr-static-ip/agent/internal/host"

// Environment is everything that a run touches outside its own memory. The zero value is the
// machine itself.
type Environment = host.Environment
