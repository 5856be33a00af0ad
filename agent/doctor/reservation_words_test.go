package doctor

import (
	"fmt"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

func TestReservedOfOne(t *testing.T) {
	texts := golden.Open(t, "reserved.txt")
	for n := 1; n <= 2; n++ {
		texts.Is(t, fmt.Sprintf("%d addresses", n), reserved(n))
	}
}
