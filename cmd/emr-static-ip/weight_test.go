package main

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Limits of the program. Every node fetches it at its bootstrap, and starts it every minute.
const (
	maxSize    = 12_200_000 // bytes; amd64
	maxGzip    = 4_700_000  // bytes; gzip -9 makes 0.1 MB less of it than Go
	maxLinked  = 335        // packages
	maxAllocs  = 700        // of one package's initialization; the SDK's table of endpoints has 690
	maxBytes   = 100_000    // of the same
	maxTotal   = 320_000    // bytes of all initializations
	maxIniting = 145        // packages that have one
)

// TestWeight fails if a change or a dependency makes the program or its start heavier. Raise a
// limit only for something that an operator gets for it. ssm from v1.80.0 and emr from v1.67.0 on
// build their schemas at each start: 1.4 MB of heap and 2 ms, and 0.5 MB and 0.8 ms.
func TestWeight(t *testing.T) {
	bin := build(t)
	program, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	atMost := func(what string, got, limit int) {
		t.Helper()
		t.Logf("%-40s %9d of %9d", what, got, limit)
		if got > limit {
			t.Errorf("%s: %d, at most %d", what, got, limit)
		}
	}
	atMost("size, bytes", len(program), maxSize)
	atMost("size with gzip, bytes", packed.Len(), maxGzip)
	atMost("linked packages", bytes.Count(deps, []byte("\n")), maxLinked)

	total, inits := 0, initCosts(t, bin)
	for _, i := range inits {
		if i.allocs > maxAllocs || i.bytes > maxBytes {
			t.Errorf("the initialization of %s makes %d allocations of %d bytes, at most %d of %d", i.name, i.allocs, i.bytes, maxAllocs, maxBytes)
		}
		total += i.bytes
	}
	atMost("packages with an initialization", len(inits), maxIniting)
	atMost("their allocations, bytes", total, maxTotal)
}

// initCost is what the initialization of a package costs.
type initCost struct {
	name          string
	bytes, allocs int
}

// initLine is a line of GODEBUG=inittrace=1, as package runtime documents it.
var initLine = regexp.MustCompile(`(?m)^init (\S+) @.* ms clock, (\d+) bytes, (\d+) allocs$`)

// initCosts returns the costs of the packages whose initialization does something. It has no times,
// which depend on the machine.
func initCosts(t *testing.T, bin string) (costs []initCost) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, "version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for _, m := range initLine.FindAllStringSubmatch(stderr.String(), -1) {
		size, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		allocs, err := strconv.Atoi(m[3])
		if err != nil {
			t.Fatal(err)
		}
		costs = append(costs, initCost{m[1], size, allocs})
	}
	if len(costs) < 50 {
		t.Fatalf("%d packages in\n%s", len(costs), &stderr)
	}
	return costs
}
