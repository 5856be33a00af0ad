package pool

import (
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Only the names of regions are taken for regions.
func TestMasterOnly(t *testing.T) {
	for _, text := range []string{"us-east", "US-EAST-1", "us-east-1 ", "us_east_1", "east-1x-2", "us-east-0", "us--east-1", "-us-east-1", "us-east-1\n"} {
		if _, _, ok := MasterOnly([]string{"10.0.1.10", text}); ok {
			t.Errorf("%q is taken for a region", text)
		}
	}
}

// FuzzRightForm: whatever the argument, there is no panic, and the form that is proposed is one
// that is understood.
func FuzzRightForm(f *testing.F) {
	for _, seed := range []string{"Args=[10.0.1.10,10.0.1.11]", `["10.0.1.1"]`, "us-east-1a", "core", "relase", "[[", "args==", "10.0.1.10,", "10/8", "172.16/12", "0/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if form := pasted(value); form != "" && !IsList(form) {
			t.Fatalf("%q: proposes %q", value, form)
		}
		if block, bits, ok := strings.Cut(value, "/"); ok {
			if full := inFull(block, bits); full != "" {
				if _, err := ParseCIDRs("", []string{full}); err != nil || IsList(value) {
					t.Fatalf("%q: proposes %q, %v", value, full, err)
				}
			}
		}
		rightForm(value, value, len(value)%2 == 0, []string{"release", "status"}, map[string]string{"list": "ledger list"})
		if hint := text.Nearest(value, []string{"release", "status"}); hint != "" && !slices.Contains([]string{"release", "status"}, hint) {
			t.Fatal(hint)
		}
	})
}
