package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// Reservation is a subnet CIDR reservation.
type Reservation struct {
	ID   string
	CIDR netip.Prefix
	// Explicit reservations keep their addresses for those who ask for them. The others are for
	// prefix delegation.
	Explicit bool
}

// reservation is an item of GetSubnetCidrReservations.
type reservation struct {
	ID   string `xml:"subnetCidrReservationId"`
	CIDR string `xml:"cidr"`
	Type string `xml:"reservationType"`
}

// Reservations returns the CIDR reservations of a subnet.
func Reservations(ctx context.Context, cfg aws.Config, subnet string) (list []Reservation, err error) {
	form := url.Values{"SubnetId": {subnet}}
	all, err := describe[reservation](ctx, NewDescriber(cfg), "GetSubnetCidrReservations", "subnetIpv4CidrReservationSet", form)
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		p, err := netip.ParsePrefix(r.CIDR)
		if err != nil {
			return nil, fmt.Errorf("a reservation has the CIDR %s: %w", text.Quote(r.CIDR), err)
		}
		list = append(list, Reservation{ID: word(r.ID), CIDR: p, Explicit: r.Type == string(types.SubnetCidrReservationTypeExplicit)})
	}
	return list, nil
}
