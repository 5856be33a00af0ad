package agent

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
)

// roleTag is the tag that EMR puts on every instance of a cluster: MASTER, CORE or TASK.
const roleTag = "aws:elasticmapreduce:instance-group-role"

// RoleDecision is a node's role and how it was found.
type RoleDecision struct {
	Role     Role
	Source   string   // "job-flow.json", "the EC2 tag aws:..."
	Warnings []string // sources that say something else; files that could not be read are in EMRFiles.Problems
}

// DetectRole finds the node's role. The sources, the first that tells it decides:
//
//  1. given, from --role
//  2. extraInstanceData.json: instanceRole
//  3. job-flow.json: the role of the group that this node's instanceGroupId names
//  4. job-flow-state.txt: instanceRole
//  5. the EC2 tag aws:elasticmapreduce:instance-group-role; tags is called only when it is needed
//  6. instance.json: isMaster
//
// isMaster false says only what the node is not. What it is, is taken from the groups that job-flow.json lists: a cluster has one
// core group, so a node of another group is a task node; and where no task group is known, it is taken for a core node, with a
// warning. With a task group and no core group listed, nothing decides, and the error says what to do.
//
// Every later source among the files that says something else is named in a warning. An error of tags is no answer: it is a
// warning where isMaster decides, and part of the error where nothing does.
func DetectRole(ctx context.Context, given Role, files EMRFiles, tags func(context.Context) (map[string]string, error)) (RoleDecision, error) {
	said := filesOnRole(files)
	if given != "" {
		said = slices.Insert(said, 0, opinion{given, "--role"})
	}
	var d RoleDecision
	var tagErr error
	if len(said) == 0 {
		var o opinion
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
		return d, noRole(files, master, tagErr)
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
	if master != nil && *master != (d.Role == RoleMaster) {
		d.Warnings = append(d.Warnings, fmt.Sprintf("role %s is taken from %s, but %s says isMaster: %t", d.Role, d.Source, masterFrom, *master))
	}
	return d, nil
}

// opinion is what one source says about the role.
type opinion struct {
	role   Role
	source string
}

// filesOnRole is what the files say that name the role, in the order of their rank.
func filesOnRole(files EMRFiles) []opinion {
	var said []opinion
	direct := func(name string) {
		for _, f := range files.Files {
			if f.Name == name && f.Role != "" {
				said = append(said, opinion{f.Role, source(f)})
			}
		}
	}
	direct(fileExtra)
	if id, _ := files.GroupID(); id != "" {
		for _, f := range files.Files {
			for _, g := range f.Groups {
				if f.Name == fileJobFlow && g.ID == id && g.Role != "" {
					said = append(said, opinion{g.Role, source(f)})
				}
			}
		}
	}
	direct(fileState)
	return said
}

// source is how a file is called in messages: short, since its directory tells an operator little, except where copies differ.
func source(f EMRFile) string {
	if path.Dir(f.Path) == emrDirs(f.Name)[0] {
		return f.Name
	}
	return f.Path
}

// tagOnRole asks EC2. An instance without the tag has no opinion.
func tagOnRole(ctx context.Context, tags func(context.Context) (map[string]string, error)) (opinion, error) {
	if tags == nil {
		return opinion{}, nil
	}
	all, err := tags(ctx)
	if err != nil {
		return opinion{}, fmt.Errorf("reading the EC2 tag %s: %w", roleTag, err)
	}
	value, ok := all[roleTag]
	if !ok {
		return opinion{}, nil
	}
	r, err := ParseRole(value)
	if err != nil {
		return opinion{}, fmt.Errorf("reading the EC2 tag %s: %w", roleTag, err)
	}
	return opinion{r, "the EC2 tag " + roleTag}, nil
}

func isMaster(files EMRFiles) (value *bool, from string) {
	f := files.first(func(f EMRFile) bool { return f.IsMaster != nil })
	if f == nil {
		return nil, ""
	}
	return f.IsMaster, source(*f)
}

// isMasterOnRole is what isMaster means beside the groups that are known: see DetectRole.
func isMasterOnRole(master bool, from string, files EMRFiles) (o opinion, warning string) {
	if master {
		return opinion{RoleMaster, from + " (isMaster)"}, ""
	}
	own, _ := files.GroupID()
	var hasTask, hasCore, otherCore bool
	for _, f := range files.Files {
		for _, g := range f.Groups {
			hasTask = hasTask || g.Role == RoleTask
			hasCore = hasCore || g.Role == RoleCore
			otherCore = otherCore || g.Role == RoleCore && g.ID != "" && own != "" && g.ID != own
		}
	}
	switch {
	case otherCore:
		return opinion{RoleTask, fmt.Sprintf("%s (isMaster: false, and the core group is another one than this node's %s)", from, own)}, ""
	case !hasTask:
		return opinion{RoleCore, from + " (isMaster: false, and no task group is known)"},
			"that this is a core node is only inferred: isMaster is false and no task group is known; --role tells it for certain"
	default:
		return opinion{}, ""
	}
}

// noRole is the error where nothing tells the role.
func noRole(files EMRFiles, master *bool, tagErr error) error {
	var why error
	switch {
	case files.Empty():
		why = errors.New("finding the node's role: none of EMR's files is here (/mnt/var/lib/info/instance.json and others): is this an EMR node?")
	case master != nil:
		why = errors.New("finding the node's role: instance.json says that it is not a master, and nothing tells a core node from a task node")
	default:
		why = errors.New("finding the node's role: none of EMR's files tells it")
	}
	for _, f := range files.Files {
		why = errors.Join(why, f.Err)
	}
	remedy := "name the role with --role MASTER, --role CORE or --role TASK"
	if tagErr == nil {
		return &Error{Code: ExitIdentity, Err: why, Remedy: remedy}
	}
	if isPermission(tagErr) || isNetwork(tagErr) {
		return errors.Join(why, tagErr) // explained as what it is
	}
	return &Error{Code: ExitIdentity, Err: errors.Join(why, tagErr), Remedy: remedy + ", or let the node read its EC2 tags (ec2:DescribeInstances)"}
}
