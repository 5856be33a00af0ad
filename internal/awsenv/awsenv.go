// Package awsenv keeps the AWS settings of the machine out of its tests. Only tests import it.
package awsenv

import (
	"os"
	"strings"
)

// Clear removes the AWS settings of the caller: the SDK finds no region, profile, endpoint or
// credentials in the environment or in files of the home directory. It is for TestMain.
func Clear() {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
}
