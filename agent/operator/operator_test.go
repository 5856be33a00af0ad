package operator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

// TestWithoutCLI: an operator whose profile needs the AWS CLI is told that, and not to name another
// profile.
func TestWithoutCLI(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte("[default]\nregion = eu-west-1\nsso_session = corp\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": config + ".none", "PATH": dir, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
		"AWS_PROFILE": "", "AWS_DEFAULT_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_WEB_IDENTITY_TOKEN_FILE": ""} {
		t.Setenv(name, value)
	}
	env := host.Environment{LookupEnv: os.LookupEnv, Rand: func() float64 { return 0.5 }}
	at, err := Locate(t.Context(), env, "", 0)
	if err != nil || at.Region != "eu-west-1" {
		t.Fatal(at, err)
	}
	_, err = at.Open(t.Context(), env, 0)
	if remedies := strings.Join(exit.Remedies(err), " "); exit.CodeOf(err) != exit.Permission || strings.Contains(remedies, "AWS_PROFILE") {
		t.Errorf("code %d: %v: %s", exit.CodeOf(err), err, remedies)
	}
}
