package cli

import (
	"fmt"
	"runtime"

	"github.com/emr-static-ip/emr-static-ip/agent"
)

// versionInfo is the output of version -o json.
type versionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func versions() versionInfo {
	return versionInfo{Version: agent.Version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
}

// versionLine returns the output of the version command. The version is its second word.
func versionLine() string {
	v := versions()
	return fmt.Sprintf("emr-static-ip %s (%s, %s/%s)", v.Version, v.Go, v.OS, v.Arch)
}
