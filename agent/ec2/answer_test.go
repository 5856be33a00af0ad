package ec2

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"syscall"
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

// session loads a Session with this environment, without files of the machine.
func session(t *testing.T, transport http.RoundTripper, variables ...string) (*Session, error) {
	t.Helper()
	return Load(t.Context(), variablesFor(t, transport, variables...), "us-east-1")
}

// variablesFor sets variables for the SDK, which reads the process's own.
func variablesFor(t *testing.T, transport http.RoundTripper, variables ...string) host.Environment {
	t.Helper()
	none := t.TempDir() + "/none"
	for _, v := range append([]string{
		"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_CA_BUNDLE=", "AWS_PROFILE=", "AWS_REGION=", "AWS_DEFAULT_REGION=",
		"AWS_CONFIG_FILE=" + none, "AWS_SHARED_CREDENTIALS_FILE=" + none, "AWS_ENDPOINT_URL=", "AWS_EC2_METADATA_DISABLED=",
	}, variables...) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	return host.Environment{HTTP: transport, Rand: func() float64 { return 0.5 }}
}

// region is EC2 and Parameter Store of one node, in memory. The first answer to an action is
// spoiled.
type region struct {
	action string // that is spoiled; empty: none
	spoil  func(*http.Response) (*http.Response, error)

	mu       sync.Mutex
	calls    []string
	assigned bool
}

func (x *region) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	action := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSSM.")
	if action == "" {
		action, _, _ = strings.Cut(strings.TrimPrefix(string(body), "Action="), "&")
	}
	x.calls = append(x.calls, action)
	text := map[string]string{
		"DescribeInstances":         `<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-0b</instanceId><instanceState><name>running</name></instanceState></item></instancesSet></item></reservationSet></DescribeInstancesResponse>`,
		"DescribeNetworkInterfaces": `<DescribeNetworkInterfacesResponse><networkInterfaceSet>` + x.eni() + `</networkInterfaceSet></DescribeNetworkInterfacesResponse>`,
		"AssignPrivateIpAddresses":  `<AssignPrivateIpAddressesResponse><return>true</return></AssignPrivateIpAddressesResponse>`,
		"GetParameters":             `{"Parameters":[],"InvalidParameters":["/emr-static-ip/subnet-0a1/10.0.1.21"]}`,
		"PutParameter":              `{"Version":1,"Tier":"Standard"}`,
		"DeleteParameter":           `{}`,
	}[action]
	if action == "AssignPrivateIpAddresses" {
		x.assigned = true
	}
	answer := &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: http.Header{},
		ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text)),
	}
	if action == x.action && x.count(action) == 1 {
		return x.spoil(answer)
	}
	return answer, nil
}

func (x *region) eni() string {
	addrs := `<item><privateIpAddress>10.0.1.99</privateIpAddress><primary>true</primary></item>`
	if x.assigned {
		addrs += `<item><privateIpAddress>10.0.1.21</privateIpAddress></item>`
	}
	return `<item><networkInterfaceId>eni-0a1</networkInterfaceId><privateIpAddressesSet>` + addrs + `</privateIpAddressesSet></item>`
}

func (x *region) count(action string) (n int) {
	for _, c := range x.calls {
		if c == action {
			n++
		}
	}
	return n
}

// broken is a body that ends with an error.
type broken struct {
	io.Reader
	err error
}

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF { //nolint:errorlint // a strings.Reader's
		err = b.err
	}
	return n, err
}

// breaking returns an answer of which the first part arrives, and then err; io.EOF is an end that
// HTTP takes for the right one.
func breaking(share int, err error) func(*http.Response) (*http.Response, error) {
	return func(r *http.Response) (*http.Response, error) {
		text, _ := io.ReadAll(r.Body)
		r.Body, r.ContentLength = io.NopCloser(broken{strings.NewReader(string(text[:len(text)*share/100])), err}), -1
		return r, nil
	}
}

func refusing(status int, text string) func(*http.Response) (*http.Response, error) {
	return func(r *http.Response) (*http.Response, error) {
		r.StatusCode, r.Body, r.ContentLength = status, io.NopCloser(strings.NewReader(text)), int64(len(text))
		return r, nil
	}
}

// calls are all calls that a run makes, by action.
var calls = map[string]func(context.Context, *Session, *Node, *ssmcoord.Ledger) error{
	"DescribeInstances": func(ctx context.Context, _ *Session, n *Node, _ *ssmcoord.Ledger) error {
		lives, err := n.Lives(ctx, []string{"i-0b"})
		if err == nil && len(lives) != 1 {
			err = fmt.Errorf("lives %v", lives)
		}
		return err
	},
	"DescribeNetworkInterfaces": func(ctx context.Context, _ *Session, n *Node, _ *ssmcoord.Ledger) error {
		own, err := n.Own(ctx)
		if err == nil && len(own) != 1 {
			err = fmt.Errorf("own %v", own)
		}
		return err
	},
	"AssignPrivateIpAddresses": func(ctx context.Context, _ *Session, n *Node, _ *ssmcoord.Ledger) error {
		return n.Assign(ctx, netip.MustParseAddr("10.0.1.21"), false)
	},
	"GetParameters": func(ctx context.Context, _ *Session, _ *Node, l *ssmcoord.Ledger) error {
		_, err := l.Read(ctx, []netip.Addr{netip.MustParseAddr("10.0.1.21")})
		return err
	},
	"PutParameter": func(ctx context.Context, _ *Session, _ *Node, l *ssmcoord.Ledger) error {
		return l.Write(ctx, netip.MustParseAddr("10.0.1.21"), ssmcoord.Record{Instance: "i-0a1", ENI: "eni-0a1"})
	},
	"DeleteParameter": func(ctx context.Context, _ *Session, _ *Node, l *ssmcoord.Ledger) error {
		_, err := l.Delete(ctx, netip.MustParseAddr("10.0.1.21"), nil)
		return err
	},
}

// TestSpoiledAnswer: one answer that breaks off, or one refusal that may pass, is followed by
// another attempt. An assignment is then confirmed by looking.
func TestSpoiledAnswer(t *testing.T) {
	const page = "<html>Too many requests</html>"
	for name, spoil := range map[string]func(*http.Response) (*http.Response, error){
		"short body":                  breaking(50, io.ErrUnexpectedEOF),
		"reset":                       breaking(50, syscall.ECONNRESET),
		"reset before the first byte": breaking(0, syscall.ECONNRESET),
		"broken gzip":                 breaking(30, gzip.ErrChecksum),
		"cut, and HTTP does not tell": breaking(60, io.EOF),
		"time over in the body":       breaking(60, context.DeadlineExceeded),
		"connection closed": func(*http.Response) (*http.Response, error) {
			return nil, io.EOF
		},
		"408":               refusing(408, ""),
		"425":               refusing(425, page),
		"429":               refusing(429, page),
		"500 with a page":   refusing(500, page),
		"503 without words": refusing(503, ""),
		"520":               refusing(520, page),
		"half an error":     refusing(503, "<Response><Errors><Error><Code>Request"),
	} {
		for action, call := range calls {
			t.Run(name+" "+action, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					x := &region{action: action, spoil: spoil}
					s, err := session(t, x)
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
					defer cancel()
					if err := call(ctx, s, NewNode(s.Config, anIdentity(), "", host.Environment{}), ssmcoord.NewLedger(s.Config, "/emr-static-ip", "subnet-0a1")); err != nil {
						t.Errorf("%v: %v", x.calls, err)
					}
					if n := x.count(action); n != 2 {
						t.Errorf("%d attempts: %v", n, x.calls)
					}
					if looked := x.count("DescribeNetworkInterfaces") > 0; action == "AssignPrivateIpAddresses" && !looked {
						t.Errorf("the repeated assignment was not confirmed: %v", x.calls)
					}
				})
			})
		}
	}
}

// TestOddAnswers: what is not AWS's ends the call at once, and is said to be that.
func TestOddAnswers(t *testing.T) {
	messages := golden.Open(t, "odd-answers.txt")
	for _, tt := range []struct {
		name   string
		answer func(*http.Response) (*http.Response, error)
	}{
		{"sign in", refusing(200, "<html>Please sign in</html>")},
		{"plain text", refusing(200, "blocked")},
		{"denied by a proxy", refusing(403, "<html>\n<h1>Denied</h1>\n")},
		{"denied without words", refusing(403, "")},
		{"not found", refusing(404, "<!DOCTYPE html><html/>")},
		{"the proxy wants a password", refusing(407, "<html/>")},
		{"captive portal", refusing(511, "<html/>")},
		{"redirect", func(r *http.Response) (*http.Response, error) {
			r.StatusCode, r.Header = 307, http.Header{"Location": {"https://evil.example/x?y"}}
			return r, nil
		}},
		{"endless", func(r *http.Response) (*http.Response, error) {
			r.Body = io.NopCloser(io.LimitReader(endless{}, 1<<40))
			return r, nil
		}},
	} {
		for action, call := range calls {
			if action == "AssignPrivateIpAddresses" {
				continue // it had its effect, and that is found by looking
			}
			if tt.name == "endless" && action != "GetParameters" && action != "DescribeInstances" {
				continue // each reads 64 MiB
			}
			t.Run(tt.name+" "+action, func(t *testing.T) {
				x := &region{action: action, spoil: tt.answer}
				s, err := session(t, x)
				if err != nil {
					t.Fatal(err)
				}
				err = call(t.Context(), s, NewNode(s.Config, anIdentity(), "", host.Environment{}), ssmcoord.NewLedger(s.Config, "/emr-static-ip", "subnet-0a1"))
				err = Plain(ExplainAt(err, iam.Place{Region: "us-east-1", Prefix: "/emr-static-ip"}))
				if exit.CodeOf(err) != exit.Unreachable || x.count(action) != 1 {
					t.Errorf("code %d after %v: %v", exit.CodeOf(err), x.calls, err)
				}
				if action == "DescribeInstances" || action == "GetParameters" { // one action of each service
					messages.Is(t, tt.name+", "+action, told(err))
				}
			})
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	return len(p), nil
}

// TestBoundedOverHTTP: a small body that becomes a large one, and redirects, over real connections.
func TestBoundedOverHTTP(t *testing.T) {
	followed := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			followed = true
		}
		switch r.Header.Get("X-Amz-Target") {
		case "AmazonSSM.GetParameters":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.CopyN(z, endless{}, maxAnswer+4096)
			_ = z.Close()
		default:
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	s, err := session(t, nil, "AWS_ENDPOINT_URL="+server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ledger := ssmcoord.NewLedger(s.Config, "/emr-static-ip", "subnet-0a1")
	odd := (*oddAnswerError)(nil)
	texts := golden.Open(t, "bounded-answers.txt")
	_, err = ledger.Read(t.Context(), []netip.Addr{netip.MustParseAddr("10.0.1.21")})
	if !errors.As(err, &odd) {
		t.Fatalf("gzip: %v", err)
	}
	texts.Is(t, "gzip", steady(Plain(err).Error()))
	_, err = ec2.NewFromConfig(s.Config).DescribeInstances(t.Context(), nil)
	if !errors.As(err, &odd) {
		t.Fatalf("redirect: %v", err)
	}
	texts.Is(t, "redirect", steady(Plain(err).Error()))
	if followed {
		t.Error("the redirect was followed")
	}
}

// trickle is a body without an end, of which a byte comes each second, until the request ends.
type trickle struct{ request context.Context }

func (r trickle) Read(p []byte) (int, error) {
	select {
	case <-r.request.Done():
		return 0, r.request.Err()
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	}
}

func (trickle) Close() error { return nil }

// always spoils each answer, and not only the first one.
type always struct {
	*region
	spoil func(*http.Response) (*http.Response, error)
}

func (x always) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := x.region.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	return x.spoil(answer)
}

// TestAnswerWithoutEnd: an endpoint whose answers begin and do not end has answered. The error does
// not call it silent, however long it is asked.
func TestAnswerWithoutEnd(t *testing.T) {
	messages := golden.Open(t, "answers-without-end.txt")
	for _, limit := range []time.Duration{15 * time.Second, time.Minute, 20 * time.Minute} {
		for _, action := range []string{"GetParameters", "DescribeInstances"} {
			name := action + ", " + limit.String()
			t.Run(name, func(t *testing.T) {
				env := variablesFor(t, always{&region{}, func(r *http.Response) (*http.Response, error) {
					r.Body, r.ContentLength = trickle{r.Request.Context()}, -1
					return r, nil
				}})
				synctest.Test(t, func(t *testing.T) {
					s, err := Load(t.Context(), env, "us-east-1")
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("--timeout %s ran out: %w", limit, context.DeadlineExceeded))
					defer cancel()
					err = calls[action](ctx, s, NewNode(s.Config, anIdentity(), "", host.Environment{}), ssmcoord.NewLedger(s.Config, "/emr-static-ip", "subnet-0a1"))
					messages.Is(t, name, told(s.Explain(ctx, err, iam.Place{Region: "us-east-1", Prefix: "/emr-static-ip"})))
				})
			})
		}
	}
}
