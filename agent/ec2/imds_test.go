package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// imdsAnswers is an IMDS that gives these answers by path, and this status and body for one of
// them.
type imdsAnswers struct {
	values map[string]string
	at     string // the path that fails, "token" for the token
	status int
	body   string
}

const testMAC = "02:00:00:00:00:05"

func goodIMDS() imdsAnswers {
	nic := "network/interfaces/macs/" + testMAC + "/"
	return imdsAnswers{values: map[string]string{
		"instance-id": "i-0a1b2c3d4e5f60001", "instance-type": "m5.xlarge", "placement/region": "eu-west-1", "mac": testMAC, "local-ipv4": "10.0.1.5",
		nic + "interface-id": "eni-0a1b2c3d4e5f60001", nic + "subnet-id": "subnet-0a1b2c3d", nic + "subnet-ipv4-cidr-block": "10.0.1.0/24",
		nic + "vpc-ipv4-cidr-blocks": "10.0.0.0/16\n10.7.0.0/16", nic + "local-ipv4s": "10.0.1.5\n10.0.1.20",
	}}
}

func (a imdsAnswers) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(body)),
			Header: http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"300"}}, Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	}
	path, found := strings.CutPrefix(r.URL.Path, "/latest/meta-data/")
	if r.URL.Path == "/latest/api/token" {
		path = "token"
	}
	switch value, ok := a.values[path]; {
	case a.at != "" && path == a.at && a.status == 0:
		return nil, errors.New("connection reset by the test")
	case a.at != "" && path == a.at:
		response, err := answer(a.status, a.body)
		if path == "token" {
			response.Header = http.Header{} // no token without a lifetime
		}
		return response, err
	case path == "token":
		return answer(http.StatusOK, "token")
	case !found || !ok:
		return answer(http.StatusNotFound, "404 - Not Found")
	default:
		return answer(http.StatusOK, value)
	}
}

func (a imdsAnswers) identity(ctx context.Context, atMost time.Duration) (Identity, error) {
	env := host.Environment{HTTP: a, LookupEnv: func(string) (string, bool) { return "", false }, Rand: func() float64 { return 0 }}
	return OpenIMDS(env).Identity(ctx, env, atMost)
}

func TestIdentity(t *testing.T) {
	id, err := goodIMDS().identity(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := "{i-0a1b2c3d4e5f60001 m5.xlarge eu-west-1 02:00:00:00:00:05 eni-0a1b2c3d4e5f60001 subnet-0a1b2c3d 10.0.1.0/24  [10.0.0.0/16 10.7.0.0/16] 10.0.1.5 [] [10.0.1.5 10.0.1.20]}"
	if got := fmt.Sprint(id); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// IMDS has public addresses and the VPC's id for some nodes only. Where it fails to tell of them,
// they are not taken to be absent.
func TestIdentityOptional(t *testing.T) {
	nic := "network/interfaces/macs/" + testMAC + "/"
	a := goodIMDS()
	a.values[nic+"public-ipv4s"], a.values[nic+"vpc-id"] = "198.18.0.1\n198.18.0.2", "vpc-0a1b2c3d"
	id, err := a.identity(t.Context(), 0)
	if err != nil || fmt.Sprint(id.Public) != "[198.18.0.1 198.18.0.2]" || id.VPCID != "vpc-0a1b2c3d" {
		t.Errorf("%+v, %v", id, err)
	}
	for _, path := range []string{"public-ipv4s", "vpc-id"} {
		a := goodIMDS()
		a.at, a.status = nic+path, http.StatusInternalServerError
		if _, err := a.identity(t.Context(), 0); exit.CodeOf(err) != exit.Identity || !strings.Contains(err.Error(), path) {
			t.Errorf("%s with status 500: %v", path, err)
		}
		a = goodIMDS()
		a.values[nic+path] = "<html>"
		if _, err := a.identity(t.Context(), 0); exit.CodeOf(err) != exit.Identity || !strings.Contains(err.Error(), path) {
			t.Errorf("%s is a page: %v", path, err)
		}
	}
}

// TestIdentityRefused has IMDS answer something else than what is asked for: that is told apart
// from an IMDS that does not answer.
func TestIdentityRefused(t *testing.T) {
	messages := golden.Open(t, "identity-refused.txt")
	nic := "network/interfaces/macs/" + testMAC + "/"
	for _, test := range []struct {
		name   string
		change func(*imdsAnswers)
		code   exit.Code
	}{
		{"no answer", func(a *imdsAnswers) { a.at = "token" }, exit.Unreachable},
		{"switched off", func(a *imdsAnswers) { a.at, a.status = "token", 403 }, exit.Identity},
		{"version 1 only", func(a *imdsAnswers) { a.at, a.status = "token", 404 }, exit.Identity},
		{"version 1 only, another one", func(a *imdsAnswers) { a.at, a.status = "token", 405 }, exit.Identity},
		{"token not given", func(a *imdsAnswers) { a.at, a.status = "token", 500 }, exit.Identity},
		{"a path is not there", func(a *imdsAnswers) { delete(a.values, nic+"subnet-id") }, exit.Identity},
		{"an empty answer", func(a *imdsAnswers) { a.values["instance-type"] = " \n" }, exit.Identity},
		{"an endless answer", func(a *imdsAnswers) { a.values["mac"] = strings.Repeat("0", MaxMetadata+1) }, exit.Identity},
		{"a page of something else", func(a *imdsAnswers) { a.values["mac"] = "<html>\x1b[2J" }, exit.Identity},
		{"a MAC that is none", func(a *imdsAnswers) { a.values["mac"] = "eth0" }, exit.Identity},
		{"a MAC of another network", func(a *imdsAnswers) { a.values["mac"] = "02:00:5e:10:00:00:00:01" }, exit.Identity},
		{"an IPv6 subnet", func(a *imdsAnswers) { a.values[nic+"subnet-ipv4-cidr-block"] = "fd00::/64" }, exit.Identity},
		{"a VPC CIDR that begins inside", func(a *imdsAnswers) { a.values[nic+"vpc-ipv4-cidr-blocks"] = "10.0.0.1/16" }, exit.Identity},
		{"an IPv6 address", func(a *imdsAnswers) { a.values[nic+"local-ipv4s"] = "::ffff:10.0.1.5" }, exit.Identity},
		{"a region that is none", func(a *imdsAnswers) { a.values["placement/region"] = "x.example.org/?" }, exit.Identity},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := goodIMDS()
			test.change(&a)
			_, err := a.identity(t.Context(), 0)
			if exit.CodeOf(err) != test.code {
				t.Errorf("code %d, want %d: %v", exit.CodeOf(err), test.code, err)
			}
			messages.Is(t, test.name, steady(told(err)))
		})
	}
}

// FuzzIMDS: whatever IMDS answers, what is believed is well formed, and what is not believed is an
// error that can be shown, never an empty value.
func FuzzIMDS(f *testing.F) {
	good := goodIMDS()
	paths := make([]string, 0, len(good.values))
	for path := range good.values {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for i := range paths {
		for _, text := range []string{"", good.values[paths[i]], "10.0.1.5\n10.0.1.6", "10.0.0.0/16 fd00::/8", "::1", "0.0.0.0/0", "\x1b[2J", "<html>", strings.Repeat("1", 200)} {
			f.Add(uint8(i), text, 200)
		}
	}
	for _, status := range []int{0, 200, 301, 401, 403, 404, 405, 500, 503} {
		f.Add(uint8(len(paths)), "token\r\n", status)
	}
	f.Fuzz(func(t *testing.T, at uint8, value string, status int) {
		a := goodIMDS()
		a.status, a.body = status, value
		if a.status < 0 || a.status > 999 {
			a.status = 200
		}
		if a.at = "token"; int(at)%(len(paths)+1) < len(paths) {
			a.at = paths[int(at)%(len(paths)+1)]
		}
		id, err := a.identity(t.Context(), 0)
		if err != nil {
			checkShown(t, err)
			if code := exit.CodeOf(err); code != exit.Identity && code != exit.Unreachable || code == exit.Unreachable && a.status >= 400 {
				t.Fatalf("code %d for status %d: %v", code, a.status, err)
			}
			return
		}
		if a.status < 200 || a.status > 299 {
			t.Fatalf("status %d at %s was believed: %+v", a.status, a.at, id)
		}
		ids := strings.Join([]string{id.InstanceID, id.ENI, id.SubnetID, id.InstanceType, id.Region}, " ")
		if text.Clean(ids, 300) != ids || len(strings.Fields(ids)) != 5 || strings.ContainsAny(ids, "/?#@:") {
			t.Fatalf("names %q", ids)
		}
		if len(id.MAC) != 6 || len(id.VPC) == 0 || len(id.Addresses) == 0 {
			t.Fatalf("%+v", id)
		}
		for _, addr := range append(id.Addresses, id.PrimaryIP) {
			if again, err := netip.ParseAddr(addr.String()); err != nil || again != addr || !addr.Is4() {
				t.Fatalf("address %v", addr)
			}
		}
		for _, p := range append(id.VPC, id.Subnet) {
			if !p.IsValid() || !p.Addr().Is4() || p.Masked() != p {
				t.Fatalf("network %v", p)
			}
		}
	})
}

// An IMDS that answers is not one that cannot be reached: what to do is about its answer.
func TestRemediesOfAnswersOfIMDS(t *testing.T) {
	messages := golden.Open(t, "imds-remedies.txt")
	for _, tt := range []struct {
		at     string
		status int
		body   string
	}{
		{"token", 429, ""},
		{"token", 503, ""},
		{"token", 400, ""},
		{"token", 200, ""},
		{"token", 404, ""},
		{"mac", 429, ""},
		{"mac", 500, ""},
		{"mac", 404, ""},
		{"local-ipv4", 404, ""},
		{"network/interfaces/macs/02:00:00:00:00:05/subnet-ipv4-cidr-block", 404, ""},
		{"mac", 401, ""},
		{"instance-id", 200, "x y"},
		{"local-ipv4", 200, ""},
		{"token", 0, ""},
	} {
		a := goodIMDS()
		a.at, a.status, a.body = tt.at, tt.status, tt.body
		_, err := a.identity(t.Context(), time.Nanosecond)
		remedy := strings.Join(exit.Remedies(err), "\n")
		messages.Is(t, fmt.Sprintf("%s, HTTP %d %q", tt.at, tt.status, tt.body), remedy)
		if tt.status != 0 && strings.Contains(remedy, "hop-limit") || strings.Contains(err.Error(), "HTTP 200") {
			t.Errorf("%s, HTTP %d %q: %v\n%s", tt.at, tt.status, tt.body, err, remedy)
		}
	}
}
