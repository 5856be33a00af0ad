package ec2

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// selfSigned returns a certificate for a name or an address, which is its own authority.
func selfSigned(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	if ip := net.ParseIP(name); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/ca.pem"
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// TestPath: what stands between the node and AWS, and will stand there the next time too, ends the
// run at once with a remedy of its own.
func TestPath(t *testing.T) {
	messages := golden.Open(t, "path.txt")
	right, rightCA := selfSigned(t, "127.0.0.1")
	wrong, wrongCA := selfSigned(t, "other.example")
	_, otherCA := selfSigned(t, "127.0.0.1")
	for _, tt := range []struct {
		name   string
		cert   *tls.Certificate // nil: plain HTTP
		scheme string
		ca     string
	}{
		{"unknown authority", &right, "https", otherCA},
		{"another host's certificate", &wrong, "https", wrongCA},
		{"no TLS", nil, "https", rightCA},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			if tt.cert != nil {
				server.TLS = &tls.Config{Certificates: []tls.Certificate{*tt.cert}}
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			s, err := session(t, nil, "AWS_CA_BUNDLE="+tt.ca, "AWS_ENDPOINT_URL="+tt.scheme+"://"+server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			expectAtOnce(t, s, messages, tt.name)
		})
	}
}

// TestNoHTTP: what listens there speaks another protocol, or HTTP without end.
func TestNoHTTP(t *testing.T) {
	messages := golden.Open(t, "no-http.txt")
	for name, say := range map[string]func(io.ReadWriter) error{
		"SSH": func(w io.ReadWriter) error {
			_, err := io.WriteString(w, "SSH-2.0-OpenSSH_8.7\r\n")
			return err
		},
		"a header without end": func(w io.ReadWriter) error {
			if _, err := w.Read(make([]byte, 1)); err != nil {
				return err
			}
			_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(w, "X-Filler: "+strings.Repeat("x", 1000)+"\r\n")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { _ = say(c) }()
					defer c.Close()
				}
			}()
			s, err := session(t, nil, "AWS_ENDPOINT_URL=http://"+l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			expectAtOnce(t, s, messages, name)
		})
	}
}

// local matches an address of a test server, how long a call was tried, and words of crypto/x509.
var local = regexp.MustCompile(`127\.0\.0\.1:\d+|for (\d+m)?\d+s|x509: .*`)

// expectAtOnce checks that a call of each service fails at once, with an error of the golden file.
func expectAtOnce(t *testing.T, s *Session, messages *golden.Texts, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, ec2Err := ec2.NewFromConfig(s.Config).DescribeInstances(ctx, nil)
	_, ssmErr := ssmcoord.NewLedger(s.Config, "/emr-static-ip", "subnet-0a1").Read(ctx, []netip.Addr{netip.MustParseAddr("10.0.1.21")})
	for service, err := range map[string]error{"ec2": ec2Err, "ssm": ssmErr} {
		err = s.Explain(ctx, err, iam.Place{Region: "us-east-1"})
		if exit.CodeOf(err) != exit.Unreachable || ctx.Err() != nil {
			t.Errorf("code %d: %v", exit.CodeOf(err), err)
		}
		messages.Is(t, name+", "+service, steady(told(err)))
	}
}

// readOnce reads a record and returns the explained error. The call must end by itself.
func readOnce(t *testing.T, s *Session) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := ssmcoord.NewLedger(s.Config, "/emr-static-ip", "subnet-0a1").Read(ctx, []netip.Addr{netip.MustParseAddr("10.0.1.21")})
	if ctx.Err() != nil {
		t.Error("the call went on until the deadline")
	}
	return s.Explain(ctx, err, iam.Place{Region: "us-east-1"})
}

// TestProxyRefuses: a proxy's own refusals of CONNECT.
func TestProxyRefuses(t *testing.T) {
	messages := golden.Open(t, "proxy-refuses.txt")
	for _, status := range []int{403, 407, 405} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			defer proxy.Close()
			u, err := url.Parse(proxy.URL)
			if err != nil {
				t.Fatal(err)
			}
			transport := buildable(host.Environment{}, attemptTimeout).GetTransport()
			transport.Proxy = http.ProxyURL(u) // the environment's is read once in a process
			s, err := session(t, transport)
			if err != nil {
				t.Fatal(err)
			}
			err = readOnce(t, s)
			if exit.CodeOf(err) != exit.Unreachable {
				t.Errorf("code %d: %v", exit.CodeOf(err), err)
			}
			messages.Is(t, fmt.Sprint(status), steady(told(err)))
		})
	}
	if err := refusedByProxy(t.Context(), &url.URL{Host: "proxy"}, &http.Request{Host: "x"}, &http.Response{StatusCode: 503}); lasting(err) {
		t.Errorf("%v does not pass", err)
	}
}

// TestProxyUnreachable: the remedy is the proxy's and not that of the endpoint.
func TestProxyUnreachable(t *testing.T) {
	refused := &net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}}
	unknown := &net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "proxy.corp", IsNotFound: true}}}
	messages := golden.Open(t, "proxy-unreachable.txt")
	for name, err := range map[string]error{"refused": refused, "unknown": unknown} {
		messages.Is(t, name, unreachableRemedy(err, "us-east-1", "ssm"))
	}
}

// A proxy variable that is no URL ends a call at once, unless the request goes past the proxy.
func TestProxyThatIsNone(t *testing.T) {
	env := host.Environment{LookupEnv: func(name string) (string, bool) {
		return map[string]string{"HTTPS_PROXY": "http://10.0.0.9:port"}[name], name == "HTTPS_PROXY"
	}}
	misread := func(*http.Request) (*url.URL, error) { return url.Parse("http://http:/10.0.0.9:port") }
	past := func(*http.Request) (*url.URL, error) { return nil, nil }
	request := httptest.NewRequest(http.MethodPost, "https://ssm.us-east-1.amazonaws.com/", nil)
	if proxy, err := proxyOf(env, request, past); proxy != nil || err != nil {
		t.Errorf("past the proxy: %v, %v", proxy, err)
	}
	if proxy, err := proxyOf(env, httptest.NewRequest(http.MethodPost, "http://ssm.us-east-1.amazonaws.com/", nil), misread); proxy == nil || err != nil {
		t.Errorf("the proxy of another scheme: %v, %v", proxy, err)
	}
	transport := buildable(env, attemptTimeout).GetTransport()
	transport.Proxy = func(r *http.Request) (*url.URL, error) { return proxyOf(env, r, misread) }
	s, err := session(t, transport)
	if err != nil {
		t.Fatal(err)
	}
	err = readOnce(t, s)
	golden.Is(t, "proxy-misread.txt", steady(told(err))+"\n")
}

// A proxy that is named with https:// and does not speak TLS is not the endpoint.
func TestProxyWithoutTLS(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer proxy.Close()
	transport := buildable(host.Environment{}, attemptTimeout).GetTransport()
	transport.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("https://" + proxy.Listener.Addr().String()) }
	s, err := session(t, transport)
	if err != nil {
		t.Fatal(err)
	}
	err = readOnce(t, s)
	golden.Is(t, "proxy-without-tls.txt", steady(told(err))+"\n")
}

// TestIMDSBounds: neither the token nor a value of IMDS is read without a limit, also where a small
// body becomes a large one, and no redirect is followed.
func TestIMDSBounds(t *testing.T) {
	messages := golden.Open(t, "imds-bounds.txt")
	huge := func() io.Reader { return io.LimitReader(endless{}, 1<<30) }
	of := func(text string) func() io.Reader { return func() io.Reader { return strings.NewReader(text) } }
	for _, tt := range []struct {
		name string
		at   string
		body func() io.Reader
		code int
	}{
		{"huge", "/latest/api/token", huge, 200},
		{"huge", "/latest/meta-data/instance-id", huge, 200},
		{"huge", "/latest/meta-data/instance-id", huge, 500},
		{"a page", "/latest/meta-data/instance-id", of("<html>Sign in</html>"), 200},
		{"a page", "/latest/api/token", of("<html>Sign in</html>"), 200},
		{"a redirect", "/latest/meta-data/instance-id", of(""), 307},
	} {
		name := fmt.Sprint(tt.at, " ", tt.code, " ", tt.name)
		t.Run(name, func(t *testing.T) {
			transport := roundTrip(func(r *http.Request) (*http.Response, error) {
				answer := &http.Response{StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
					Header: http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"300"}, "Location": {"http://elsewhere.example/"}}, Body: io.NopCloser(strings.NewReader("token"))}
				switch r.URL.Path {
				case tt.at:
					answer.StatusCode, answer.Body = tt.code, io.NopCloser(tt.body())
				case "/":
					t.Error("a redirect was followed")
				}
				return answer, nil
			})
			env := host.Environment{HTTP: transport, LookupEnv: func(string) (string, bool) { return "", false }}
			v, err := OpenIMDS(env).get(t.Context(), "instance-id")
			if err == nil {
				t.Fatalf("got %q", v)
			}
			messages.Is(t, name, err.Error())
			_, err = OpenIMDS(env).Identity(t.Context(), env, 0)
			if remedy := strings.Join(exit.Remedies(err), ""); exit.CodeOf(err) != exit.Identity || remedy != oddIMDSRemedy {
				t.Errorf("%v: %s", err, remedy)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestOverdue checks that each error names its own service in one clause, if both are silent.
func TestOverdue(t *testing.T) {
	messages := golden.Open(t, "overdue.txt")
	synctest.Test(t, func(t *testing.T) {
		s, err := session(t, roundTrip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(DialTimeout)
			addr := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 10), Port: 443}
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.ErrDeadlineExceeded}
		}))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		errs := make(chan error)
		go func() {
			_, err := ssmcoord.NewLedger(s.Config, "/emr-static-ip", "subnet-0a1").Read(ctx, []netip.Addr{netip.MustParseAddr("10.0.1.21")})
			errs <- err
		}()
		_, ec2Err := NewNode(s.Config, anIdentity(), "", host.Environment{}).Own(ctx)
		for service, err := range map[string]error{"ec2": ec2Err, "ssm": <-errs} {
			err = s.Explain(ctx, err, iam.Place{Region: "us-east-1"})
			if exit.CodeOf(err) != exit.Unreachable {
				t.Errorf("%s: code %d, %q", service, exit.CodeOf(err), err)
			}
			messages.Is(t, service, told(err))
		}
	})
}
