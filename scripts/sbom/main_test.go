package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	info := &buildinfo.BuildInfo{
		GoVersion: "go1.26.1",
		Main:      debug.Module{Path: "example.com/a", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "github.com/z/Z/v2", Version: "v2.0.0+incompatible", Sum: "h1:z="},
			{Path: "example.com/b", Version: "v1.0.0", Sum: "h1:b=", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1", Sum: "h1:f="}},
		},
		Settings: []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "arm64"}, {Key: "-trimpath", Value: "true"}},
	}
	b := describe(info, "v3+x", sha256.Sum256([]byte("content")))
	var got []string
	for _, c := range append(b.Components, b.Metadata.Component) {
		if c.Ref != c.PackageURL {
			t.Errorf("%s is referred to as %s", c.PackageURL, c.Ref)
		}
		got = append(got, fmt.Sprint(c.PackageURL, c.Properties, c.Hashes))
	}
	want := []string{
		"pkg:golang/example.com/fork@v1.0.1[{go:sum h1:f=}] []",
		"pkg:golang/github.com/z/Z/v2@v2.0.0%2Bincompatible[{go:sum h1:z=}] []",
		"pkg:golang/std@1.26.1[] []",
		"pkg:golang/example.com/a@v3%2Bx?goarch=arm64&goos=linux&type=module[] [{SHA-256 ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73}]",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("components\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d := b.Dependencies[0]; d.Ref != b.Metadata.Component.Ref || len(d.DependsOn) != 3 {
		t.Errorf("dependencies %+v", b.Dependencies)
	}
	if want := "urn:uuid:ed7002b4-39e9-8c84-9f22-357d822bac14"; b.SerialNumber != want {
		t.Errorf("serial number %s, want %s", b.SerialNumber, want)
	}
}

// TestRun makes the bill of this test program.
func TestRun(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run(out, "v1", self, "86400"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same binary gives different bills")
	}
	var parsed bom
	d := json.NewDecoder(&first)
	d.DisallowUnknownFields()
	if err := d.Decode(&parsed); err != nil || parsed.Format != "CycloneDX" || parsed.Metadata.Timestamp != "1970-01-02T00:00:00Z" || len(parsed.Components) == 0 {
		t.Errorf("%v: %+v", err, parsed)
	}
	if err := run(&second, "v1", "main.go", ""); err == nil {
		t.Error("a file that is no binary has a bill")
	}
	if err := run(&second, "v1", self, "yesterday"); err == nil {
		t.Error("SOURCE_DATE_EPOCH=yesterday is taken")
	}
}
