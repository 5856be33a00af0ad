package verify_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"192.168.50.10:8020":      "192.168.50.10:8020",
		"NN-1.Data.example.com:1": "nn-1.data.example.com:1",
		"host:65535":              "host:65535",
		"_ldap._tcp.example.:389": "_ldap._tcp.example.:389",
	} {
		if got, err := verify.ParseTarget(in); err != nil || got.String() != want {
			t.Errorf("%q: got %v, %v, want %q", in, got, err, want)
		}
	}
	messages := golden.Open(t, "target.txt")
	for _, in := range []string{
		"192.168.50.10.5:80",
		"10.0.0.01:80",
		"80:80",
		"127.0.0.1:80",
		"0.0.0.0:80",
		"224.0.0.1:80",
		"",
		"host",
		":80",
		"host:",
		"host:0",
		"host:080",
		"host:+80",
		"host:65536",
		"host:http",
		"https://host:80",
		"[::1]:80",
		"fd00::1:80",
		"a host:80",
		"-host:80",
		"a..b:80",
		"hôte:80",
		strings.Repeat("a.", 130) + "b:80",
	} {
		got, err := verify.ParseTarget(in)
		if err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
			continue
		}
		messages.Is(t, strconv.Quote(in), err.Error())
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
