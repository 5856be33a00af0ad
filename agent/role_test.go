package agent

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
)

// Without a role, the exit code depends on why the tag could not be read.
func TestRoleUnknown(t *testing.T) {
	for _, test := range []struct {
		name string
		tag  error
		want ExitCode
	}{
		{"no tag", nil, ExitIdentity},
		{"the tag cannot be read", errors.New("odd answer"), ExitIdentity},
		{"denied", &smithy.GenericAPIError{Code: "UnauthorizedOperation"}, ExitInternal}, // explain finds the code
	} {
		_, err := detectRole(t.Context(), "", emr.Files{}, func(context.Context) (map[string]string, error) { return nil, test.tag })
		if CodeOf(err) != test.want {
			t.Errorf("%s: code %d, want %d: %v", test.name, CodeOf(err), test.want, err)
		}
	}
}
