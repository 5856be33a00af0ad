package simulation

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// request is a request to AWS or IMDS whose body has been read, and can be read again.
type request struct {
	*http.Request
	body   []byte
	action string // as in the API; empty for IMDS
}

func readRequest(req *http.Request) (*request, error) {
	copied := *req
	r := &request{Request: &copied}
	if req.Body != nil {
		var err error
		if r.body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(r.body))
	}
	if _, action, ok := strings.Cut(req.Header.Get("X-Amz-Target"), "."); ok {
		r.action = action
	} else if form, err := url.ParseQuery(string(r.body)); err == nil {
		r.action = form.Get("Action")
	}
	return r, nil
}

// actions are those that an agent calls. The order decides which of two goes first that it calls at
// one time.
var actions = []string{
	"DescribeInstances", "DescribeNetworkInterfaces", "DescribeTags", "DescribePrefixLists", "DescribeInstanceTypes",
	"GetParameters", "GetParametersByPath",
	"AssignPrivateIpAddresses", "UnassignPrivateIpAddresses", "CreateTags", "DeleteTags", "PutParameter", "DeleteParameter",
}

// stagger is how long a request waits so that it does not begin at the same instant as another one of
// its process. What happens at one instant has no order, and the seed could not be replayed. The wait
// differs from action to action, and nearly always between two requests of one action. It is shorter
// than the time between two instants at which an instance's calls may take effect.
func (r *request) stagger() time.Duration {
	const each = 256 // nanoseconds for one action
	what := hash(r.URL.Path) ^ hash(string(r.body))
	if r.action == "" {
		return time.Duration(1 + what%4000)
	}
	return time.Duration(1 + (1+slices.Index(actions, r.action))*each + int(what%each))
}

// staggered is the way to AWS of a program that no test kills.
type staggered struct{ http.RoundTripper }

func (s staggered) RoundTrip(req *http.Request) (*http.Response, error) {
	r, err := readRequest(req)
	if err != nil {
		return nil, err
	}
	time.Sleep(r.stagger())
	return s.RoundTripper.RoundTrip(r.Request)
}

// mutates tells whether a request may change anything, so that only then everything is checked.
func (r *request) mutates() bool {
	return r.Method == http.MethodPost && !strings.HasPrefix(r.action, "Get") && !strings.HasPrefix(r.action, "Describe")
}
