package emr

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Role is a node's part in an EMR cluster.
type Role string

// The roles, as the tag RoleTag has them.
const (
	Master Role = "MASTER"
	Core   Role = "CORE"
	Task   Role = "TASK"
	// None is the role of an instance outside EMR.
	None Role = ""
)

// RoleTag is the tag with the role, which EMR puts on every instance of a cluster.
// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-plan-tags.html
const RoleTag = "aws:elasticmapreduce:instance-group-role"

// ParseRole reads a role in the spellings of EMR's files and API: MASTER, Core, task.
func ParseRole(s string) (Role, error) {
	for _, r := range []Role{Master, Core, Task} {
		if strings.EqualFold(s, string(r)) {
			return r, nil
		}
	}
	return "", fmt.Errorf("%s is not a role (MASTER, CORE or TASK)", text.Quote(s))
}

// Decision is a node's role and the source that decided. Files.Problems has the files that could
// not be read.
type Decision struct {
	Role     Role
	Source   string   // "job-flow.json", "the EC2 tag aws:..."
	Warnings []string // sources that say something else
}

// DetectRole finds the node's role. The first of these sources that has one decides:
//
//  1. given, from --role
//  2. extraInstanceData.json: instanceRole
//  3. job-flow.json: the role of the group that this node's instanceGroupId names
//  4. job-flow-state.txt: instanceRole
//  5. the EC2 tag aws:elasticmapreduce:instance-group-role
//  6. instance.json: isMaster
//
// DetectRole calls tags only if sources 1 to 4 have no role.
//
// If isMaster is false, the groups in job-flow.json decide. A cluster has one core group, so a node
// of another group is a task node. If no task group is known, the role is CORE, with a warning. If
// a task group and no core group is listed, DetectRole returns an error.
//
// A warning names every later file that says something else. An error of tags is a warning if
// isMaster decides. If nothing decides, the error is a *RoleError.
func DetectRole(ctx context.Context, given Role, files Files, tags func(context.Context) (map[string]string, error)) (Decision, error) {
	said := filesOnRole(files)
	if given != "" {
		said = slices.Insert(said, 0, roleSource{given, "--role"})
	}
	var d Decision
	var tagErr error
	if len(said) == 0 {
		var o roleSource
		if o, tagErr = tagOnRole(ctx, tags); ctx.Err() != nil {
			return d, fmt.Errorf("finding the node's role by its EC2 tag: %w", errors.Join(tagErr, context.Cause(ctx)))
		}
		if o.role != "" {
			said = append(said, o)
		}
	}
	master, masterFrom := isMaster(files)
	if len(said) == 0 && master != nil {
		o, warning := isMasterOnRole(*master, masterFrom, files)
		if o.role != "" {
			said = append(said, o)
		}
		if warning != "" {
			d.Warnings = append(d.Warnings, warning)
		}
	}
	if len(said) == 0 {
		return d, &RoleError{Files: undecided(files, master), Tag: tagErr}
	}
	if tagErr != nil {
		d.Warnings = append(d.Warnings, tagErr.Error())
	}
	d.Role, d.Source = said[0].role, said[0].source
	for _, o := range said[1:] {
		if o.role != d.Role {
			d.Warnings = append(d.Warnings, fmt.Sprintf("role %s is taken from %s, but %s says %s", d.Role, d.Source, o.source, o.role))
		}
	}
	if master != nil && *master != (d.Role == Master) {
		d.Warnings = append(d.Warnings, fmt.Sprintf("role %s is taken from %s, but %s says isMaster: %t", d.Role, d.Source, masterFrom, *master))
	}
	return d, nil
}

// roleSource is a source with the role that it has.
type roleSource struct {
	role   Role
	source string
}

// filesOnRole returns the files that name the role, in order of precedence.
func filesOnRole(files Files) []roleSource {
	var said []roleSource
	direct := func(name string) {
		for _, f := range files.Files {
			if f.Name == name && f.Role != "" {
				said = append(said, roleSource{f.Role, source(f)})
			}
		}
	}
	direct(FileExtra)
	if id, _ := files.GroupID(); id != "" {
		for _, f := range files.Files {
			for _, g := range f.Groups {
				if f.Name == FileJobFlow && g.ID == id && g.Role != "" {
					said = append(said, roleSource{g.Role, source(f)})
				}
			}
		}
	}
	direct(fileState)
	return said
}

// source returns how messages call a file: by its name, or by its path if it is a copy elsewhere.
func source(f File) string {
	if path.Dir(f.Path) == emrDirs(f.Name)[0] {
		return f.Name
	}
	return f.Path
}

// tagOnRole returns the role of the instance's tag. The role is empty if there is no such tag.
func tagOnRole(ctx context.Context, tags func(context.Context) (map[string]string, error)) (roleSource, error) {
	if tags == nil {
		return roleSource{}, nil
	}
	all, err := tags(ctx)
	if err != nil {
		return roleSource{}, fmt.Errorf("reading the EC2 tag %s: %w", RoleTag, err)
	}
	value, ok := all[RoleTag]
	if !ok {
		return roleSource{}, nil
	}
	r, err := ParseRole(value)
	if err != nil {
		return roleSource{}, fmt.Errorf("reading the EC2 tag %s: %w", RoleTag, err)
	}
	return roleSource{r, "the EC2 tag " + RoleTag}, nil
}

// isMaster returns the isMaster of the first file that has one.
func isMaster(files Files) (value *bool, from string) {
	f := files.first(func(f File) bool { return f.IsMaster != nil })
	if f == nil {
		return nil, ""
	}
	return f.IsMaster, source(*f)
}

// isMasterOnRole returns the role that follows from isMaster and the known groups: see DetectRole.
func isMasterOnRole(master bool, from string, files Files) (o roleSource, warning string) {
	if master {
		return roleSource{Master, from + " (isMaster)"}, ""
	}
	own, _ := files.GroupID()
	var hasTask, hasCore, otherCore bool
	for _, f := range files.Files {
		for _, g := range f.Groups {
			hasTask = hasTask || g.Role == Task
			hasCore = hasCore || g.Role == Core
			otherCore = otherCore || g.Role == Core && g.ID != "" && own != "" && g.ID != own
		}
	}
	switch {
	case otherCore:
		return roleSource{Task, fmt.Sprintf("%s (isMaster: false, and this node's group %s is not the core group)", from, own)}, ""
	case !hasTask:
		return roleSource{Core, from + " (isMaster: false, and no task group is known)"},
			"the role CORE is only inferred: isMaster is false and no task group is known; --role makes it certain"
	default:
		return roleSource{}, ""
	}
}

// RoleError is the error if no source has the node's role.
type RoleError struct {
	Files error // why the files do not decide
	Tag   error // why the tag could not be read; nil if it was read or not asked for
}

// Error returns the messages of both errors.
func (e *RoleError) Error() string { return errors.Join(e.Files, e.Tag).Error() }

// Unwrap returns the errors that are not nil.
func (e *RoleError) Unwrap() []error {
	if e.Tag == nil {
		return []error{e.Files}
	}
	return []error{e.Files, e.Tag}
}

// undecided returns why the files do not decide on the role.
func undecided(files Files, master *bool) error {
	var why error
	switch {
	case files.Empty():
		why = errors.New("finding the node's role: none of EMR's files exists here (/mnt/var/lib/info/instance.json and others): is this an EMR node?")
	case master != nil:
		why = errors.New("finding the node's role: instance.json says that this is not a master, and nothing distinguishes a core node from a task node")
	default:
		why = errors.New("finding the node's role: none of EMR's files names it")
	}
	for _, f := range files.Files {
		why = errors.Join(why, f.Err)
	}
	return why
}
