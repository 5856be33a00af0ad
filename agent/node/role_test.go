package node

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
)

// Without a role, the exit code depends on why the tag could not be read.
func TestRoleUnknown(t *testing.T) {
	for _, test := range []struct {
		name string
		tag  error
		want exit.Code
	}{
		{"no tag", nil, exit.Identity},
		{"unreadable", errors.New("odd answer"), exit.Identity},
		{"denied", &smithy.GenericAPIError{Code: "UnauthorizedOperation"}, exit.Internal}, // explain finds the code
	} {
		_, err := DetectRole(t.Context(), pool.Pools{}, "", emr.Files{}, func(context.Context) (map[string]string, error) { return nil, test.tag })
		if exit.CodeOf(err) != test.want {
			t.Errorf("%s: code %d, want %d: %v", test.name, exit.CodeOf(err), test.want, err)
		}
	}
}
