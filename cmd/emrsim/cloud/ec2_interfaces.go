package cloud

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

func prepareDescribeNetworkInterfaces(r *request) (*operation, *Error) {
	d := r.query.describeInput("NetworkInterfaceId", 5, 1000, "tag:", "tag-key", "network-interface-id", "addresses.private-ip-address", "addresses.primary",
		"private-ip-address", "subnet-id", "vpc-id", "attachment.instance-id", "attachment.device-index", "attachment.status",
		"attachment.attachment-id", "mac-address", "status", "description", "requester-managed", "availability-zone", "owner-id")
	for _, id := range d.ids {
		if !strings.HasPrefix(id, "eni-") {
			r.query.fail("InvalidNetworkInterfaceID.Malformed", `Invalid id: "`+printable(id)+`"`)
		}
	}
	return d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		c := r.cloud
		listed := slices.DeleteFunc(slices.Clone(c.enis), func(e *eni) bool { return !e.listed(t) })
		find := func(id string) (*eni, bool) { e := c.eniByID[id]; return e, e != nil && e.listed(t) }
		field := func(e *eni, name string, yield func(string) bool) { e.field(c, name, t, yield) }
		return list(&d, x, inventory[*eni]{
			"networkInterfaceSet", listed, find, "InvalidNetworkInterfaceID.NotFound", "networkInterface",
			func(e *eni) tagSet { return e.tags }, field, func(e *eni) { e.write(x, c, t) }, 0,
		})
	})
}

// field yields the interface's values for the name of a filter.
func (e *eni) field(c *Cloud, name string, t time.Time, yield func(string) bool) {
	switch name {
	case "network-interface-id":
		yield(e.id)
	case "addresses.private-ip-address":
		for _, a := range e.addresses(t) {
			if !yield(a.String()) {
				return
			}
		}
	case "addresses.primary":
		for _, a := range e.addresses(t) {
			yield(strconv.FormatBool(a == e.shown[0].addr))
		}
	case "private-ip-address":
		yield(e.shown[0].addr.String())
	case "subnet-id":
		yield(e.subnet.id)
	case "vpc-id":
		yield(e.subnet.vpc.id)
	case "mac-address":
		yield(e.mac.String())
	case "status":
		yield(e.status())
	case "description":
		yield(e.description)
	case "requester-managed":
		yield(strconv.FormatBool(e.managed))
	case "availability-zone":
		yield(e.subnet.az)
	case "owner-id":
		yield(c.opts.Account)
	}
	if e.instance == nil {
		return
	}
	switch name {
	case "attachment.instance-id":
		yield(e.instance.InstanceID)
	case "attachment.device-index":
		yield(strconv.Itoa(e.device))
	case "attachment.status":
		yield("attached")
	case "attachment.attachment-id":
		yield(e.attachID)
	}
}

func (e *eni) status() string {
	if e.instance == nil {
		return "available"
	}
	return "in-use"
}

func (e *eni) write(x *xmlWriter, c *Cloud, t time.Time) {
	x.open("item")
	e.writeFields(x, c, t)
	x.close("item")
}

func (e *eni) writeFields(x *xmlWriter, c *Cloud, t time.Time) {
	e.writeCommon(x, c, t)
	x.text("ownerId", c.opts.Account)
	x.text("privateDnsName", c.hostname(e.shown[0].addr))
	x.text("availabilityZone", e.subnet.az)
	x.flag("requesterManaged", e.managed)
	if i := e.instance; i != nil {
		x.open("attachment")
		x.text("attachmentId", e.attachID)
		x.text("instanceId", i.InstanceID)
		x.text("instanceOwnerId", c.opts.Account)
		x.number("deviceIndex", e.device)
		x.text("status", "attached")
		x.time("attachTime", i.launched)
		x.flag("deleteOnTermination", true)
		x.close("attachment")
	}
	x.tags(e.tags)
}
