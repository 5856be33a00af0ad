package templates

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"
)

// TestCfnLint runs cfn-lint on every template. It knows the schemas of all resource types.
func TestCfnLint(t *testing.T) {
	program, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Skip("cfn-lint is not installed (pip install cfn-lint): the templates are not checked against AWS's schemas")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := []string{"--regions", region, "--"}
	for _, name := range templateNames(t) {
		args = append(args, templateDir+"/"+name+".yaml")
	}
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 64: // a sum of 2 for errors, 4 for warnings, and 8 for notes
		t.Errorf("cfn-lint:\n%s", out)
	case err != nil:
		t.Skipf("cfn-lint does not run: %v\n%.500s", err, out)
	}
}
