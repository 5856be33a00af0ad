package verify_test

import (
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"192.168.50.10:8020":               "192.168.50.10:8020",
		"NN-1.Data.example.com:1":          "nn-1.data.example.com:1",
		"host:65535":                       "host:65535",
		"_ldap._tcp.example.:389":          "_ldap._tcp.example.:389",
		"192.168.50.10.5:80":               `has the host "192.168.50.10.5", which is not an IPv4 address (four numbers from 0 to 255 without leading zeros)`,
		"10.0.0.01:80":                     `has the host "10.0.0.01", which is not an IPv4 address (four numbers from 0 to 255 without leading zeros)`,
		"80:80":                            `has the host "80", which is neither an IPv4 address nor a range nor a CIDR`,
		"127.0.0.1:80":                     "names 127.0.0.1, which is no address of another host",
		"0.0.0.0:80":                       "names 0.0.0.0, which is no address of another host",
		"224.0.0.1:80":                     "names 224.0.0.1, which is no address of another host",
		"":                                 "has no port; expected host:port, such as 192.168.50.10:8020",
		"host":                             "has no port; expected host:port, such as 192.168.50.10:8020",
		":80":                              "has no host; expected host:port, such as 192.168.50.10:8020",
		"host:":                            `has the port ""; expected a number from 1 to 65535`,
		"host:0":                           `has the port "0"; expected a number from 1 to 65535`,
		"host:080":                         `has the port "080"; expected a number from 1 to 65535`,
		"host:+80":                         `has the port "+80"; expected a number from 1 to 65535`,
		"host:65536":                       `has the port "65536"; expected a number from 1 to 65535`,
		"host:http":                        `has the port "http"; expected a number from 1 to 65535`,
		"https://host:80":                  "is a URL; expected host:port, such as 192.168.50.10:8020",
		"[::1]:80":                         "is IPv6; static IPs are IPv4, and so is what they connect to",
		"fd00::1:80":                       "is IPv6; static IPs are IPv4, and so is what they connect to",
		"a host:80":                        `has the host "a host", which is neither an IPv4 address nor a host name`,
		"-host:80":                         `has the host "-host", which is neither an IPv4 address nor a host name`,
		"a..b:80":                          `has the host "a..b", which is neither an IPv4 address nor a host name`,
		"hôte:80":                          `has the host "hôte", which is neither an IPv4 address nor a host name`,
		strings.Repeat("a.", 130) + "b:80": "which is longer than the 253 characters of a host name",
	} {
		got, err := verify.ParseTarget(in)
		if err == nil && got.String() != want || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want %q", in, got, err, want)
		}
	}
}

// FuzzParseTarget: what is accepted is written the same way again, and can be printed.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{"192.168.50.10:8020", "nn.example.com:443", "host", "[::1]:80", "http://x:1", "a:b:c", "\x1b[31m:80", "10.0.0.1:99999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, err := verify.ParseTarget(value)
		if err != nil {
			if m := err.Error(); m != text.Clean(m, text.MaxLine) {
				t.Errorf("the message %q has what a terminal obeys", m)
			}
			return
		}
		again, err := verify.ParseTarget(got.String())
		if err != nil || again != got || got.Port == 0 || got.String() != text.Clean(got.String(), text.MaxLine) || !strings.EqualFold(got.String(), value) {
			t.Errorf("%q: %v, again %v, %v", value, got, again, err)
		}
	})
}
