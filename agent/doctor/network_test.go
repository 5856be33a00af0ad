package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/agenttest"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/netcfg/netcfgtest"
)

// certificate makes a CA and a certificate that it signed for 127.0.0.1 and aws.test. The
// certificate is valid in the given time.
func certificate(t *testing.T, from, until time.Time) (ca []byte, leaf tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: from.Add(-time.Hour), NotAfter: until.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"aws.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, server, root, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}), tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}
}

// unlocal matches what differs from run to run: ports, times and durations.
var unlocal = regexp.MustCompile(`:\d{4,5}\b|\d+ ms|\d{4}-\d\d-\d\d[T ][\d:]+Z?( \+0000 UTC)?`)

// head matches an error of Go's HTTP client, whose words differ from release to release.
var head = regexp.MustCompile(`Head "http.*`)

// TestDoctorTLS reaches real servers on the loopback interface by the SDK's own HTTP client.
func TestDoctorTLS(t *testing.T) {
	messages := golden.Open(t, "tls.txt")
	now := time.Now()
	ca, leaf := certificate(t, now.Add(-time.Hour), now.Add(time.Hour))
	otherCA, _ := certificate(t, now.Add(-time.Hour), now.Add(time.Hour))
	expiredCA, expired := certificate(t, now.Add(-48*time.Hour), now.Add(-24*time.Hour))
	for _, test := range []struct {
		name   string
		ca     []byte
		leaf   *tls.Certificate // nil: plain HTTP
		scheme string
		host   string
		result string
	}{
		{"good", ca, &leaf, "https", "127.0.0.1", resultOK},
		{"unknown CA", otherCA, &leaf, "https", "127.0.0.1", resultFailed},
		{"another name", ca, &leaf, "https", "localhost", resultFailed},
		{"expired by this node's clock", expiredCA, &expired, "https", "127.0.0.1", resultFailed},
		{"no TLS", ca, nil, "https", "127.0.0.1", resultFailed},
		{"plain HTTP", ca, nil, "http", "127.0.0.1", resultOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			if test.leaf != nil {
				server.TLS = &tls.Config{Certificates: []tls.Certificate{*test.leaf}}
				server.StartTLS()
			} else {
				server.Start()
			}
			defer server.Close()
			_, port, err := net.SplitHostPort(server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			bundle := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(bundle, test.ca, 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CA_BUNDLE", bundle)
			t.Setenv("AWS_ENDPOINT_URL_SSM", test.scheme+"://"+test.host+":"+port)
			t.Setenv("AWS_REGION", "us-east-1")
			r := reached(t, "ssm")
			f := r.findings[len(r.findings)-1]
			if f.name() != "tls ssm" || f.Result != test.result || r.answered != (test.result == resultOK) {
				t.Errorf("%+v, answered %t", f, r.answered)
			}
			messages.Is(t, test.name, unlocal.ReplaceAllString(f.Result+": "+head.ReplaceAllString(f.Detail, "Go's error")+"\n"+f.Remedy, "X"))
			if r.answered && (!r.dated || r.ahead.Abs() > 2*time.Second) {
				t.Errorf("clock: %v %t", r.ahead, r.dated)
			}
		})
	}
}

// reached examines a service's endpoint on the loopback interface, with real connections.
func reached(t *testing.T, service string) reach {
	t.Helper()
	d := &examination{env: agent.Environment{Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "localhost" {
			return nil, &net.DNSError{Err: "only the loopback interface is allowed here", Name: host}
		}
		return netiptest.Addrs("127.0.0.1"), nil
	}}}
	var err error
	if d.session.AWS, err = ec2.Load(t.Context(), d.env, "us-east-1"); err != nil {
		t.Fatal(err)
	}
	e, err := d.endpoint(t.Context(), service)
	if err != nil {
		t.Fatal(err)
	}
	return d.reach(t.Context(), e)
}

// TestDoctorRealConnections: refused by the kernel, and a listener that never answers.
func TestDoctorRealConnections(t *testing.T) {
	t.Setenv("AWS_REGION", "us-east-1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ENDPOINT_URL_SSM", "https://"+l.Addr().String())
	l.Close()
	r := reached(t, "ssm")
	if f := r.findings[len(r.findings)-1]; f.name() != "tcp ssm" || f.Result != resultFailed || f.ExitCode != exit.Unreachable || !strings.Contains(f.Detail, "refused") {
		t.Errorf("%+v", f)
	}
}

// TestEndpoints: where the SDK calls each service, by the environment.
func TestEndpoints(t *testing.T) {
	const custom = "https://vpce-0abc.ec2.us-east-1.vpce.amazonaws.com"
	for _, test := range []struct{ name, value, service, want string }{
		{"AWS_REGION", "eu-west-3", "ssm", "https://ssm.eu-west-3.amazonaws.com"},
		{"AWS_REGION", "eu-west-3", "s3", "https://s3.eu-west-3.amazonaws.com"},
		{"AWS_REGION", "cn-north-1", "s3", "https://s3.cn-north-1.amazonaws.com.cn"},
		{"AWS_USE_FIPS_ENDPOINT", "true", "ssm", "https://ssm-fips.us-east-1.amazonaws.com"},
		{"AWS_USE_FIPS_ENDPOINT", "true", "s3", "https://s3-fips.us-east-1.amazonaws.com"},
		{"AWS_USE_DUALSTACK_ENDPOINT", "true", "ec2", "https://ec2.us-east-1.api.aws"},
		{"AWS_USE_DUALSTACK_ENDPOINT", "true", "s3", "https://s3.dualstack.us-east-1.amazonaws.com"},
		{"AWS_REGION", "us-gov-west-1", "s3", "https://s3.us-gov-west-1.amazonaws.com"},
		{"AWS_REGION", "us-iso-east-1", "s3", "https://s3.us-iso-east-1.c2s.ic.gov"},
		{"AWS_ENDPOINT_URL_EC2", custom, "ec2", custom},
		{"AWS_ENDPOINT_URL_EC2", custom, "s3", "https://s3.us-east-1.amazonaws.com"},
		{"AWS_ENDPOINT_URL_S3", "https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", "s3", "https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com"},
		{"AWS_ENDPOINT_URL", "http://10.0.0.10", "ec2", "http://10.0.0.10"},
		{"AWS_ENDPOINT_URL", "http://10.0.0.10", "s3", "http://10.0.0.10"},
		{"AWS_ENDPOINT_URL_SSM", "https://vpce-1.ssm.us-east-1.vpce.amazonaws.com", "ssm", "https://vpce-1.ssm.us-east-1.vpce.amazonaws.com"},
	} {
		t.Run(test.name+" "+test.service, func(t *testing.T) {
			t.Setenv(test.name, test.value)
			region := "us-east-1"
			if test.name == "AWS_REGION" { // it counts if the node's own is not known
				region = ""
			}
			d := &examination{}
			var err error
			if d.session.AWS, err = ec2.Load(t.Context(), d.env, region); err != nil {
				t.Fatal(err)
			}
			e, err := d.endpoint(t.Context(), test.service)
			if err != nil || strings.TrimSuffix(e.url.String(), "/") != test.want {
				t.Errorf("%v, %v, want %s", e.url, err, test.want)
			}
		})
	}
}

func TestKnockIMDS(t *testing.T) {
	messages := golden.Open(t, "knock.txt")
	late := error(&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded})
	refused := error(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
	for _, test := range []knock{
		{token: 200, plain: 401},
		{token: 403, plain: 403},
		{tokenErr: late, plain: 401},
		{tokenErr: late, plain: 200},
		{token: 404, plain: 200},
		{token: 405, plain: 200},
		{tokenErr: late, plainErr: late},
		{tokenErr: refused, plainErr: refused},
		{token: 500, plain: 500},
	} {
		why, remedy := test.explain()
		messages.Is(t, fmt.Sprintf("token %d %v, plain %d %v", test.token, test.tokenErr, test.plain, test.plainErr), why+"\n"+remedy)
	}
}

// TestDoctorWithoutIMDS: what can be looked at is, with credentials from the environment.
func TestDoctorWithoutIMDS(t *testing.T) {
	messages := golden.Open(t, "without-imds.txt")
	for _, test := range []struct {
		name string
		imds func(*http.Request) (int, error)
		code exit.Code

		immediate bool // a run does not wait for IMDS
	}{
		{"refused", func(*http.Request) (int, error) {
			return 0, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}, exit.Unreachable, false},
		{"hop limit", func(r *http.Request) (int, error) {
			if r.Method == http.MethodPut {
				<-r.Context().Done()
				return 0, r.Context().Err()
			}
			return http.StatusUnauthorized, nil
		}, exit.Unreachable, false},
		{"version 1 only", func(r *http.Request) (int, error) {
			if r.Method == http.MethodPut {
				return http.StatusNotFound, nil
			}
			return http.StatusOK, nil
		}, exit.Identity, false},
		{"switched off", func(*http.Request) (int, error) { return http.StatusForbidden, nil }, exit.Identity, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("AWS_REGION", "us-east-1")
			synctest.Test(t, func(t *testing.T) {
				n, _ := newNode(t, cloud.Options{AnyCredentials: true})
				n.Env.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
					if r.URL.Hostname() != "169.254.169.254" {
						return n.RoundTrip(r)
					}
					status, err := test.imds(r)
					if err != nil {
						return nil, err
					}
					return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{}, Request: r}, nil
				})
				d := n.doctor()
				if d.ExitCode() != test.code {
					t.Errorf("exit code %d, want %d\n%s", d.ExitCode(), test.code, textOf(t, d))
				}
				rep, err := agent.Apply(t.Context(), n.cfg, n.Env)
				if exit.CodeOf(err) != test.code {
					t.Errorf("a run ends with %v (code %d), want %d", err, exit.CodeOf(err), test.code)
				}
				if test.immediate && rep.Duration > time.Second {
					t.Errorf("a run waits %v", rep.Duration)
				}
				messages.Is(t, "a run, "+test.name, strings.Join(exit.Remedies(err), "\n"))
				expect(t, d, "imds", resultFailed)
				expect(t, d, "tls ssm", resultOK)
				expect(t, d, "tls ec2", resultOK)
				expect(t, d, "emr-files", resultOK)
				expect(t, d, "nat", resultOK)
				messages.Is(t, test.name, said(d, "imds", "nat"))
				if d.Seconds > 45 {
					t.Errorf("took %v s", d.Seconds)
				}
			})
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestDoctorOutsideEMR: an instance of the subnet that is no node.
func TestDoctorOutsideEMR(t *testing.T) {
	messages := golden.Open(t, "outside-emr.txt")
	synctest.Test(t, func(t *testing.T) {
		n, _ := newNode(t, cloud.Options{})
		plain, err := n.Cloud.RunInstance(cloud.InstanceSpec{Subnet: n.SubnetID})
		if err != nil {
			t.Fatal(err)
		}
		n.Env.HTTP = n.Cloud.Transport(plain.InstanceID)
		n.Kernel = netcfgtest.New(netcfgtest.Link("eth0", 2, plain.MAC, netip.PrefixFrom(plain.PrimaryIP, 24)))
		n.Env.Root = t.TempDir()
		d := n.doctor()
		expectOnly(t, d, exit.OK, "role", "units")
		expect(t, d, "role", resultUnknown)
		expect(t, d, "address 10.0.1.20", resultOK)
		expect(t, d, "pool master", resultOK)
		expect(t, d, "pool core", resultOK)
		messages.Is(t, "without a role", said(d, "role", "address 10.0.1.20"))
		n.cfg.Role = emr.Core
		d = n.doctor()
		expect(t, d, "role", resultOK)
		messages.Is(t, "with --role", said(d, "role"))
		if d.result("pool master") != "" {
			t.Error("the master's pool was looked at")
		}
	})
}

func TestDoctorVerify(t *testing.T) {
	messages := golden.Open(t, "verify.txt")
	synctest.Test(t, func(t *testing.T) {
		n, w := newNode(t, cloud.Options{})
		n.cfg.Verify = targetList("192.168.50.10:80", "192.168.50.11:80", "no.example.com:80")
		w.Answer = func(_ netip.Addr, to netip.AddrPort) error {
			if to.Addr() == netip.MustParseAddr("192.168.50.11") {
				return agenttest.ErrNoAnswer
			}
			return nil
		}
		d := n.doctor()
		expectOnly(t, d, exit.Verify, "verify 192.168.50.10:80", "verify 192.168.50.11:80", "verify no.example.com:80")
		expect(t, d, "verify 192.168.50.10:80", resultWarning)
		expect(t, d, "verify 192.168.50.11:80", resultUnknown)
		expect(t, d, "verify no.example.com:80", resultFailed)
		messages.Is(t, "without a static IP", said(d, notOK(d)...))
		n.cfg.Verify = targetList("192.168.50.10:80")
		n.apply()
		n.cfg.Verify = targetList("192.168.50.10:80", "192.168.50.11:80")
		d = n.doctor()
		expectOnly(t, d, exit.Verify, "verify 192.168.50.11:80")
		expect(t, d, "verify 192.168.50.10:80", resultOK)
		messages.Is(t, "with a static IP", said(d, "verify 192.168.50.10:80", "verify 192.168.50.11:80"))
	})
}

// verifyLines returns what the findings about --verify say.
func verifyLines(d Diagnosis) (lines []string) {
	for _, f := range d.Findings {
		if f.Check == "verify" {
			lines = append(lines, f.Detail)
		}
	}
	return lines
}

// A name with several addresses of which none answers takes no longer than one, and the last of
// them is tried too.
func TestDoctorVerifiesManyAddresses(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers string // the address that does
		want    string
	}{
		{"none answers", "", resultFailed},
		{"the last one does", "192.168.50.14", resultOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, w := newNode(t, cloud.Options{})
				w.Names["nn.example.com"] = netiptest.Addrs("192.168.50.11 192.168.50.12 192.168.50.13 192.168.50.14")
				w.Answer = func(_ netip.Addr, to netip.AddrPort) error {
					if to.Port() == 8020 && to.Addr().String() != test.answers {
						return agenttest.ErrNoAnswer
					}
					return nil
				}
				n.apply()
				n.cfg.Verify = targetList("nn.example.com:8020")
				w.Forget()
				began := time.Now()
				d := n.doctor()
				if took := time.Since(began); took > 12*time.Second {
					t.Errorf("doctor took %v", took)
				}
				if !slices.Contains(w.Dialed(), "->192.168.50.14:8020") {
					t.Errorf("doctor did not try the last address: %q", w.Dialed())
				}
				if got := d.result("verify nn.example.com:8020"); got != test.want {
					t.Errorf("doctor: %s, want %s\n%s", got, test.want, verifyLines(d))
				}
			})
		})
	}
}
