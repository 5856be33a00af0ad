package cli

import (
	"fmt"
	"io"
	"runtime"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
)

// versionInfo is the output of version -o json.
type versionInfo struct {
	output.Head

	Go   string `json:"go"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

func versions() *versionInfo {
	return &versionInfo{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
}

// Render writes the version. In the text it is the second word.
func (v *versionInfo) Render(w io.Writer, format string) error {
	if format == formatJSON {
		return output.Write(w, v)
	}
	_, err := fmt.Fprintf(w, "emr-static-ip %s (%s, %s/%s)\n", v.ToolVersion, v.Go, v.OS, v.Arch)
	return err
}
