package cloud

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

func prepareAssign(r *request) (*operation, *Error) {
	q := r.query
	id, texts, move := q.text("NetworkInterfaceId"), q.list("PrivateIpAddress"), q.flag("AllowReassignment")
	op := &operation{params: fmt.Sprintf("%s %s", printable(id), few(texts))}
	if move {
		op.params += " AllowReassignment"
	}
	addresses, err := r.addressInput(op, id, texts)
	if err != nil {
		return op, err
	}
	op.refuses = func(now time.Time) *Error {
		e := r.cloud.eniByID[id]
		if e == nil || !e.listed(now) {
			return nil
		}
		_, err := r.cloud.assignable(e, addresses, move, now)
		return err
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		c := r.cloud
		e := c.eniByID[id]
		if e == nil || !e.listed(now) {
			return nil, false, notFound("InvalidNetworkInterfaceID.NotFound", "networkInterface", []string{id})
		}
		if c.opts.Unverified.ShareRefuses && e.subnet.vpc.owner != "" {
			return nil, false, &Error{Code: "UnauthorizedOperation", Status: http.StatusForbidden, Message: "You are not authorized to perform this operation."}
		}
		fresh, err := c.assignable(e, addresses, move, now)
		if err != nil {
			return nil, false, err
		}
		rng := newRand(mixNumber(r.call.Seed, 9))
		for _, a := range fresh {
			shown, imds := c.opts.RemapDelay.draw(rng), c.opts.IMDSDelay.draw(rng)
			if old := e.subnet.owner[a]; old != nil && !c.opts.NoArbiter {
				old.unassign(a, now, shown, imds)
			}
			e.assign(a, now, shown, imds)
		}
		var x xmlWriter
		x.text("networkInterfaceId", e.id)
		x.open("assignedPrivateIpAddressesSet")
		for _, a := range addresses {
			x.open("item")
			x.text("privateIpAddress", a.String())
			x.close("item")
		}
		x.close("assignedPrivateIpAddressesSet")
		x.flag("return", true)
		return x.b, len(fresh) > 0, nil
	}
	return op, nil
}

// addressInput checks the parameters that assigning and unassigning have in common.
func (r *request) addressInput(op *operation, id string, texts []string) ([]netip.Addr, *Error) {
	if r.cloud.opts.Authorize != nil {
		op.resources = []string{r.cloud.ec2ARN("network-interface", id)}
	}
	if err := r.query.rest(r.call); err != nil {
		return nil, err
	}
	switch {
	case id == "":
		return nil, ec2Error("MissingParameter", "The request must contain the parameter networkInterfaceId")
	case len(texts) == 0:
		return nil, ec2Error("MissingParameter", "The request must contain the parameter privateIpAddress or secondaryPrivateIpAddressCount")
	case !strings.HasPrefix(id, "eni-"):
		return nil, ec2Error("InvalidNetworkInterfaceID.Malformed", `Invalid id: "`+printable(id)+`" (expecting "eni-...")`)
	}
	out := make([]netip.Addr, 0, len(texts))
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil || !a.Is4() {
			return nil, ec2Error("InvalidParameterValue", "Value ("+printable(text)+") for parameter privateIpAddress is invalid. Invalid IPv4 address.")
		}
		if slices.Contains(out, a) {
			return nil, ec2Error("InvalidParameterValue", "Value ("+printable(text)+") for parameter privateIpAddress is given twice.")
		}
		out = append(out, a)
	}
	return out, nil
}

// assignable returns the addresses that the ENI does not have yet. It returns an error if any of
// them cannot be assigned: EC2 assigns all addresses of a call or none.
func (c *Cloud) assignable(e *eni, addresses []netip.Addr, move bool, now time.Time) (fresh []netip.Addr, err *Error) {
	s := e.subnet
	for _, a := range addresses {
		if !s.cidr.Contains(a) {
			return nil, c.refuse(RefusedOutside, ec2Error("InvalidParameterValue", "Address does not fall within the subnet's address range"))
		}
		if s.reserved(a) {
			return nil, c.refuse(RefusedReserved, ec2Error("InvalidParameterValue", "Address "+a.String()+" is in subnet's reserved range."))
		}
		owner := s.owner[a]
		held := ec2Error("InvalidParameterValue", "["+a.String()+"] assigned, but move is not allowed.")
		switch {
		case slices.Contains(e.held, a):
			if c.opts.AssignSameENI == OutcomeError {
				return nil, c.refuse(RefusedHeld, held)
			}
			continue
		case owner == nil && s.cooling(a, now):
			return nil, c.refuse(RefusedHeld, held)
		case owner == nil || c.opts.NoArbiter:
		case owner.primary() == a:
			return nil, c.refuse(RefusedPrimary, ec2Error("InvalidParameterValue", "secondary-addresses"))
		case !move:
			return nil, c.refuse(RefusedHeld, held)
		}
		fresh = append(fresh, a)
	}
	if e.instance == nil {
		return fresh, nil
	}
	if it, _ := typeOf(e.instance.InstanceType); len(e.held)+len(fresh) > it.addresses {
		return nil, ec2Error("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
	}
	return fresh, nil
}

func prepareUnassign(r *request) (*operation, *Error) {
	q := r.query
	id, texts := q.text("NetworkInterfaceId"), q.list("PrivateIpAddress")
	op := &operation{params: fmt.Sprintf("%s %s", printable(id), few(texts))}
	addresses, err := r.addressInput(op, id, texts)
	if err != nil {
		return op, err
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		c := r.cloud
		e := c.eniByID[id]
		if e == nil || !e.listed(now) {
			return nil, false, notFound("InvalidNetworkInterfaceID.NotFound", "networkInterface", []string{id})
		}
		for _, a := range addresses {
			if a == e.primary() {
				return nil, false, ec2Error("InvalidParameterValue", "["+a.String()+"] is the primary private address of "+id+" and cannot be unassigned.")
			}
		}
		held := slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return !slices.Contains(e.held, a) })
		if len(held) < len(addresses) && !c.opts.Unverified.UnassignAbsent {
			return nil, false, ec2Error("InvalidParameterValue", "Some of the specified addresses are not assigned to interface "+id)
		}
		rng := newRand(mixNumber(r.call.Seed, 9))
		for _, a := range held {
			e.unassign(a, now, c.opts.RemapDelay.draw(rng), c.opts.IMDSDelay.draw(rng))
			if d := c.opts.Unverified.FreeDelay.draw(rng); d > 0 {
				e.subnet.freeFrom[a] = now.Add(d)
			}
		}
		var x xmlWriter
		x.flag("return", true)
		return x.b, len(held) > 0, nil
	}
	return op, nil
}
