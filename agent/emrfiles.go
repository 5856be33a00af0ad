package agent

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
	fileExtra    = "extraInstanceData.json"
	fileJobFlow  = "job-flow.json"
	fileState    = "job-flow-state.txt"
)

// maxEMRFile bounds how much of a file is read. A job-flow.json of a big cluster has some tens of kilobytes.
const maxEMRFile = 1 << 20

// emrDirs are where the files are found, in the order they are looked into. EMR releases differ, and keep copies or links.
func emrDirs(name string) []string {
	dirs := []string{"/mnt/var/lib/info", "/emr/instance-controller/lib/info", "/var/lib/info"}
	if name == fileExtra {
		dirs = append(dirs, "/mnt/var/lib/instance-controller")
	}
	return dirs
}

// EMRGroup is an instance group (or fleet) of the cluster, as a file lists it.
type EMRGroup struct {
	ID        string // ig-...; empty in extraInstanceData.json
	Role      Role
	Requested int  // nodes; meaningful only where Counted
	Counted   bool // a fleet's capacity is in weighted units and is not counted
}

// EMRFile is what one file said. A field that the file does not have, or has in a form not understood, is zero; the latter is
// also a problem.
type EMRFile struct {
	Path     string
	Name     string  // the last element of Path
	Err      error   // the file is there but could not be read or is not JSON: what it says is unknown, not "nothing"
	Problems []error // fields that are not as expected

	ClusterID string
	GroupID   string // of this node's group or fleet
	Role      Role   // of this node
	IsMaster  *bool
	HA        *bool // three masters
	Region    string
	Release   string // emr-7.1.0
	Groups    []EMRGroup
	Fleets    bool // the cluster uses instance fleets
}

// EMRFiles are the files found on a node, in the order they are looked for; copies of a file follow each other.
type EMRFiles struct {
	Files []EMRFile
}

// ReadEMRFiles reads EMR's files below root ("" on a node). A file that is not there is left out; one that is there and cannot be
// read is kept with its error.
func ReadEMRFiles(root string) EMRFiles {
	var all EMRFiles
	for _, name := range []string{fileExtra, fileJobFlow, fileState, fileInstance} {
		for _, dir := range emrDirs(name) {
			p := path.Join(dir, name)
			data, err := text.ReadFile(path.Join(root, p), maxEMRFile)
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
				continue
			case err != nil:
				all.Files = append(all.Files, EMRFile{Path: p, Name: name, Err: fmt.Errorf("reading %s: %w", p, err)})
				continue
			}
			f := parseEMRFile(name, data)
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

// Empty tells whether there is no EMR file at all: this is not an EMR node, or not yet.
func (e EMRFiles) Empty() bool { return len(e.Files) == 0 }

// first is the first file for which has is true; nil where there is none.
func (e EMRFiles) first(has func(EMRFile) bool) *EMRFile {
	if i := slices.IndexFunc(e.Files, has); i >= 0 {
		return &e.Files[i]
	}
	return nil
}

// ClusterID is the cluster's id (j-...) and the file that says so; empty where none does.
func (e EMRFiles) ClusterID() (id, from string) {
	if f := e.first(func(f EMRFile) bool { return f.ClusterID != "" }); f != nil {
		return f.ClusterID, f.Path
	}
	return "", ""
}

// GroupID is the id of this node's instance group or fleet, and the file that says so. instance.json is this node's own file and
// is asked first.
func (e EMRFiles) GroupID() (id, from string) {
	own := e.first(func(f EMRFile) bool { return f.Name == fileInstance && f.GroupID != "" })
	if f := cmp.Or(own, e.first(func(f EMRFile) bool { return f.GroupID != "" })); f != nil {
		return f.GroupID, f.Path
	}
	return "", ""
}

// Release is the EMR release label (emr-7.1.0); empty where no file tells it.
func (e EMRFiles) Release() string {
	if f := e.first(func(f EMRFile) bool { return f.Release != "" }); f != nil {
		return f.Release
	}
	return ""
}

// Region is the cluster's region; empty where no file tells it. The node's own region comes from IMDS.
func (e EMRFiles) Region() string {
	if f := e.first(func(f EMRFile) bool { return f.Region != "" }); f != nil {
		return f.Region
	}
	return ""
}

// Fleets tells whether some file shows instance fleets.
func (e EMRFiles) Fleets() bool {
	return e.first(func(f EMRFile) bool { return f.Fleets }) != nil
}

// Requested is how many nodes of a role the cluster was asked to have, and the file that says so. It is not known (from is empty)
// where no file lists groups with counts, and for instance fleets. job-flow.json is preferred: it is the one that EMR's own
// tools on the node read.
func (e EMRFiles) Requested(r Role) (count int, from string) {
	knows := func(f EMRFile) bool {
		return len(f.Groups) > 0 && !slices.ContainsFunc(f.Groups, func(g EMRGroup) bool { return g.Role == r && !g.Counted })
	}
	preferred := e.first(func(f EMRFile) bool { return f.Name == fileJobFlow && knows(f) })
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

// Masters is how many master nodes the cluster has, and the file that says so: 1, or 3 where EMR's high availability is on.
func (e EMRFiles) Masters() (count int, from string) {
	count, from = e.Requested(RoleMaster)
	if f := e.first(func(f EMRFile) bool { return f.HA != nil && *f.HA }); f != nil && count < 3 {
		return 3, f.Path
	}
	if from == "" || count == 0 {
		return 1, ""
	}
	return count, from
}

// Problems are all files that could not be read and all fields that were not understood, and where copies or files contradict
// each other about the cluster.
func (e EMRFiles) Problems() []error {
	var problems []error
	for _, f := range e.Files {
		if f.Err != nil {
			problems = append(problems, f.Err)
		}
		problems = append(problems, f.Problems...)
	}
	contradiction := func(what string, of func(EMRFile) string) {
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
	contradiction("the cluster", func(f EMRFile) string { return f.ClusterID })
	contradiction("this node's instance group", func(f EMRFile) string { return f.GroupID })
	return problems
}
