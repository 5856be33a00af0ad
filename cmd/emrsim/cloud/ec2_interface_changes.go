package cloud

import (
	"net/netip"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// prepareCreateNetworkInterface makes an interface that is attached to no instance. A repeated call
// with the same ClientToken returns the same interface.
func prepareCreateNetworkInterface(r *request) (*operation, *Error) {
	q, c := r.query, r.cloud
	subnetID, description, address, token := q.text("SubnetId"), q.text("Description"), q.text("PrivateIpAddress"), q.text("ClientToken")
	kind := q.text("TagSpecification.1.ResourceType")
	tags, _ := q.tagsOf("TagSpecification.1.")
	op := &operation{params: printable(subnetID)}
	if c.opts.Authorize != nil {
		op.resources = []string{c.ec2ARN("subnet", subnetID), c.ec2ARN("network-interface", "*")}
		if s := c.findSubnet(subnetID); s != nil {
			op.resources[0] = c.subnetARN(s)
		}
		if op.keys = tagsAsked(tags, func(int) bool { return true }); op.keys != nil {
			op.keys.Set(iam.KeyCreateAction, "CreateNetworkInterface")
			op.also, op.alsoOn = "ec2:CreateTags", op.resources[1:]
		}
	}
	if err := q.rest(r.call); err != nil {
		return op, err
	}
	primary, err := netip.ParseAddr(address)
	switch {
	case subnetID == "":
		return op, ec2Error("MissingParameter", "The request must contain the parameter subnetId")
	case address != "" && (err != nil || !primary.Is4()):
		return op, ec2Error("InvalidParameterValue", "invalid value for parameter address: "+printable(address))
	case kind != "" && kind != "network-interface":
		return op, ec2Error("InvalidParameterValue", "'"+printable(kind)+"' is not a valid taggable resource type for this operation.")
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		s := c.findSubnet(subnetID)
		if s == nil {
			return nil, false, notFound("InvalidSubnetID.NotFound", "subnet", []string{subnetID})
		}
		e, made := c.eniByID[c.made[token]], false
		if e == nil || token == "" {
			if address == "" {
				if primary, err = s.free(c.nextRand("primary")); err != nil {
					return nil, false, ec2Error("InsufficientFreeAddressesInSubnet", "The specified subnet does not have enough free addresses to satisfy the request.")
				}
			} else if err := s.usable(primary); err != nil {
				return nil, false, ec2Error("InvalidIPAddress.InUse", "The specified address is already in use.")
			}
			e, made = c.newENI(s, primary, now), true
			e.description = description
			for _, t := range tags {
				e.tags.set(t.key, t.value)
			}
			if token != "" {
				c.made[token] = e.id
			}
		}
		var x xmlWriter
		x.open("networkInterface")
		e.writeFields(&x, c, now)
		x.close("networkInterface")
		x.text("clientToken", token)
		return x.b, made, nil
	}
	return op, nil
}

// prepareDeleteNetworkInterface deletes an interface that is attached to no instance. Its addresses
// are free at once.
func prepareDeleteNetworkInterface(r *request) (*operation, *Error) {
	c, id := r.cloud, r.query.text("NetworkInterfaceId")
	op := &operation{params: printable(id)}
	if c.opts.Authorize != nil {
		op.resources = []string{c.ec2ARN("network-interface", id)}
	}
	if err := r.query.rest(r.call); err != nil {
		return op, err
	}
	if !strings.HasPrefix(id, "eni-") {
		return op, ec2Error("InvalidNetworkInterfaceID.Malformed", `Invalid id: "`+printable(id)+`"`)
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		e := c.eniByID[id]
		switch {
		case e == nil || !e.listed(now):
			return nil, false, notFound("InvalidNetworkInterfaceID.NotFound", "networkInterface", []string{id})
		case e.instance != nil:
			return nil, false, ec2Error("InvalidNetworkInterface.InUse", "Network interface '"+id+"' is currently in use.")
		}
		c.endENI(e, now)
		c.settle(now)
		var x xmlWriter
		x.flag("return", true)
		return x.b, true, nil
	}
	return op, nil
}
