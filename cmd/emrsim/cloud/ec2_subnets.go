package cloud

import (
	"net/http"
	"time"
)

func prepareDescribeSubnets(r *request) (*operation, *Error) {
	d := r.query.describeInput("SubnetId", 5, 1000, "tag:", "tag-key", "subnet-id", "vpc-id", "cidr-block", "availability-zone", "state")
	return d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		c := r.cloud
		find := func(id string) (*subnet, bool) { s := c.findSubnet(id); return s, s != nil }
		field := func(s *subnet, name string, yield func(string) bool) {
			switch name {
			case "subnet-id":
				yield(s.id)
			case "vpc-id":
				yield(s.vpc.id)
			case "cidr-block":
				yield(s.cidr.String())
			case "availability-zone":
				yield(s.az)
			case "state":
				yield("available")
			}
		}
		return list(&d, x, inventory[*subnet]{"subnetSet", c.subnets, find, "InvalidSubnetID.NotFound", "subnet", (*subnet).seenTags, field, func(s *subnet) {
			x.open("item")
			x.text("subnetId", s.id)
			x.text("subnetArn", c.subnetARN(s))
			x.text("state", "available")
			x.text("vpcId", s.vpc.id)
			x.text("ownerId", c.ownerOf(s.vpc))
			x.text("cidrBlock", s.cidr.String())
			x.text("availabilityZone", s.az)
			x.number("availableIpAddressCount", s.available())
			x.flag("mapPublicIpOnLaunch", s.public)
			x.tags(s.seenTags())
			x.close("item")
		}, 0})
	})
}

func prepareDescribeVpcs(r *request) (*operation, *Error) {
	d := r.query.describeInput("VpcId", 5, 1000, "tag:", "tag-key", "vpc-id", "cidr", "cidr-block-association.cidr-block", "state")
	return d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		c := r.cloud
		find := func(id string) (*vpc, bool) { v := c.findVPC(id); return v, v != nil }
		field := func(v *vpc, name string, yield func(string) bool) {
			switch name {
			case "vpc-id":
				yield(v.id)
			case "cidr":
				yield(v.cidrs[0].String())
			case "cidr-block-association.cidr-block":
				for _, p := range v.cidrs {
					yield(p.String())
				}
			case "state":
				yield("available")
			}
		}
		return list(&d, x, inventory[*vpc]{"vpcSet", c.vpcs, find, "InvalidVpcID.NotFound", "vpc", (*vpc).seenTags, field, func(v *vpc) {
			x.open("item")
			x.text("vpcId", v.id)
			x.text("ownerId", c.ownerOf(v))
			x.text("state", "available")
			x.text("cidrBlock", v.cidrs[0].String())
			x.open("cidrBlockAssociationSet")
			for _, p := range v.cidrs {
				x.open("item")
				x.text("cidrBlock", p.String())
				x.text("associationId", "vpc-cidr-assoc-"+v.id[len("vpc-"):])
				x.open("cidrBlockState")
				x.text("state", "associated")
				x.close("cidrBlockState")
				x.close("item")
			}
			x.close("cidrBlockAssociationSet")
			x.text("instanceTenancy", "default")
			x.flag("isDefault", false)
			x.tags(v.seenTags())
			x.close("item")
		}, 0})
	})
}

func prepareGetSubnetCidrReservations(r *request) (*operation, *Error) {
	id := r.query.text("SubnetId")
	d := r.query.describeInput("", 5, 1000, "subnetCidrReservationId", "reservationType", "subnet-id")
	op, err := d.operation(r, func(x *xmlWriter, now, t time.Time) *Error {
		c := r.cloud
		s := c.findSubnet(id)
		if s == nil {
			return notFound("InvalidSubnetID.NotFound", "subnet", []string{id})
		}
		field := func(v reservation, name string, yield func(string) bool) {
			switch name {
			case "subnetCidrReservationId":
				yield(v.id)
			case "reservationType":
				yield(v.kind)
			case "subnet-id":
				yield(s.id)
			}
		}
		return list(&d, x, inventory[reservation]{set: "subnetIpv4CidrReservationSet", all: s.reservations, field: field, write: func(v reservation) {
			x.open("item")
			x.text("subnetCidrReservationId", v.id)
			x.text("subnetId", s.id)
			x.text("cidr", v.cidr.String())
			x.text("reservationType", v.kind)
			x.text("ownerId", c.opts.Account)
			x.close("item")
		}})
	})
	op.unfiltered = false // the subnet acts as an id
	op.params = printable(id) + " " + op.params
	if err == nil && id == "" {
		err = ec2Error("MissingParameter", "The request must contain the parameter subnetId")
	}
	return op, err
}

func prepareGetCallerIdentity(r *request) (*operation, *Error) {
	if err := r.query.rest(r.call); err != nil {
		return nil, &Error{Code: err.Code, Message: err.Message, Status: http.StatusNotImplemented}
	}
	return &operation{run: func(time.Time) ([]byte, bool, *Error) {
		var x xmlWriter
		x.text("Arn", r.caller.ARN)
		x.text("UserId", r.caller.userID())
		x.text("Account", r.cloud.opts.Account)
		return x.b, false, nil
	}}, nil
}
