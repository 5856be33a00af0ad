package host

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ProxyRemedy is what to do about a broken proxy variable.
const ProxyRemedy = "correct it, or unset it: http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with a % in the password written as %25"

// BrokenProxies returns the proxy variables whose value is not the URL of a proxy. net/http then
// ignores the variable, or connects to a host of another name, without an error. As in net/http,
// names in capitals take precedence.
func (e Environment) BrokenProxies() (names []string) {
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

// BrokenProxyFor returns the proxy variable for URLs of this scheme if it is broken, or "".
func (e Environment) BrokenProxyFor(scheme string) string {
	for _, name := range e.BrokenProxies() {
		if strings.EqualFold(name, scheme+"_proxy") {
			return name
		}
	}
	return ""
}

// isProxy reports whether value is the URL of a proxy.
func isProxy(value string) bool {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" {
		return false
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return false
	}
	return slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)
}

// BrokenProxyText returns the warning about a broken proxy variable. It leaves out the value, which
// may be secret.
func BrokenProxyText(name string) string {
	return name + " is not a valid proxy URL: requests bypass it or fail"
}

// ProxyName returns a proxy's URL without user and password.
func ProxyName(u *url.URL) string { return cmp.Or(u.Scheme, "http") + "://" + u.Host }
