package cloud

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

func prepareDescribeInstances(r *request) (*operation, *Error) {
	d := r.query.describeInput("InstanceId", 5, 1000, "tag:", "tag-key", "instance-id", "instance-state-name", "instance-state-code", "instance-type",
		"private-ip-address", "private-dns-name", "subnet-id", "vpc-id", "availability-zone", "reservation-id",
		"network-interface.network-interface-id", "network-interface.addresses.private-ip-address", "network-interface.subnet-id",
		"network-interface.vpc-id", "network-interface.mac-address", "network-interface.attachment.device-index")
	for _, id := range d.ids {
		if !strings.HasPrefix(id, "i-") {
			r.query.fail("InvalidInstanceID.Malformed", `Invalid id: "`+printable(id)+`"`)
		}
	}
	return d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		c := r.cloud
		visible := slices.DeleteFunc(slices.Clone(c.instances), func(i *instance) bool { return !i.visible(t, c.opts.TerminatedVisible) })
		find := func(id string) (*instance, bool) {
			i := c.byID[id]
			return i, i != nil && i.visible(t, c.opts.TerminatedVisible)
		}
		field := func(i *instance, name string, yield func(string) bool) { i.field(name, t, yield) }
		return list(&d, x, inventory[*instance]{
			"reservationSet", visible, find, "InvalidInstanceID.NotFound", "instance",
			func(i *instance) tagSet { return i.tags }, field, func(i *instance) { i.append(x, c, t) }, 2000,
		})
	})
}

// attached returns the instance's interfaces as of t.
func (i *instance) attached(t time.Time) []*eni {
	state := i.state(t)
	if state == StateTerminated {
		return nil
	}
	n := 0
	for _, e := range i.enis {
		if e.instance == i && e.exists(t) {
			n++
		}
	}
	if n == len(i.enis) {
		return i.enis
	}
	var out []*eni
	for _, e := range i.enis {
		if e.instance == i && e.exists(t) {
			out = append(out, e)
		}
	}
	return out
}

// field yields the instance's values for the name of a filter.
func (i *instance) field(name string, t time.Time, yield func(string) bool) {
	state := i.state(t)
	switch name {
	case "instance-id":
		yield(i.InstanceID)
		return
	case "instance-state-name":
		yield(state)
		return
	case "instance-state-code":
		yield(strconv.Itoa(stateCodes[state]))
		return
	case "instance-type":
		yield(i.InstanceType)
		return
	case "availability-zone":
		yield(i.subnet.az)
		return
	case "reservation-id":
		yield(i.reservation)
		return
	}
	if state == StateTerminated {
		return // EC2 shows no network of a terminated instance
	}
	switch name {
	case "private-ip-address":
		yield(i.PrimaryIP.String())
	case "private-dns-name":
		yield(i.Hostname)
	case "subnet-id":
		yield(i.SubnetID)
	case "vpc-id":
		yield(i.VPCID)
	default:
		for _, e := range i.attached(t) {
			switch name {
			case "network-interface.network-interface-id":
				yield(e.id)
			case "network-interface.subnet-id":
				yield(e.subnet.id)
			case "network-interface.vpc-id":
				yield(e.subnet.vpc.id)
			case "network-interface.mac-address":
				yield(e.mac.String())
			case "network-interface.attachment.device-index":
				yield(strconv.Itoa(e.device))
			case "network-interface.addresses.private-ip-address":
				for _, a := range e.addresses(t) {
					if !yield(a.String()) {
						return
					}
				}
			}
		}
	}
}

// chunk is the cached output of DescribeInstances for one instance, valid while the instance does
// not change. Rendering is most of the cost of a describe call, and in a big launch each node may
// ask for all nodes.
type chunk struct {
	xml         []byte
	from, until time.Time // a zero until means forever
}

// append writes the instance as of t, from the cache if that is still valid.
func (i *instance) append(x *xmlWriter, c *Cloud, t time.Time) {
	if i.chunk.xml == nil || !within(t, i.chunk.from, i.chunk.until) {
		var own xmlWriter
		i.write(&own, c, t)
		i.chunk = chunk{xml: own.b}
		i.chunk.from, i.chunk.until = i.steady(t)
	}
	x.b = append(x.b, i.chunk.xml...)
}

// touch drops the cache. It is called whenever the instance changes.
func (i *instance) touch() { i.chunk.xml = nil }

// steady returns the time span around t in which the description of the instance does not change.
func (i *instance) steady(t time.Time) (from, until time.Time) {
	from = i.launched
	edge := func(at time.Time) {
		switch {
		case at.IsZero():
		case at.After(t):
			if until.IsZero() || at.Before(until) {
				until = at
			}
		case at.After(from):
			from = at
		}
	}
	for _, s := range i.states {
		edge(s.at)
	}
	for _, e := range i.enis {
		edge(e.created)
		edge(e.deleted)
		for _, s := range e.shown {
			edge(s.from)
			edge(s.until)
		}
	}
	return from, until
}

// write writes one reservation that contains the instance.
func (i *instance) write(x *xmlWriter, c *Cloud, t time.Time) {
	state := i.state(t)
	x.open("item")
	x.text("reservationId", i.reservation)
	x.text("ownerId", c.opts.Account)
	x.open("instancesSet")
	x.open("item")
	x.text("instanceId", i.InstanceID)
	x.text("imageId", imageID)
	x.open("instanceState")
	x.number("code", stateCodes[state])
	x.text("name", state)
	x.close("instanceState")
	x.text("instanceType", i.InstanceType)
	x.time("launchTime", i.launched)
	x.open("placement")
	x.text("availabilityZone", i.subnet.az)
	x.close("placement")
	if it, ok := typeOf(i.InstanceType); ok {
		x.text("architecture", it.architecture())
	}
	enis := i.attached(t)
	if len(enis) > 0 {
		x.text("privateDnsName", i.Hostname)
		x.text("privateIpAddress", i.PrimaryIP.String())
		if i.PublicIP.IsValid() {
			x.text("ipAddress", i.PublicIP.String())
		}
		x.text("subnetId", i.SubnetID)
		x.text("vpcId", i.VPCID)
	}
	x.tags(i.tags)
	x.open("metadataOptions")
	x.text("state", "applied")
	x.text("httpTokens", "required")
	x.number("httpPutResponseHopLimit", 1)
	x.text("httpEndpoint", "enabled")
	x.close("metadataOptions")
	x.open("networkInterfaceSet")
	for _, e := range enis {
		x.open("item")
		e.writeCommon(x, c, t)
		x.open("attachment")
		x.text("attachmentId", e.attachID)
		x.number("deviceIndex", e.device)
		x.text("status", "attached")
		x.flag("deleteOnTermination", true)
		x.close("attachment")
		x.close("item")
	}
	x.close("networkInterfaceSet")
	x.close("item")
	x.close("instancesSet")
	x.close("item")
}

// writeCommon writes the elements of an interface that are the same on its own and in its instance.
func (e *eni) writeCommon(x *xmlWriter, c *Cloud, t time.Time) {
	list := e.addresses(t)
	primary := e.shown[0].addr
	x.text("networkInterfaceId", e.id)
	x.text("subnetId", e.subnet.id)
	x.text("vpcId", e.subnet.vpc.id)
	x.text("description", e.description)
	x.text("status", e.status())
	x.text("macAddress", e.mac.String())
	x.text("privateIpAddress", primary.String())
	x.text("interfaceType", "interface")
	x.open("privateIpAddressesSet")
	for _, a := range list {
		x.writeAddress(a, a == primary)
	}
	x.close("privateIpAddressesSet")
	if e.public.IsValid() {
		x.open("association")
		x.text("publicIp", e.public.String())
		x.text("ipOwnerId", "amazon")
		x.close("association")
	}
}

func (x *xmlWriter) writeAddress(a netip.Addr, primary bool) {
	x.open("item")
	x.open("privateIpAddress")
	x.b = a.AppendTo(x.b)
	x.close("privateIpAddress")
	x.flag("primary", primary)
	x.close("item")
}

// imageID is the machine image of all instances.
const imageID = "ami-0123456789abcdef0"
