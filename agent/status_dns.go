package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// slowAWS is how long a status waits for AWS before it looks whether the name servers answer. The
// look must end within statusAWS.
const slowAWS = 4 * time.Second

// watchNameServers looks for silent name servers if AWS takes long. The returned function is called
// when AWS has answered, or not; it says what was found.
func watchNameServers(ctx context.Context, env Environment, cfg aws.Config) (say func(*Status)) {
	waiting, stop := context.WithCancel(ctx)
	name, asked := "", 0
	var silent []netip.Addr
	done := make(chan struct{})
	go func() {
		defer close(done)
		u, err := ec2.Endpoint(ctx, cfg)
		if err != nil || pause.Sleep(waiting, slowAWS) != nil {
			return
		}
		if name = u.Hostname(); env.Getenv("HTTPS_PROXY")+env.Getenv("https_proxy") == "" && !isAddress(name) {
			silent, asked = env.SilentNameServers(ctx, name)
		}
	}()
	return func(s *Status) {
		stop()
		<-done
		if len(silent) == 0 {
			return
		}
		list := make([]string, len(silent))
		for i, a := range silent {
			list[i] = a.String()
		}
		servers := strings.Join(list, ", ")
		if len(silent) < asked {
			s.Notes = append(s.Notes, fmt.Sprintf("name server silent: %s in /etc/resolv.conf (the VPC's DHCP options), of %d; each look-up waits for it", servers, asked))
		}
		for _, i := range []*Item{s.EC2, s.Ledger} {
			if i.State == itemUnknown && len(silent) == asked {
				i.Detail = fmt.Sprintf("no name server answers for %s; silent: %s in /etc/resolv.conf (the VPC's DHCP options)", name, servers)
			}
		}
	}
}

// isAddress reports whether the name of a host is an IP address.
func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}
