package host

import (
	"fmt"
	"testing"
)

func TestBrokenProxies(t *testing.T) {
	for value, broken := range map[string]bool{
		"": false, "http://10.0.0.9:3128": false, "10.0.0.9:3128": false, "proxy.example.com": false, "https://proxy.example.com": false, "socks5://10.0.0.9": false,
		"user:pw@proxy.example.com:3128": false, "http://user:pw@proxy.example.com:3128": false,
		"http://user:pa%ss@proxy.example.com:3128": true, "user:pa%ss@proxy.example.com:3128": true, "http://proxy.example.com:port": true, "http://proxy.example.com:3128 ": true,
		"http://": true, "ftp://proxy.example.com": true, "http://[::1:3128": true, "http://proxy.example.com:99999": true, "proxy.example.com:0": true, ":3128": true,
	} {
		env := Environment{LookupEnv: func(name string) (string, bool) {
			if name == "https_proxy" {
				return value, true
			}
			return "", false
		}}
		got := env.BrokenProxies()
		named := env.BrokenProxyFor("https")
		if broken != (len(got) == 1) || broken && got[0] != "https_proxy" || broken != (named == "https_proxy") || env.BrokenProxyFor("http") != "" {
			t.Errorf("%q: %q", value, got)
		}
	}
	both := map[string]string{"HTTPS_PROXY": "10.0.0.9:3128", "https_proxy": "http://%", "http_proxy": "http://%"}
	env := Environment{LookupEnv: func(name string) (string, bool) { v, ok := both[name]; return v, ok }}
	if got := fmt.Sprint(env.BrokenProxies()); got != "[http_proxy]" { // the capitals go first
		t.Error(got)
	}
}
