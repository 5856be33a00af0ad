// Package emr reads the files in which EMR tells a node about itself and its cluster, and finds the
// node's role.
package emr

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// The files in which EMR tells a node about itself and its cluster.
const (
	fileInstance = "instance.json"
	FileExtra    = "extraInstanceData.json"
	FileJobFlow  = "job-flow.json"
	fileState    = "job-flow-state.txt"
)

// maxEMRFile limits the size of a file. The job-flow.json of a big cluster has some tens of
// kilobytes.
const maxEMRFile = 1 << 20

// emrDirs returns the directories that may have a file, in the order in which they are read. EMR
// releases differ, and keep copies or links.
func emrDirs(name string) []string {
	dirs := []string{"/mnt/var/lib/info", "/emr/instance-controller/lib/info", "/var/lib/info"}
	if name == FileExtra {
		dirs = append(dirs, "/mnt/var/lib/instance-controller")
	}
	return dirs
}

// Dirs returns the directories that may have EMR's files.
func Dirs() []string { return emrDirs(FileExtra) }

// Group is an instance group or fleet of the cluster, as a file lists it.
type Group struct {
	ID        string // ig-...; empty in extraInstanceData.json
	Role      Role
	Requested int  // nodes, if Counted
	Counted   bool // false for a fleet, whose capacity is in weighted units
}

// File is the content of one file. A field is zero if the file does not have it. It is also zero,
// with a problem, if the file has it in an unknown form.
type File struct {
	Path     string
	Name     string  // the last element of Path
	Err      error   // why an existing file could not be read: its content is unknown, not empty
	Problems []error // fields with an unknown form

	ClusterID string
	GroupID   string // of this node's group or fleet
	Role      Role   // of this node
	IsMaster  *bool
	HA        *bool // three masters
	Region    string
	Release   string // emr-7.1.0
	Groups    []Group
	Fleets    bool // the cluster uses instance fleets
}

// Files are the files found on a node, in the order in which they are read. Copies of a file follow
// each other.
type Files struct {
	Files []File
}

// ReadFiles reads EMR's files below root, which is empty on a node. It leaves out missing files. A
// file that cannot be read has Err set.
func ReadFiles(root string) Files {
	var all Files
	for _, name := range []string{FileExtra, FileJobFlow, fileState, fileInstance} {
		for _, dir := range emrDirs(name) {
			p := path.Join(dir, name)
			data, err := text.ReadFile(path.Join(root, p), maxEMRFile)
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
				continue
			case err != nil:
				all.Files = append(all.Files, File{Path: p, Name: name, Err: fmt.Errorf("reading %s: %w", p, err)})
				continue
			}
			f := parseFile(name, data)
			f.Path = p
			if f.Err != nil {
				f.Err = fmt.Errorf("reading %s: %w", p, f.Err)
			}
			for i, problem := range f.Problems {
				f.Problems[i] = fmt.Errorf("reading %s: %w", p, problem)
			}
			all.Files = append(all.Files, f)
		}
	}
	return all
}

// Empty reports whether there is no EMR file at all. Then this is not an EMR node, or not yet.
func (e Files) Empty() bool { return len(e.Files) == 0 }

// first returns the first file for which has returns true, or nil.
func (e Files) first(has func(File) bool) *File {
	if i := slices.IndexFunc(e.Files, has); i >= 0 {
		return &e.Files[i]
	}
	return nil
}

// ClusterID returns the cluster's id (j-...) and the file that has it. Both are empty if no file
// has it.
func (e Files) ClusterID() (id, from string) {
	if f := e.first(func(f File) bool { return f.ClusterID != "" }); f != nil {
		return f.ClusterID, f.Path
	}
	return "", ""
}

// GroupID returns the id of this node's instance group or fleet, and the file that has it.
// instance.json, which is about this node alone, takes precedence.
func (e Files) GroupID() (id, from string) {
	own := e.first(func(f File) bool { return f.Name == fileInstance && f.GroupID != "" })
	if f := cmp.Or(own, e.first(func(f File) bool { return f.GroupID != "" })); f != nil {
		return f.GroupID, f.Path
	}
	return "", ""
}

// Release returns the EMR release label (emr-7.1.0), or "".
func (e Files) Release() string {
	if f := e.first(func(f File) bool { return f.Release != "" }); f != nil {
		return f.Release
	}
	return ""
}

// Region returns the cluster's region, or "". The node's own region comes from IMDS.
func (e Files) Region() string {
	if f := e.first(func(f File) bool { return f.Region != "" }); f != nil {
		return f.Region
	}
	return ""
}

// Fleets reports whether a file shows instance fleets.
func (e Files) Fleets() bool {
	return e.first(func(f File) bool { return f.Fleets }) != nil
}

// Requested returns how many nodes of a role the cluster was asked to have, and the file that says
// so. The file is empty if the number is unknown: if no file lists groups with counts, and for
// instance fleets. job-flow.json takes precedence, since EMR's own tools on the node read it.
func (e Files) Requested(r Role) (count int, from string) {
	knows := func(f File) bool {
		return len(f.Groups) > 0 && !slices.ContainsFunc(f.Groups, func(g Group) bool { return g.Role == r && !g.Counted })
	}
	preferred := e.first(func(f File) bool { return f.Name == FileJobFlow && knows(f) })
	f := cmp.Or(preferred, e.first(knows))
	if f == nil || e.Fleets() {
		return 0, ""
	}
	for _, g := range f.Groups {
		if g.Role == r {
			count += g.Requested
		}
	}
	return count, f.Path
}

// Certain reports whether a count is what the cluster was asked to have. from is the file that
// Requested or Masters returned. extraInstanceData.json alone is no certainty: nobody has published
// one of an instance fleet or of a cluster with three masters. All published ones have haEnabled
// false and numCandidates 1, so that what true means is not verified. A refusal by mistake would
// end every node of a cluster that works. A warning costs nothing: masters without an address end
// with exit code 6.
func (e Files) Certain(from string) bool {
	return from != "" && path.Base(from) != FileExtra
}

// Masters returns how many master nodes the cluster has, and the file that says so: 1, or 3 if
// EMR's high availability is on.
func (e Files) Masters() (count int, from string) {
	count, from = e.Requested(Master)
	if f := e.first(func(f File) bool { return f.HA != nil && *f.HA }); f != nil && count < 3 {
		return 3, f.Path
	}
	if from == "" || count == 0 {
		return 1, ""
	}
	return count, from
}

// Problems returns the files that could not be read, the fields with an unknown form, and the
// contradictions between files about the cluster. Files that the system refuses for one reason,
// such as all of them to another user than root, are one problem.
func (e Files) Problems() []error {
	var problems []error
	for _, f := range e.Files {
		if f.Err != nil && refusal(f.Err) == 0 {
			problems = append(problems, f.Err)
		}
		problems = append(problems, f.Problems...)
	}
	problems = append(e.refused(), problems...)
	contradiction := func(what string, of func(File) string) {
		var said []string
		values := map[string]bool{}
		for _, f := range e.Files {
			if v := of(f); v != "" && !values[v] {
				values[v] = true
				said = append(said, fmt.Sprintf("%s in %s", v, f.Path))
			}
		}
		if len(said) > 1 {
			problems = append(problems, fmt.Errorf("EMR's files disagree about %s: %s", what, strings.Join(said, ", ")))
		}
	}
	contradiction("the cluster", func(f File) string { return f.ClusterID })
	contradiction("this node's instance group", func(f File) string { return f.GroupID })
	return problems
}

// refusal returns the system's reason why a file could not be read, or 0.
func refusal(err error) (reason syscall.Errno) {
	errors.As(err, &reason)
	return reason
}

// refused returns one problem for each reason of the system, in the order of the files.
func (e Files) refused() (problems []error) {
	var reasons []syscall.Errno
	first, count := map[syscall.Errno]File{}, map[syscall.Errno]int{}
	for _, f := range e.Files {
		reason := refusal(f.Err)
		if reason == 0 {
			continue
		}
		if count[reason] == 0 {
			reasons, first[reason] = append(reasons, reason), f
		}
		count[reason]++
	}
	for _, reason := range reasons {
		err := first[reason].Err
		if n := count[reason]; n > 1 {
			err = fmt.Errorf("reading %d of EMR's files, such as %s: %w", n, first[reason].Path, reason)
		}
		problems = append(problems, err)
	}
	return problems
}
