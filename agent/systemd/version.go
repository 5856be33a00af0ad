package systemd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// versionWait limits how long the installed program may take to say its version.
const versionWait = 5 * time.Second

// installedVersion asks the installed program for its version. It returns "" if there is no
// program, or if it does not answer. It runs only a program that root or this user owns.
func (i *Installer) installedVersion(ctx context.Context) string {
	p := i.Host.Path(Program)
	info, err := os.Lstat(p)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, versionWait)
	defer cancel()
	stdout, _, err := host.Output(ctx, []string{p, "version"})
	words := strings.Fields(stdout)
	if err != nil || len(words) < 2 || words[0] != "emr-static-ip" {
		return ""
	}
	return text.Clean(words[1], text.MaxQuoted)
}

// versions names the version of the installed program and this one's.
func (i *Installer) versions(former, link string) string {
	if former == i.Version {
		return fmt.Sprintf("version %s, in another build", i.Version)
	}
	return fmt.Sprintf("version %s %s %s", former, link, i.Version)
}
