package cloud

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

func ssmActions() []*action {
	return []*action{
		{service: "ssm", name: "GetParameter", shared: BucketSSMReads, prepare: prepareGetParameter},
		{service: "ssm", name: "GetParameters", shared: BucketSSMReads, prepare: prepareGetParameters},
		{service: "ssm", name: "GetParametersByPath", shared: BucketSSMReads, prepare: prepareGetParametersByPath},
		{service: "ssm", name: "DescribeParameters", prepare: prepareDescribeParameters},
		{service: "ssm", name: "PutParameter", prepare: preparePutParameter},
		{service: "ssm", name: "DeleteParameter", prepare: prepareDeleteParameter},
		{service: "ssm", name: "DeleteParameters", prepare: prepareDeleteParameters},
		{service: "ssm", name: "AddTagsToResource", prepare: prepareAddTags},
		{service: "ssm", name: "RemoveTagsFromResource", prepare: prepareRemoveTags},
		{service: "ssm", name: "ListTagsForResource", prepare: prepareListTags},
	}
}

type ssmTag struct{ Key, Value string }

func preparePutParameter(r *request) (*operation, *Error) {
	var in struct {
		Name, Value, Type, Description, Tier, DataType, AllowedPattern string
		Overwrite                                                      bool
		Tags                                                           []ssmTag
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	op := &operation{params: fmt.Sprintf("Name=%s Overwrite=%t", printable(in.Name), in.Overwrite), resources: r.cloud.parameterARNs(in.Name)}
	if r.cloud.opts.Authorize != nil {
		op.keys = iam.Keys{iam.KeyOverwrite: {strconv.FormatBool(in.Overwrite)}}
		maps.Copy(op.keys, r.cloud.ssmTagKeys(in.Tags))
		if len(in.Tags) > 0 && !r.cloud.opts.Unverified.TagsAlone {
			op.also = "ssm:AddTagsToResource"
		}
	}
	for _, err := range []*Error{checkNewName(in.Name), checkValue(in.Value)} {
		if err != nil {
			return op, err
		}
	}
	switch {
	case in.Overwrite && len(in.Tags) > 0:
		return op, validation("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	case in.AllowedPattern != "":
		return op, notImplemented("the parameter AllowedPattern of ssm:PutParameter")
	case in.Tier != "" && in.Tier != "Standard":
		return op, notImplemented("the tier " + printable(in.Tier))
	case in.DataType != "" && in.DataType != "text":
		return op, notImplemented("the data type " + printable(in.DataType))
	case in.Type != "" && in.Type != "String" && in.Type != "StringList":
		return op, notImplemented("the parameter type " + printable(in.Type))
	}
	if err := checkSSMTags(in.Tags); err != nil {
		return op, err
	}
	if e := r.cloud.opts.Unverified.TagPolicy; e.Code != "" && len(in.Tags) > 0 {
		return op, &e
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		c := r.cloud
		r.call.New = in.Value
		v := version{at: now, value: in.Value, kind: in.Type, description: in.Description, by: r.caller.InstanceID, tier: "Standard", number: 1}
		if p := c.params.byName[in.Name]; p != nil {
			if old := p.newest(); old != nil {
				r.call.Old = old.value
			}
			if err := c.conflict(r, p, now); err != nil {
				return nil, false, err
			}
			if old := p.newest(); old != nil {
				if !in.Overwrite && !c.bothCreate(r, p, now) {
					return nil, false, ssmError("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
				}
				if v.kind == "" {
					v.kind = old.kind
				}
				if v.description == "" {
					v.description = old.description
				}
				if in.Overwrite {
					v.number = old.number + 1
				}
			}
		}
		if v.kind == "" {
			return nil, false, validation("A parameter type is required when you create a parameter.")
		}
		if p := c.params.byName[in.Name]; (p == nil || p.newest() == nil) && c.params.live >= maxParameters {
			return nil, false, ssmError("ParameterLimitExceeded", "The maximum number of 10000 standard parameters is reached.")
		}
		refused, lost := c.recreated(r, in.Name, now)
		if refused != nil {
			return nil, false, refused
		}
		answer := encode(struct {
			Tier    string
			Version int64
		}{v.tier, v.number})
		if lost {
			return answer, false, nil
		}
		p := c.params.put(in.Name, v)
		for _, t := range in.Tags {
			p.tags.set(t.Key, t.Value)
		}
		return answer, true, nil
	}
	return op, nil
}

// tooManyUpdates returns the error for a change that comes too soon after another one.
func tooManyUpdates() *Error {
	return ssmError("TooManyUpdates", "There are concurrent updates for a resource that supports one update at a time.")
}

// recreated decides about a PutParameter that creates a name soon after its deletion, if
// Options.Recreate is set.
func (c *Cloud) recreated(r *request, name string, now time.Time) (refused *Error, lost bool) {
	o, p := c.opts.Recreate, c.params.byName[name]
	if o == (Recreate{}) || p == nil || !p.last().deleted || now.Sub(p.last().at) >= RecreateWait {
		return nil, false
	}
	x := newRand(mixNumber(r.call.Seed, 10)).Float64()
	if x < o.Refuse {
		return tooManyUpdates(), false
	}
	return nil, x < o.Refuse+o.Lose
}

// conflict returns TooManyUpdates if another caller has just changed the parameter and
// Options.ConcurrentUpdates is set.
func (c *Cloud) conflict(r *request, p *parameter, now time.Time) *Error {
	race, last := c.opts.ConcurrentUpdates, p.last()
	if race.Probability <= 0 || last.by == r.caller.InstanceID || now.Sub(last.at) > race.Window ||
		newRand(mixNumber(r.call.Seed, 4)).Float64() >= race.Probability {
		return nil
	}
	return tooManyUpdates()
}

// bothCreate reports whether a create succeeds although another caller has just created the
// parameter. See Options.ConcurrentCreates.
func (c *Cloud) bothCreate(r *request, p *parameter, now time.Time) bool {
	race := c.opts.ConcurrentCreates
	return race.Probability > 0 && p.creator != r.caller.InstanceID && now.Sub(p.created) <= race.Window &&
		newRand(mixNumber(r.call.Seed, 5)).Float64() < race.Probability
}

func prepareDeleteParameter(r *request) (*operation, *Error) {
	var in struct{ Name string }
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	op := &operation{params: "Name=" + printable(in.Name), resources: r.cloud.parameterARNs(in.Name)}
	if err := checkReadName(in.Name); err != nil {
		return op, err
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		c := r.cloud
		p := c.params.byName[in.Name]
		if p == nil || p.newest() == nil {
			return nil, false, parameterNotFound(in.Name)
		}
		r.call.Old = p.newest().value
		if err := c.conflict(r, p, now); err != nil {
			return nil, false, err
		}
		c.params.remove(in.Name, r.caller.InstanceID, now)
		return []byte("{}"), true, nil
	}
	return op, nil
}

func parameterNotFound(name string) *Error {
	return ssmError("ParameterNotFound", "Parameter "+printable(name)+" not found.")
}

func prepareDeleteParameters(r *request) (*operation, *Error) {
	var in struct{ Names []string }
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	op := &operation{params: "Names=" + printable(strings.Join(in.Names, ",")), resources: r.cloud.parameterARNs(in.Names...)}
	if err := checkNames(in.Names); err != nil {
		return op, err
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		deleted, invalid := []string{}, []string{}
		for _, name := range in.Names {
			if r.cloud.params.remove(name, r.caller.InstanceID, now) {
				deleted = append(deleted, name)
			} else {
				invalid = append(invalid, name)
			}
		}
		return encode(struct{ DeletedParameters, InvalidParameters []string }{deleted, invalid}), len(deleted) > 0, nil
	}
	return op, nil
}

// checkNames checks the names in GetParameters and DeleteParameters.
func checkNames(names []string) *Error {
	switch {
	case len(names) == 0:
		return validation("1 validation error detected: Value '[]' at 'names' failed to satisfy constraint: Member must have length greater than or equal to 1.")
	case len(names) > 10:
		list := make([]string, len(names))
		for i, n := range names {
			list[i] = printable(n)
		}
		return validation("1 validation error detected: Value '[%s]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 10.", strings.Join(list, ", "))
	}
	seen := map[string]bool{}
	for _, n := range names {
		if err := checkReadName(n); err != nil {
			return err
		}
		if seen[n] {
			return validation("Duplicate parameter names are not allowed: %s", printable(n))
		}
		seen[n] = true
	}
	return nil
}
