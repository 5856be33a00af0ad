package identifier

import (
	"strings"
	"testing"
)

func TestIdentifiers(t *testing.T) {
	for _, test := range []struct {
		s, prefix string
		ec2, emr  bool
	}{
		{"i-0123456789abcdef0", "i-", true, false},
		{"subnet-0a1", "subnet-", true, false},
		{"j-1EXAMPLE00001", "j-", false, true},
		{"j-1", "j-", true, true},
		{"i-", "i-", false, false},
		{"", "i-", false, false},
		{"eni-0a1", "i-", false, false},
		{"i-0a1/x", "i-", false, false},
		{"i-0a\n1", "i-", false, false},
		{"ig-../../X", "ig-", false, false},
		{"i-" + strings.Repeat("1", 40), "i-", true, true},
		{"i-" + strings.Repeat("1", 41), "i-", false, false},
	} {
		if ec2, emr := EC2(test.s, test.prefix), EMR(test.s, test.prefix); ec2 != test.ec2 || emr != test.emr {
			t.Errorf("%q with the prefix %q: EC2 %t, EMR %t; want %t, %t", test.s, test.prefix, ec2, emr, test.ec2, test.emr)
		}
	}
}
