package lab

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestNewPlan(t *testing.T) {
	for _, test := range []struct {
		subnet, vpc, gateway, endpoint string // an empty vpc means that the subnet is refused
	}{
		{"10.0.1.0/24", "10.0.0.0/16", "10.0.1.1", "10.0.0.10"},
		{"10.0.0.0/24", "10.0.0.0/16", "10.0.0.1", "10.0.255.10"},
		{"10.0.0.0/17", "10.0.0.0/16", "10.0.0.1", "10.0.255.10"},
		{"10.9.128.0/20", "10.9.0.0/16", "10.9.128.1", "10.9.0.10"},
		{"172.31.5.16/28", "172.31.0.0/16", "172.31.5.17", "172.31.0.10"},
		{"10.0.1.7/24", "10.0.0.0/16", "10.0.1.1", "10.0.0.10"},
		{"10.0.0.0/16", "", "", ""},
		{"10.0.1.0/29", "", "", ""},
		{"fd00::/64", "", "", ""},
		{"192.168.1.0/24", "192.168.0.0/16", "192.168.1.1", "192.168.0.10"}, // the data centre moves
		{"198.51.100.0/24", "", "", ""},                                     // the network of the witness
		{"100.64.7.0/24", "", "", ""},                                       // the network of the transit link
	} {
		p, err := NewPlan(netip.MustParsePrefix(test.subnet))
		if test.vpc == "" {
			if err == nil {
				t.Errorf("%s: got %+v, want an error", test.subnet, p)
			}
			continue
		}
		if err != nil || p.VPC.String() != test.vpc || p.Gateway.String() != test.gateway || p.Endpoint.String() != test.endpoint {
			t.Errorf("%s: got %+v, %v", test.subnet, p, err)
		}
		if p.Subnet.Contains(p.Endpoint) || !p.VPC.Contains(p.Endpoint) {
			t.Errorf("%s: the endpoint %s is not in another subnet of the VPC", test.subnet, p.Endpoint)
		}
	}
}

// TestPlanOfTheOperatorsNetwork has the VPC's CIDRs and the data centre as the operator names them.
func TestPlanOfTheOperatorsNetwork(t *testing.T) {
	for _, test := range []struct {
		vpc, subnets, centre string
		endpoint, server     string // empty: refused
		says                 string
	}{
		{"10.0.0.0/16,10.1.0.0/16", "10.1.4.0/24", "", "10.0.0.10", "192.168.50.10", ""},
		{"10.7.3.0/24", "10.7.3.0/25", "", "10.7.3.138", "192.168.50.10", ""},
		{"10.7.3.0/24,100.65.0.0/26", "10.7.3.0/24,100.65.0.0/27", "", "100.65.0.42", "192.168.50.10", ""},
		{"192.168.0.0/16", "192.168.50.0/24", "", "192.168.0.10", "172.30.50.10", ""},
		{"10.0.0.0/16", "10.0.1.0/24", "10.1.0.0/16", "10.0.0.10", "10.1.0.10", ""},
		{"10.0.0.0/16", "10.9.1.0/24", "", "", "", "subnet 10.9.1.0/24: is in none of the VPC's CIDRs: 10.0.0.0/16"},
		{"10.7.3.0/24", "10.7.0.0/20", "", "", "", "is in none of the VPC's CIDRs"},
		{"10.7.3.0/24", "10.7.3.0/24", "", "", "", "leave no /28 of VPC 10.7.3.0/24"},
		{"10.0.0.0/8", "10.0.1.0/24", "", "", "", "between /16 and /28"},
		{"10.0.1.0/16", "10.0.1.0/24", "", "", "", "VPC CIDR 10.0.1.0/16"},
		{"10.0.0.0/16,10.0.4.0/24", "10.0.1.0/24", "", "", "", "10.0.0.0/16 and 10.0.4.0/24 overlap"},
		{"10.0.0.0/16", "10.0.1.0/24", "10.0.7.0/24", "", "", "overlaps the data centre 10.0.7.0/24"},
		{"10.0.0.0/16", "10.0.1.0/24", "fd00::/64", "", "", "data centre fd00::/64"},
		{"10.0.0.0/16", "10.0.1.0/24", "198.51.100.0/24", "", "", "the lab uses"},
		{"100.64.0.0/16", "100.64.1.0/24", "", "", "", "the lab uses"},
	} {
		var s Shape
		networks := func(list string) (all []netip.Prefix) {
			for text := range strings.SplitSeq(list, ",") {
				all = append(all, netip.MustParsePrefix(text))
			}
			return all
		}
		if s.VPC, s.Subnets = networks(test.vpc), networks(test.subnets); test.centre != "" {
			s.DataCentre = netip.MustParsePrefix(test.centre)
		}
		p, err := s.plan(netip.Prefix{})
		switch {
		case test.says != "":
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%+v: got %v", test, err)
			}
		case err != nil || p.Endpoint.String() != test.endpoint || p.Server.String() != test.server || !slices.Equal(p.CIDRs, s.VPC):
			t.Errorf("%+v: got %+v, %v", test, p, err)
		}
	}
}

func TestModern(t *testing.T) {
	for release, want := range map[string]bool{"emr-5.36.2": false, "emr-6.15.0": false, "emr-7.5.0": true, "emr-10.0.0": true, "emr-spark-8.1.0": true, "emr-spark-6.0.0": false, "": false, "x": false} {
		if got := modern(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}

func TestLineWriter(t *testing.T) {
	var lines []string
	w := &lineWriter{emit: func(line string) { lines = append(lines, line) }}
	for _, s := range []string{"a", "b\nc", "", "\n\nd"} {
		w.Write([]byte(s))
	}
	w.flush()
	w.flush()
	if want := []string{"ab", "c", "", "d"}; !slices.Equal(lines, want) || w.all.String() != "ab\nc\n\nd" {
		t.Errorf("lines %q of %q, want %q", lines, w.all.String(), want)
	}
}

func FuzzPrintable(f *testing.F) {
	for _, seed := range []string{"", "plain", "a\x1b[31mb\r\n\tc", "\xff\xfe", "\u009b", string(make([]byte, longestLine+1))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := printable(text)
		if len(got) > 3*longestLine {
			t.Errorf("%d bytes", len(got))
		}
		for _, r := range got {
			if r < ' ' || (r >= 0x7f && r < 0xa0) {
				t.Errorf("%q has a control character", got)
			}
		}
	})
}
