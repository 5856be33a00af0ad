package simulation

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// request is a request to AWS or IMDS whose body can be read again.
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

// actions are the actions that an agent calls. Their order decides about the order of concurrent
// calls.
var actions = []string{
	"DescribeInstances", "DescribeNetworkInterfaces", "DescribeTags", "DescribePrefixLists", "DescribeInstanceTypes",
	"GetParameters", "GetParametersByPath",
	"AssignPrivateIpAddresses", "UnassignPrivateIpAddresses", "CreateTags", "DeleteTags", "PutParameter", "DeleteParameter",
}

// metadata are the last names of the paths of IMDS for which an agent asks. Their order decides
// about the order of concurrent requests.
var metadata = []string{
	"instance-id", "instance-type", "region", "mac", "local-ipv4", "interface-id", "subnet-id", "subnet-ipv4-cidr-block",
	"vpc-ipv4-cidr-blocks", "local-ipv4s", "public-ipv4s", "vpc-id", "token",
}

// stagger returns a delay for a request, so that no two requests of a process begin at the same
// instant. Events at the same instant have no order, and the seed could not be replayed. The delay
// differs from action to action and from path to path of IMDS, and nearly always between two
// requests of one action. It is shorter than the time between two instants at which an instance's
// calls may take effect.
func (r *request) stagger() time.Duration {
	const each = 256 // nanoseconds for one action or path
	place := slices.Index(actions, r.action)
	if r.action == "" {
		place = slices.Index(metadata, path.Base(r.URL.Path))
	}
	what := hash(r.URL.Path) ^ hash(string(r.body))
	return time.Duration(1 + (1+place)*each + int(what%each))
}

// staggered is the connection to AWS of a program that no test kills.
type staggered struct{ http.RoundTripper }

func (s staggered) RoundTrip(req *http.Request) (*http.Response, error) {
	r, err := readRequest(req)
	if err != nil {
		return nil, err
	}
	time.Sleep(r.stagger())
	return s.RoundTripper.RoundTrip(r.Request)
}

// mutates reports whether a request may change something. The checks run only after such requests.
func (r *request) mutates() bool {
	return r.Method == http.MethodPost && !strings.HasPrefix(r.action, "Get") && !strings.HasPrefix(r.action, "Describe")
}
