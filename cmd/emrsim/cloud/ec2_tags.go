package cloud

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// tagged returns the tags and the kind of a resource for changing them.
func (c *Cloud) tagged(id string, now time.Time) (*tagSet, string, *Error) {
	prefix, _, _ := strings.Cut(id, "-")
	switch prefix {
	case "i":
		if i := c.byID[id]; i != nil && i.visible(now, c.opts.TerminatedVisible) {
			i.touch()
			return &i.tags, "instance", nil
		}
		return nil, "", notFound("InvalidInstanceID.NotFound", "instance", []string{id})
	case "eni":
		if e := c.eniByID[id]; e != nil && e.exists(now) {
			return &e.tags, "network-interface", nil
		}
		return nil, "", notFound("InvalidNetworkInterfaceID.NotFound", "networkInterface", []string{id})
	case "subnet":
		if s := c.findSubnet(id); s != nil {
			return &s.tags, "subnet", nil
		}
		return nil, "", notFound("InvalidSubnetID.NotFound", "subnet", []string{id})
	case "vpc":
		if v := c.findVPC(id); v != nil {
			return &v.tags, "vpc", nil
		}
		return nil, "", notFound("InvalidVpcID.NotFound", "vpc", []string{id})
	}
	return nil, "", ec2Error("InvalidID", "The ID '"+printable(id)+"' is not valid")
}

func resourceKind(id string) string {
	switch prefix, _, _ := strings.Cut(id, "-"); prefix {
	case "i":
		return "instance"
	case "eni":
		return "network-interface"
	default:
		return prefix
	}
}

func (r *request) tagInput() (*operation, []string, []tag, []bool, *Error) {
	q := r.query
	ids := q.list("ResourceId")
	tags, withValue := q.tags()
	op := &operation{dryRun: q.flag("DryRun")}
	op.params = few(ids)
	for _, t := range tags {
		op.params += " " + printable(t.key) + "=" + printable(t.value)
	}
	if r.cloud.opts.Authorize != nil {
		for _, id := range ids {
			op.resources = append(op.resources, r.cloud.ec2ARN(resourceKind(id), id))
		}
		op.keys = tagsAsked(tags, func(n int) bool { return withValue[n] })
	}
	if err := q.rest(r.call); err != nil {
		return op, nil, nil, nil, err
	}
	if len(ids) == 0 {
		return op, nil, nil, nil, ec2Error("MissingParameter", "The request must contain the parameter resourceIdSet")
	}
	for _, t := range tags {
		if strings.HasPrefix(strings.ToLower(t.key), "aws:") {
			return op, nil, nil, nil, ec2Error("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
		}
	}
	return op, ids, tags, withValue, nil
}

func prepareCreateTags(r *request) (*operation, *Error) {
	op, ids, tags, _, err := r.tagInput()
	if err != nil {
		return op, err
	}
	if len(tags) == 0 {
		return op, ec2Error("MissingParameter", "The request must contain the parameter tagSet")
	}
	for _, t := range tags {
		if t.key == "" || utf8.RuneCountInString(t.key) > 128 || utf8.RuneCountInString(t.value) > 256 {
			return op, ec2Error("InvalidParameterValue", fmt.Sprintf("Tag %.200q exceeds the maximum length: keys have 1 to 128 and values at most 256 characters.", t.key))
		}
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		sets := make([]*tagSet, len(ids))
		for n, id := range ids {
			set, _, err := r.cloud.tagged(id, now)
			if err != nil {
				return nil, false, err
			}
			merged := append(tagSet(nil), *set...)
			for _, t := range tags {
				merged.set(t.key, t.value)
			}
			if user := countUserTags(merged); user > 50 {
				return nil, false, ec2Error("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
			}
			sets[n] = set
		}
		for _, set := range sets {
			for _, t := range tags {
				set.set(t.key, t.value)
			}
		}
		return []byte("<return>true</return>"), true, nil
	}
	return op, nil
}

// countUserTags counts the tags that count towards the limit: all except AWS's own.
func countUserTags(s tagSet) int {
	n := 0
	for _, t := range s {
		if !strings.HasPrefix(t.key, "aws:") {
			n++
		}
	}
	return n
}

func prepareDeleteTags(r *request) (*operation, *Error) {
	op, ids, tags, withValue, err := r.tagInput()
	if err != nil {
		return op, err
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		sets := make([]*tagSet, len(ids))
		for n, id := range ids {
			var err *Error
			if sets[n], _, err = r.cloud.tagged(id, now); err != nil {
				return nil, false, err
			}
		}
		for _, set := range sets {
			if len(tags) == 0 { // all tags except AWS's own
				var kept tagSet
				for _, t := range *set {
					if strings.HasPrefix(t.key, "aws:") {
						kept = append(kept, t)
					}
				}
				*set = kept
			}
			for n, t := range tags {
				if v, ok := set.get(t.key); ok && (!withValue[n] || v == t.value) {
					set.remove(t.key)
				}
			}
		}
		return []byte("<return>true</return>"), true, nil
	}
	return op, nil
}

func prepareDescribeTags(r *request) (*operation, *Error) {
	d := r.query.describeInput("", 5, 1000, "tag:", "resource-id", "resource-type", "key", "value")
	return d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		type row struct {
			id, kind string
			tag
		}
		var found []row
		add := func(id string, s tagSet) {
			kind := resourceKind(id)
			for _, tg := range s {
				if matches(d.filters, tagSet{tg}, func(name string, yield func(string) bool) {
					switch name {
					case "resource-id":
						yield(id)
					case "resource-type":
						yield(kind)
					case "key":
						yield(tg.key)
					case "value":
						yield(tg.value)
					}
				}) {
					found = append(found, row{id, kind, tg})
				}
			}
		}
		c := r.cloud
		for _, i := range c.instances {
			if i.visible(t, c.opts.TerminatedVisible) {
				add(i.InstanceID, i.tags)
			}
		}
		for _, e := range c.enis {
			if e.exists(t) {
				add(e.id, e.tags)
			}
		}
		for _, s := range c.subnets {
			add(s.id, s.tags)
		}
		for _, v := range c.vpcs {
			add(v.id, v.tags)
		}
		from, to, token := d.page(len(found))
		x.open("tagSet")
		for _, f := range found[from:to] {
			x.open("item")
			x.text("resourceId", f.id)
			x.text("resourceType", f.kind)
			x.text("key", f.key)
			x.text("value", f.value)
			x.close("item")
		}
		x.close("tagSet")
		x.text("nextToken", token)
		return nil
	})
}
