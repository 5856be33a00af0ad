package ec2

import (
	"context"
	"errors"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
)

// silence is a transport on which no call is ever answered.
type silence struct {
	each time.Duration // how long a call takes to fail
	n    int
}

func (s *silence) RoundTrip(r *http.Request) (*http.Response, error) {
	s.n++
	select {
	case <-time.After(s.each):
		return nil, syscall.ECONNRESET
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// An endpoint that never answers is given up after 90 s. Calls that hang are few in that time, and
// a few are no proof: seed 4953515864880588702 of the simulation drew seven failures in 95 s.
func TestSilentEndpoint(t *testing.T) {
	for name, c := range map[string]struct {
		each        time.Duration
		least, most time.Duration
	}{
		"no way there":     {DialTimeout, 90 * time.Second, 110 * time.Second},
		"calls that hang":  {time.Hour, 9 * attemptTimeout, 12 * attemptTimeout},
		"refused at once":  {0, 90 * time.Second, 100 * time.Second},
		"cut off in a sec": {time.Second, 90 * time.Second, 100 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := &silence{each: c.each}
				env := host.Environment{HTTP: transport, Root: t.TempDir()}
				t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
				t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
				t.Setenv("AWS_CA_BUNDLE", "")
				s, err := Load(t.Context(), env, "us-east-1")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				began, param := time.Now(), "/x"
				_, err = ssm.NewFromConfig(s.Config).GetParameter(ctx, &ssm.GetParameterInput{Name: &param})
				if u := (*UnreachableError)(nil); !errors.As(err, &u) || u.Service != "ssm" {
					t.Fatalf("after %d calls in %s: %v", transport.n, time.Since(began), err)
				}
				if took := time.Since(began); took < c.least || took > c.most || transport.n < unreachableCalls {
					t.Errorf("given up after %d calls in %s", transport.n, took)
				}
			})
		})
	}
}
