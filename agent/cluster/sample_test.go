package cluster

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedSample checks that the sample in the reference is what the command prints.
func TestDocumentedSample(t *testing.T) {
	page, err := os.ReadFile("../../cmd/emr-static-ip/README.md")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := os.ReadFile("testdata/check.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, sample, _ := strings.Cut(string(texts), "== a bootstrap action still runs\n")
	sample, _, found := strings.Cut(sample, "\n== ")
	if sample = "    " + strings.ReplaceAll(sample, "\n", "\n    ") + "\n"; !found || !strings.Contains(string(page), "\n"+sample) {
		t.Errorf("the reference does not have\n%s", sample)
	}
}
