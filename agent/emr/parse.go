package emr

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// parseFile reads one of EMR's files. EMR publishes no schema, and releases differ. So parseFile
// reads each field on its own: a field with a new form does not hide the others. It ignores all
// other fields.
func parseFile(name string, data []byte) File {
	f := File{Name: name}
	if name == fileState {
		parseJobFlowState(&f, string(data))
		return f
	}
	var o object
	if err := json.Unmarshal(data, &o.fields); err != nil {
		f.Err = fmt.Errorf("it is not a JSON object: %w", text.JSONError(err))
		return f
	}
	f.ClusterID = o.id("jobFlowId", clusterIDForm())
	f.Region = o.id("region", text.Word("a region"))
	f.Release = o.id("releaseLabel", text.Word("a release label"))
	f.HA = o.bool("haEnabled")
	switch name {
	case fileInstance:
		f.IsMaster = o.bool("isMaster")
		f.GroupID, f.Fleets = groupIDOf(&o)
	case FileExtra:
		f.Role = o.role("instanceRole")
		f.GroupID, f.Fleets = groupIDOf(&o)
		f.Groups = o.groupMap("instanceGroups")
	case FileJobFlow:
		f.Groups = o.groupList("instanceGroups", true)
		if fleets := o.groupList("instanceFleets", false); len(fleets) > 0 {
			f.Groups, f.Fleets = append(f.Groups, fleets...), true
		}
	}
	for _, g := range f.Groups {
		f.Fleets = f.Fleets || strings.HasPrefix(g.ID, "if-")
	}
	f.Fleets = f.Fleets || repeated(f.Groups, Master) || repeated(f.Groups, Core)
	f.Problems = o.problems
	return f
}

// repeated reports whether a role has more than one entry. A cluster with instance groups has one
// master and one core group, so several entries are the instance types of a fleet. Their counts are
// then units or limits, not nodes. Task groups may be many.
func repeated(groups []Group, r Role) bool {
	entries := 0
	for _, g := range groups {
		if g.Role == r {
			entries++
		}
	}
	return entries > 1
}

// groupIDOf returns the id of the node's group or fleet. No sample of a fleet's file is known, so
// both names and both kinds of id are accepted.
func groupIDOf(o *object) (id string, fleet bool) {
	if id = o.id("instanceGroupId", groupIDForm()); id == "" {
		id = o.id("instanceFleetId", groupIDForm())
	}
	return id, strings.HasPrefix(id, "if-")
}

func clusterIDForm() text.Form { return text.EMRID("a cluster id (j-...)", "j-") }
func groupIDForm() text.Form {
	return text.EMRID("the id of an instance group or fleet (ig-..., if-...)", "ig-", "if-")
}

// object is a JSON object that is read field by field. Names must match exactly, unlike in decoding
// into a struct.
type object struct {
	fields   map[string]json.RawMessage
	problems []error
}

func (o *object) problem(field string, format string, args ...any) {
	if len(o.problems) < text.MaxProblems {
		o.problems = append(o.problems, fmt.Errorf("field "+field+": "+format, args...))
	}
}

// get decodes a field and reports whether it could. A field that is missing or null is not a
// problem.
func (o *object) get(field string, into any) bool {
	raw, ok := o.fields[field]
	if !ok || string(raw) == "null" {
		return false
	}
	if err := json.Unmarshal(raw, into); err != nil {
		o.problem(field, "%w", text.JSONError(err))
		return false
	}
	return true
}

func (o *object) string(field string) string {
	var s string
	o.get(field, &s)
	return s
}

func (o *object) id(field string, f text.Form) string {
	s := o.string(field)
	if s != "" && !f.Fits(s) {
		o.problem(field, "%s is not %s", text.Quote(s), f.Name)
		return ""
	}
	return s
}

func (o *object) bool(field string) *bool {
	var b bool
	if !o.get(field, &b) {
		return nil
	}
	return &b
}

func (o *object) role(field string) Role {
	s := o.string(field)
	if s == "" {
		return ""
	}
	r, err := ParseRole(s)
	if err != nil {
		o.problem(field, "%w", err)
	}
	return r
}

func (o *object) count(field string) (n int, ok bool) {
	if !o.get(field, &n) {
		return 0, false
	}
	if n < 0 || n > 1e6 {
		o.problem(field, "%d is no number of nodes", n)
		return 0, false
	}
	return n, true
}

// groupList reads the groups of job-flow.json:
//
//	[{"instanceGroupId": "ig-1", "instanceRole": "Core", "requestedInstanceCount": 2}]
func (o *object) groupList(field string, counted bool) []Group {
	var elements []map[string]json.RawMessage
	o.get(field, &elements)
	var groups []Group
	for i, fields := range elements {
		e := object{fields: fields}
		var g Group
		g.ID, _ = groupIDOf(&e)
		for _, name := range []string{"instanceRole", "instanceFleetType"} {
			if g.Role == "" {
				g.Role = e.role(name)
			}
		}
		if counted {
			g.Requested, g.Counted = e.count("requestedInstanceCount")
		}
		for _, p := range e.problems {
			o.problem(fmt.Sprintf("%s[%d]", field, i), "%w", p)
		}
		groups = append(groups, g)
	}
	return groups
}

// groupMap reads the groups of extraInstanceData.json:
//
//	{"CORE": [{"instanceType": "m5.xlarge", "instanceCount": 2}]}
func (o *object) groupMap(field string) []Group {
	var byRole map[string][]map[string]json.RawMessage
	o.get(field, &byRole)
	var groups []Group
	for _, name := range slices.Sorted(maps.Keys(byRole)) {
		role, err := ParseRole(name)
		if err != nil {
			o.problem(field, "%w", err)
			continue
		}
		for i, fields := range byRole[name] {
			e := object{fields: fields}
			g := Group{Role: role}
			g.Requested, g.Counted = e.count("instanceCount")
			for _, p := range e.problems {
				o.problem(fmt.Sprintf("%s.%s[%d]", field, role, i), "%w", p)
			}
			groups = append(groups, g)
		}
	}
	return groups
}
