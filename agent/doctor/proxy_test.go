package doctor

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// TestBrokenProxyIsTold: a run and doctor name the variable, and not what is in it.
func TestBrokenProxyIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := newNode(t, cloud.Options{})
		const value = "http://me:pa%ss@proxy:3128"
		n.Env.LookupEnv = func(name string) (string, bool) {
			if name == "HTTPS_PROXY" {
				return value, true
			}
			return "", false
		}
		d := n.doctor()
		expectOnly(t, d, exit.OK, "proxy HTTPS_PROXY")
		expect(t, d, "proxy HTTPS_PROXY", resultWarning)
		golden.Is(t, "broken-proxy.txt", said(d, notOK(d)...))
		rep := n.apply()
		told := strings.Join(rep.Warnings, "\n")
		if !strings.Contains(told, "HTTPS_PROXY") || strings.Contains(told+textOf(t, d), "pa%ss") {
			t.Error(told)
		}
	})
}

// throughProxy is set in a second process of TestDoctorThroughProxy, which examines an endpoint: Go
// reads the proxies of a process once. Its value is the file of the CA.
const throughProxy = "EMR_STATIC_IP_TEST_PROXY"

// TestDoctorThroughProxy starts the test program again, to reach an endpoint by a name that only
// the proxy can resolve.
func TestDoctorThroughProxy(t *testing.T) {
	if ca := os.Getenv(throughProxy); ca != "" {
		t.Setenv("AWS_CA_BUNDLE", ca)
		t.Setenv("AWS_ENDPOINT_URL_SSM", "https://aws.test")
		for _, f := range reached(t, "ssm").findings {
			fmt.Printf("%s: %s: %s; %s\n", f.name(), f.Result, f.Detail, f.Remedy)
		}
		return
	}
	ca, leaf := certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}}
	server.StartTLS()
	defer server.Close()
	endpoint := server.Listener.Addr().String()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := strings.Cut(r.Header.Get("Proxy-Authorization"), " ")
		if r.Method != http.MethodConnect || r.Host != "aws.test:443" || user != "Basic" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		there, err := net.Dial("tcp", endpoint)
		if err != nil {
			t.Error(err)
			return
		}
		defer there.Close()
		here, _, err := http.NewResponseController(w).Hijack() // before the answer, after which the client goes on
		if err != nil {
			t.Error(err)
			return
		}
		defer here.Close()
		if _, err := io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			t.Error(err)
			return
		}
		go func() { _, _ = io.Copy(there, here) }()
		_, _ = io.Copy(here, there)
	}))
	defer proxy.Close()
	address := strings.TrimPrefix(proxy.URL, "http://")
	messages := golden.Open(t, "through-proxy.txt")
	for _, test := range []struct {
		name, proxy string

		never string
	}{
		{"it lets through", "http://tok3n:secret@" + address, "tok3n"},
		{"it refuses", "http://" + address, "vpce"},
		{"nobody is there", "http://127.0.0.1:1", "tls ssm"},
		{"it cannot be read", "http://tok3n:pa%ss@" + address, "tok3n"}, // Go goes without it, and does not say so
	} {
		t.Run(test.name, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDoctorThroughProxy$")
			child.Env = append(os.Environ(), "HTTPS_PROXY="+test.proxy, "https_proxy=", "NO_PROXY=", "no_proxy=", throughProxy+"="+bundle)
			out, err := child.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			found, _, _ := strings.Cut(string(out), "PASS")
			messages.Is(t, test.name, unlocal.ReplaceAllString(found, "X"))
			if strings.Contains(string(out), test.never) {
				t.Errorf("%s\nhas %s", out, test.never)
			}
		})
	}
}
