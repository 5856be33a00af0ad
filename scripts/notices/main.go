// Command notices writes the licences of everything that is linked into binaries, and adds the
// names of the licences to the binaries' bills of materials.
//
//	notices OUTPUT BINARY...
//
// Beside each BINARY lies its bill of materials, BINARY.cdx.json. The command runs in the module's
// root, where LICENSE is the licence of the product itself. It fails if a module has no licence, or
// one that it does not recognize.
package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: notices OUTPUT BINARY...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

// run writes the notices of all binaries to output, and amends the bill of materials of each.
func run(output string, binaries []string) error {
	var linked []module
	product := ""
	for _, binary := range binaries {
		info, err := buildinfo.ReadFile(binary)
		if err != nil {
			return fmt.Errorf("reading which modules %s has: %w", binary, err)
		}
		product = info.Main.Path
		modules, err := modulesOf(info)
		if err != nil {
			return fmt.Errorf("%s: %w", binary, err)
		}
		linked = append(linked, modules...)
	}
	slices.SortFunc(linked, func(a, b module) int { return strings.Compare(a.key(), b.key()) })
	linked = slices.Compact(linked)
	parts, err := licensed(linked)
	if err != nil {
		return err
	}
	if err := os.WriteFile(output, []byte(render(parts)), 0o644); err != nil {
		return err
	}
	own, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	ids := map[string][]string{product: {identify(string(own))}}
	for _, p := range parts {
		ids[p.path] = p.ids
	}
	for _, binary := range binaries {
		if err := amend(binary+".cdx.json", ids); err != nil {
			return err
		}
	}
	return nil
}

// std is the name that bills of materials give the standard library.
const std = "std"

// module is one module that is linked into a binary. The standard library is one, too.
type module struct{ path, version string }

func (m module) key() string { return m.path + "@" + m.version }

// modulesOf returns the modules that a binary was linked from, without its own.
func modulesOf(info *debug.BuildInfo) ([]module, error) {
	all := []module{{std, info.GoVersion}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			return nil, fmt.Errorf("%s is replaced by %s: its licence is not known", m.Path, m.Replace.Path)
		}
		all = append(all, module{m.Path, m.Version})
	}
	return all, nil
}
