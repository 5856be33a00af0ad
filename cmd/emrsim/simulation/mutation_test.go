package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// TestMutationsAreFound shows that the simulation can fail. Each mutation breaks one thing that the
// protocol depends on. A check must find it within 1000 launches, and must find nothing in the same
// launch without the mutation.
func TestMutationsAreFound(t *testing.T) {
	const within = 1000
	for _, m := range []struct {
		name     string
		mutation Mutation
		sign     string // part of the expected violation
	}{
		{"EC2 gives one address to two interfaces", Mutation{Cloud: func(o *cloud.Options) { o.NoArbiter = true }}, "is in use by"},
		{"the record is written before the assignment", Mutation{Network: recordFirst}, "writes the record of"},
		{"the record is deleted after the assignment is given back", Mutation{Network: recordLast}, "and its record"},
		{"a stale answer is believed", Mutation{Network: believing}, "programs"},
	} {
		t.Run(m.name, func(t *testing.T) {
			for s := uint64(1); s <= within; s++ {
				broken, _ := launchOnce(t, s, m.mutation, nil)
				for _, v := range broken {
					if !strings.Contains(v, m.sign) {
						continue
					}
					t.Logf("found with seed %d: %s", s, v)
					if whole, _ := launchOnce(t, s, Mutation{}, nil); len(whole) > 0 {
						t.Errorf("violations without the mutation: %q", whole)
					}
					return
				}
			}
			t.Errorf("not found within %d seeds", within)
		})
	}
}

// exchange is a node's connection to AWS that changes requests or responses.
type exchange func(*request) (*http.Response, error)

func (e exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	r, err := readRequest(req)
	if err != nil {
		return nil, err
	}
	return e(r)
}

// address returns the address in a request to EC2 or Parameter Store.
func (r *request) address() netip.Addr {
	form, _ := url.ParseQuery(string(r.body))
	text := form.Get("PrivateIpAddress.1")
	if in := (struct{ Name string }{}); text == "" && json.Unmarshal(r.body, &in) == nil {
		text = in.Name[strings.LastIndex(in.Name, "/")+1:]
	}
	a, _ := netip.ParseAddr(text)
	return a
}

// answer returns a response that does not come from a service.
func (r *request) answer(contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r.Request,
		Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// recordFirst makes each node write the record of an address right before it asks EC2 for the
// address.
func recordFirst(w *World) func(string) http.RoundTripper {
	return func(id string) http.RoundTripper {
		return exchange(func(r *request) (*http.Response, error) {
			if n := w.node(id); r.action == "AssignPrivateIpAddresses" && n != nil {
				n.put(r.Context(), r.address())
			}
			return w.Cloud.Transport(id).RoundTrip(r.Request)
		})
	}
}

// put writes the node's record of an address with the node's credentials. It ignores errors, which
// do not matter to the mutation.
func (n *Node) put(ctx context.Context, a netip.Addr) {
	creds := n.world.Cloud.Credentials(n.InstanceID)
	client := ssm.New(ssm.Options{
		Region: "us-east-1", HTTPClient: &http.Client{Transport: n.world.Cloud.Transport(n.InstanceID)}, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil }),
	})
	value, _ := json.Marshal(ssmcoord.Record{
		Version: recordVersion, Instance: n.InstanceID, ENI: n.ENI, Cluster: n.ClusterID, Role: n.Role, Time: time.Now().UTC().Truncate(time.Second),
	})
	_, _ = client.PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String(Parameter(agent.DefaultPrefix, n.SubnetID, a)), Value: aws.String(string(value)), Type: "String", Overwrite: aws.Bool(true),
	})
}

// recordLast delays the deletion of a record until the node has given the address back.
func recordLast(w *World) func(string) http.RoundTripper {
	type key struct {
		node string
		addr netip.Addr
	}
	var mu sync.Mutex
	held := map[key]*request{}
	return func(id string) http.RoundTripper {
		forward := w.Cloud.Transport(id).RoundTrip
		return exchange(func(r *request) (*http.Response, error) {
			k := key{id, r.address()}
			mu.Lock()
			deletion := held[k]
			switch r.action {
			case "DeleteParameter":
				held[k] = r
			case "UnassignPrivateIpAddresses":
				delete(held, k)
			}
			mu.Unlock()
			switch {
			case r.action == "DeleteParameter":
				return r.answer("application/x-amz-json-1.1", "{}"), nil
			case r.action != "UnassignPrivateIpAddresses" || deletion == nil:
				return forward(r.Request)
			}
			resp, err := forward(r.Request)
			if late, err := forward(deletion.WithContext(r.Context())); err == nil {
				late.Body.Close()
			}
			return resp, err
		})
	}
}

// believing turns EC2's refusal of an address into a success if an earlier describe call of that
// node did not show a holder.
func believing(w *World) func(string) http.RoundTripper {
	var mu sync.Mutex
	looked := map[string][]string{} // responses of describe calls, by node
	return func(id string) http.RoundTripper {
		forward := w.Cloud.Transport(id).RoundTrip
		return exchange(func(r *request) (*http.Response, error) {
			resp, err := forward(r.Request)
			look := strings.HasPrefix(r.action, "Describe")
			if err != nil || !look && r.action != "AssignPrivateIpAddresses" {
				return resp, err
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				return nil, err
			}
			resp.Body = io.NopCloser(bytes.NewReader(body))
			mu.Lock()
			defer mu.Unlock()
			if look {
				looked[id] = append(looked[id], string(body))
				return resp, nil
			}
			a := r.address().String()
			if !bytes.Contains(body, []byte("move is not allowed")) {
				return resp, nil
			}
			for _, shown := range looked[id] {
				if !strings.Contains(shown, ">"+a+"<") {
					return r.answer("text/xml;charset=UTF-8", `<AssignPrivateIpAddressesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>0</requestId>`+
						`<assignedPrivateIpAddressesSet><item><privateIpAddress>`+a+`</privateIpAddress></item></assignedPrivateIpAddressesSet><return>true</return>`+
						`</AssignPrivateIpAddressesResponse>`), nil
				}
			}
			return resp, nil
		})
	}
}
