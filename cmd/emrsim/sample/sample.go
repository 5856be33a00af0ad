// Package sample takes EMR's files of a real node from a bundle of doctor, for a node of a
// rehearsal.
package sample

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/bundle"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// Node is a real node, of which there is a bundle.
type Node struct {
	Bundle  string // file name
	Role    string // MASTER, CORE or TASK, by the files
	Release string // may be empty

	cluster, group string
	files          map[string][]byte // by their paths below the root
}

// Read reads a bundle that doctor --bundle has written.
func Read(ctx context.Context, name string) (Node, error) {
	f, err := os.Open(name)
	if err != nil {
		return Node{}, err
	}
	defer f.Close()
	files, err := bundle.Read(f)
	if err != nil {
		return Node{}, fmt.Errorf("%s is no bundle of emr-static-ip doctor: %w", name, err)
	}
	n := Node{Bundle: name, files: map[string][]byte{}}
	var missing []string
	for _, file := range files {
		p, ok := strings.CutPrefix(file.Name, bundle.EMRFiles+"/")
		switch {
		case !ok:
		case strings.HasSuffix(p, ".failed"):
			missing = append(missing, "/"+strings.TrimSuffix(p, ".failed"))
		default:
			n.files[p] = file.Content
		}
	}
	if len(n.files) == 0 {
		return Node{}, fmt.Errorf("%s has none of EMR's files: it is of an instance outside EMR, or they could not be read (%s)", name, strings.Join(missing, ", "))
	}
	return n, n.understand(ctx)
}

// understand finds out which node and which cluster the files are of.
func (n *Node) understand(ctx context.Context) error {
	root, err := os.MkdirTemp("", "emrsim-files-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	for p, content := range n.files {
		p = filepath.Join(root, filepath.FromSlash(p)) // bundle.Read admits no path that leads out
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, content, 0o644)); err != nil {
			return fmt.Errorf("laying out the files of %s: %w", n.Bundle, err)
		}
	}
	files := emr.ReadFiles(root)
	n.cluster, _ = files.ClusterID()
	n.group, _ = files.GroupID()
	n.Release = files.Release()
	role, err := emr.DetectRole(ctx, "", files, nil)
	if err != nil {
		return fmt.Errorf("%s does not say which role its node has: %w", n.Bundle, err)
	}
	n.Role = string(role.Role)
	return nil
}

// Files returns EMR's files of the real node, by their paths below the root, as if they were of a
// node of the model: with that node's cluster and group. All else is as the bundle has it.
func (n Node) Files(of *cloud.Node) map[string][]byte {
	files := map[string][]byte{}
	for p, content := range n.files {
		content = bytes.Clone(content)
		for _, id := range []struct{ from, to string }{{n.cluster, of.ClusterID}, {n.group, of.GroupID}} {
			if id.from != "" {
				content = bytes.ReplaceAll(content, []byte(id.from), []byte(id.to))
			}
		}
		files[path.Clean(p)] = content
	}
	return files
}

// Nodes are real nodes, at most one of each role.
type Nodes []Node

// ReadAll reads several bundles, whose names have commas between them.
func ReadAll(ctx context.Context, names string) (Nodes, error) {
	var all Nodes
	var problems []error
	seen := map[string]string{}
	for name := range strings.SplitSeq(names, ",") {
		n, err := Read(ctx, name)
		if err == nil && seen[n.Role] != "" {
			err = fmt.Errorf("%s and %s are both of a %s node", seen[n.Role], name, strings.ToLower(n.Role))
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		seen[n.Role] = name
		all = append(all, n)
	}
	return all, errors.Join(problems...)
}

// Files returns the files for a node of the model, or nil if there is no real node of its role.
func (s Nodes) Files(of *cloud.Node) map[string][]byte {
	for _, n := range s {
		if n.Role == of.Role {
			return n.Files(of)
		}
	}
	return nil
}
