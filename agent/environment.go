package agent

import (
	"os"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

// Environment is everything that a run touches outside its own memory. The zero value is the
// machine itself.
type Environment = host.Environment

// unprivileged reports whether this process may read neither the kernel nor the state file.
func unprivileged(env Environment) bool { return os.Geteuid() != 0 && env.Root == "" }
