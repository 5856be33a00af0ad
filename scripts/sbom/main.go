// Command sbom prints the software bill of materials of a Go binary, in CycloneDX's JSON: the modules that the linker put into it, as
// the binary itself tells them, with the checksums that go.sum has for them. The same binary gives the same bytes; nothing is fetched.
//
//	go run ./scripts/sbom VERSION BINARY
//
// A time is in it only where SOURCE_DATE_EPOCH gives one.
package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION BINARY")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1], os.Args[2], os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// The parts of CycloneDX 1.5 that are used: https://cyclonedx.org/docs/1.5/json/
type (
	bom struct {
		Schema       string       `json:"$schema"`
		Format       string       `json:"bomFormat"`
		SpecVersion  string       `json:"specVersion"`
		SerialNumber string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string     `json:"timestamp,omitempty"`
		Component component  `json:"component"`
		Settings  []property `json:"properties,omitempty"`
	}
	component struct {
		Ref        string     `json:"bom-ref"`
		Type       string     `json:"type"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		Scope      string     `json:"scope,omitempty"`
		Hashes     []hash     `json:"hashes,omitempty"`
		PackageURL string     `json:"purl"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn"`
	}
)

func run(out io.Writer, version, path, epoch string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the build information of %s: %w", path, err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b := describe(info, version, sha256.Sum256(content))
	if epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		b.Metadata.Timestamp = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(b)
}

// describe is the bill of a binary with that build information and SHA-256.
func describe(info *buildinfo.BuildInfo, version string, sum [sha256.Size]byte) bom {
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	platform := url.Values{"type": {"module"}, "goos": {set["GOOS"]}, "goarch": {set["GOARCH"]}}.Encode()
	main := component{
		Type: "application", Name: info.Main.Path, Version: version, PackageURL: purl(info.Main.Path, version) + "?" + platform,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	main.Ref = main.PackageURL
	b := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.5.schema.json", Format: "CycloneDX", SpecVersion: "1.5", Version: 1, SerialNumber: serial(sum),
		Metadata: metadata{Component: main},
	}
	for _, key := range slices.Sorted(slices.Values([]string{"-trimpath", "-ldflags", "CGO_ENABLED", "GOAMD64", "GOARM64"})) {
		if value, ok := set[key]; ok {
			b.Metadata.Settings = append(b.Metadata.Settings, property{"go:build:" + key, value})
		}
	}
	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	std := component{Type: "library", Name: "std", Version: goVersion, Scope: "required", PackageURL: purl("std", goVersion)}
	std.Ref = std.PackageURL
	b.Components = append(b.Components, std)
	for _, m := range info.Deps {
		b.Components = append(b.Components, library(m))
	}
	slices.SortFunc(b.Components, func(x, y component) int { return cmp.Compare(x.Ref, y.Ref) })
	all := dependency{Ref: main.Ref, DependsOn: []string{}}
	for _, c := range b.Components {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	// Which module needs which is not in a binary: all that is known is that this one has them all.
	b.Dependencies = []dependency{all}
	return b
}

// library is a module; one that go.mod replaces is what replaces it.
func library(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	c := component{Type: "library", Name: m.Path, Version: m.Version, Scope: "required", PackageURL: purl(m.Path, m.Version)}
	c.Ref = c.PackageURL
	if m.Sum != "" {
		// go.sum's sum is one over a list of files, and no hash of any file: CycloneDX has no place for it.
		c.Properties = []property{{"go:sum", m.Sum}}
	}
	return c
}

// purl is a package URL: https://github.com/package-url/purl-spec
func purl(path, version string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "pkg:golang/" + strings.Join(parts, "/") + "@" + strings.ReplaceAll(url.PathEscape(version), "+", "%2B")
}

// serial is a UUID that stands for these bytes (version 8 of RFC 9562: made by a rule of one's own).
func serial(sum [sha256.Size]byte) string {
	u := sum[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
