package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// part is a module with its licences.
type part struct {
	module
	ids   []string // SPDX identifiers, sorted: https://spdx.org/licenses/
	texts []text   // in the order of their names
}

// text is one file with a licence or a notice. name is relative to the module.
type text struct{ name, content string }

// legal matches the names of files that have to go along with the code.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|notice|copying|patents)([.-][a-z0-9]+)?$`)

// licensed returns the modules with their licences.
func licensed(modules []module) ([]part, error) {
	dirs, err := directories(modules)
	if err != nil {
		return nil, err
	}
	var parts []part
	var problems []error
	for _, m := range modules {
		p := part{module: m}
		// Below Go's directory are also programs that are not linked.
		if p.texts, err = textsIn(dirs[m], m.path != std); err != nil {
			return nil, fmt.Errorf("reading the licences of %s: %w", m.key(), err)
		}
		for _, t := range p.texts {
			if !isLicense(t.name) {
				continue
			}
			id := identify(t.content)
			if id == "" {
				problems = append(problems, fmt.Errorf("%s: the licence in %s is not known", m.key(), t.name))
			}
			p.ids = append(p.ids, id)
		}
		if len(p.ids) == 0 {
			problems = append(problems, fmt.Errorf("%s has no licence", m.key()))
		}
		slices.Sort(p.ids)
		p.ids = slices.Compact(p.ids)
		parts = append(parts, p)
	}
	return parts, errors.Join(problems...)
}

func isLicense(name string) bool {
	base := strings.ToLower(filepath.Base(name))
	return strings.HasPrefix(base, "licen") || strings.HasPrefix(base, "copying")
}

// directories returns where the sources of modules are. A module that is not in the module cache is
// fetched.
func directories(modules []module) (map[module]string, error) {
	dirs := map[module]string{}
	args := []string{"mod", "download", "-json"}
	for _, m := range modules {
		if m.path != std {
			args = append(args, m.key())
			continue
		}
		root, err := exec.Command("go", "list", "-f", "{{.Root}}", "runtime").Output()
		if err != nil {
			return nil, fmt.Errorf("asking for Go's directory: %w", err)
		}
		dirs[m] = strings.TrimSpace(string(root))
	}
	if len(args) == 3 {
		return dirs, nil // without arguments, go would fetch all modules
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("go mod download: %w\n%s", err, out)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var m struct{ Path, Version, Dir string }
		if err := d.Decode(&m); err != nil {
			return nil, fmt.Errorf("reading the answer of go mod download: %w", err)
		}
		dirs[module{m.Path, m.Version}] = m.Dir
	}
	for _, m := range modules {
		if dirs[m] == "" {
			return nil, fmt.Errorf("the sources of %s are not here", m.key())
		}
	}
	return dirs, nil
}

// textsIn returns the files below a directory that have to go along with the code. Code that a
// module has copied may lie deeper, with a licence of its own.
func textsIn(dir string, deep bool) (texts []text, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && (!deep || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")):
			return fs.SkipDir
		case !d.Type().IsRegular() || !legal.MatchString(d.Name()) || filepath.Ext(path) == ".go":
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		texts = append(texts, text{name, string(content)})
		return err
	})
	return texts, err
}

// identify returns the SPDX identifier of a licence by the words that tell it from others, or "".
func identify(license string) string {
	words := strings.ToLower(strings.Join(strings.Fields(license), " "))
	has := func(s string) bool { return strings.Contains(words, s) }
	bsd := has("redistribution and use in source and binary forms, with or without modification, are permitted")
	switch {
	case has("apache license version 2.0, january 2004") && has("terms and conditions for use, reproduction, and distribution"):
		return "Apache-2.0"
	case bsd && has("to endorse or promote products derived from this software without specific prior written permission"):
		return "BSD-3-Clause"
	case bsd && has("redistributions in binary form must reproduce the above copyright notice"):
		return "BSD-2-Clause"
	case has("permission is hereby granted, free of charge, to any person obtaining a copy") && has("permission notice shall be included in all copies"):
		return "MIT"
	}
	return ""
}
