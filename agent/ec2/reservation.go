package ec2

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
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

// Reservations returns the CIDR reservations of a subnet.
func Reservations(ctx context.Context, cfg aws.Config, subnet string) (list []Reservation, err error) {
	api := ec2.NewFromConfig(cfg)
	for token := (*string)(nil); ; {
		out, err := api.GetSubnetCidrReservations(ctx, &ec2.GetSubnetCidrReservationsInput{SubnetId: aws.String(subnet), NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, r := range out.SubnetIpv4CidrReservations {
			p, err := netip.ParsePrefix(aws.ToString(r.Cidr))
			if err != nil {
				return nil, fmt.Errorf("a reservation has the CIDR %s: %w", text.Quote(aws.ToString(r.Cidr)), err)
			}
			list = append(list, Reservation{
				ID: text.Clean(aws.ToString(r.SubnetCidrReservationId), text.MaxQuoted), CIDR: p,
				Explicit: r.ReservationType == types.SubnetCidrReservationTypeExplicit,
			})
		}
		if token = out.NextToken; aws.ToString(token) == "" {
			return list, nil
		}
	}
}
