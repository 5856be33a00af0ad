package cloud

import (
	"os"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/awsenv"
)

func TestMain(m *testing.M) {
	awsenv.Clear()
	os.Exit(m.Run())
}
