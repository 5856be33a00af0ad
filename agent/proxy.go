package agent

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

const proxyRemedy = "correct it, or unset it: http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with a % in the password written as %25"

// brokenProxies are the variables of the environment that are to name a proxy and do not. net/http then goes without one, or to a host of another
// name, and says nothing. Capitals go first, as there.
func (e Environment) brokenProxies() (names []string) {
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY"} {
		if e.Getenv(name) == "" {
			name = strings.ToLower(name)
		}
		if value := e.Getenv(name); value != "" && !isProxy(value) {
			names = append(names, name)
		}
	}
	return names
}

func isProxy(value string) bool {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	return err == nil && u.Hostname() != "" && slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)
}

// brokenProxyText says what becomes of it. The value may be secret, and is not shown.
func brokenProxyText(name string) string {
	return name + " is not the URL of a proxy: AWS is called without one, or in vain"
}

// proxyName is a proxy without its user and password.
func proxyName(u *url.URL) string { return cmp.Or(u.Scheme, "http") + "://" + u.Host }
