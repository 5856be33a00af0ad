package ec2

import (
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
)

// told returns an error and its remedies, for a golden file.
func told(err error) string {
	return err.Error() + "\n" + strings.Join(exit.Remedies(err), "\n")
}

// steady masks what differs from run to run.
func steady(text string) string { return local.ReplaceAllString(text, "...") }
