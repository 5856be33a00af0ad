package cli

import (
	"fmt"
	"runtime"

	"github.com/emr-static-ip/emr-static-ip/agent"
)

// versionLine returns the output of the version command. The version is its second word.
func versionLine() string {
	return fmt.Sprintf("emr-static-ip %s (%s, %s/%s)", agent.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
