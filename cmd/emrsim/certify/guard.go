package certify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// guard stands between the SDK and the judge. It records each call, and refuses those that would
// change anything but what the run has made. Nothing but the steps' own mistakes can meet it.
type guard struct {
	next http.RoundTripper
	side *side
	// cleaning lets interfaces be deleted that other runs have made: see side.Cleanup.
	cleaning map[string]bool
	all      bool            // parameters of any run below the prefix may be deleted
	written  map[string]bool // parameters that calls may have written

	mu      sync.Mutex
	count   int
	changed bool // a call was sent that may have made something
	unsure  bool // an interface may have been made whose id is not known: there was no answer
	calls   []Call
}

// maxAnswer bounds the body of an answer.
const maxAnswer = 4 << 20

// errGuard is the reason of a refusal.
type errGuard struct{ reason string }

func (e errGuard) Error() string {
	return "emrsim certify does not make this call: " + e.reason + " (a bug: please report it)"
}

// RoundTrip makes a call, if it may be made.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(req.Body, maxAnswer))
		req.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	call, params, err := readCall(req, body)
	if err != nil {
		return nil, errGuard{err.Error()}
	}
	g.mu.Lock()
	g.count++
	n := g.count
	g.mu.Unlock()
	if n > maxCalls && !isRemoval(call) {
		return nil, errGuard{fmt.Sprintf("a run has at most %d calls", maxCalls)}
	}
	if err := g.allow(call, params); err != nil {
		return nil, errGuard{err.Error()}
	}
	if !isRead(call) {
		g.mu.Lock()
		g.changed = true
		g.mu.Unlock()
	}
	again := req.Clone(req.Context())
	again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	began := time.Now()
	res, err := g.next.RoundTrip(again)
	c := Call{Action: call}
	if err == nil {
		var answer []byte
		answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(answer))
		c.Status = res.StatusCode
		if !g.side.unrecorded {
			c.Request, c.Answer = g.side.words.in(params.text()), g.side.words.in(string(answer))
		}
		if call == "ec2:CreateNetworkInterface" {
			g.side.noteCreated(answer)
		}
	}
	if err != nil {
		c.Request, c.Answer = g.side.words.in(params.text()), "no answer"
	}
	if call == "ec2:CreateNetworkInterface" && (err != nil || c.Status >= 500) { // it may have had its effect
		g.mu.Lock()
		g.unsure = true
		g.mu.Unlock()
	}
	if call == "ssm:PutParameter" && (err != nil || c.Status < 300 || c.Status >= 500) { // it may have had its effect
		g.mu.Lock()
		g.written[params.get("Name")] = true
		g.mu.Unlock()
	}
	c.Seconds = milliseconds(time.Since(began))
	g.mu.Lock()
	g.calls = append(g.calls, c)
	g.mu.Unlock()
	return res, err
}

func (g *guard) close() {
	if t, ok := g.next.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// params are the parameters of a call: of the EC2 form, or of the JSON object of Parameter Store.
type params struct {
	form url.Values
	body []byte
	json map[string]json.RawMessage
}

// text returns the parameters in a fixed order.
func (p params) text() string {
	if p.form == nil {
		return string(p.body)
	}
	var list []string
	for name, values := range p.form {
		list = append(list, name+"="+strings.Join(values, ","))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func (p params) get(name string) string {
	if p.form != nil {
		return p.form.Get(name)
	}
	var s string
	_ = json.Unmarshal(p.json[name], &s)
	return s
}

// list returns the values of a list.
func (p params) list(name string) (all []string) {
	if p.form == nil {
		_ = json.Unmarshal(p.json[name], &all)
		return all
	}
	for n := 1; p.form.Has(fmt.Sprintf("%s.%d", name, n)); n++ {
		all = append(all, p.form.Get(fmt.Sprintf("%s.%d", name, n)))
	}
	return all
}

// readCall returns a call as an IAM policy names it.
func readCall(req *http.Request, body []byte) (string, params, error) {
	if target, ok := strings.CutPrefix(req.Header.Get("X-Amz-Target"), "AmazonSSM."); ok {
		p := params{body: body}
		if err := json.Unmarshal(body, &p.json); err != nil {
			return "", p, errors.New("its body is not JSON")
		}
		return "ssm:" + target, p, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("Action") == "" {
		return "", params{}, errors.New("it is no call of EC2 or Parameter Store")
	}
	action := form.Get("Action")
	form.Del("Action")
	form.Del("Version")
	return "ec2:" + action, params{form: form}, nil
}

func isRemoval(call string) bool {
	return slices.Contains([]string{"ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces", "ssm:DeleteParameters", "ssm:GetParametersByPath"}, call)
}

func isRead(call string) bool {
	_, action, _ := strings.Cut(call, ":")
	return strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "Get")
}

// Names that nothing has.
const (
	noInterface = "eni-0123456789abcdef0"
	noInstance  = "i-0123456789abcdef0"
	noSubnet    = "subnet-0123456789abcdef0"
)

// allow returns an error if the call would change what is not the run's own.
func (g *guard) allow(call string, p params) error {
	s := g.side
	service, action, _ := strings.Cut(call, ":")
	switch {
	case isRead(call):
		return nil
	case call == "ec2:CreateNetworkInterface":
		if p.get("SubnetId") != s.Subnet || p.get("TagSpecification.1.Tag.1.Key") != Tag || p.get("TagSpecification.1.Tag.1.Value") != s.Run {
			return errors.New("it makes an interface elsewhere, or without the tag")
		}
		return nil
	case call == "ec2:DeleteNetworkInterface":
		if id := p.get("NetworkInterfaceId"); !s.owns(id) && !g.cleaning[id] {
			return fmt.Errorf("%s is not of this run", id)
		}
		return nil
	case call == "ec2:AssignPrivateIpAddresses" || call == "ec2:UnassignPrivateIpAddresses":
		id := p.get("NetworkInterfaceId")
		if !s.owns(id) && id != noInterface {
			return fmt.Errorf("%s is not of this run", id)
		}
		if p.get("AllowReassignment") == "true" {
			return s.mayMove(p.list("PrivateIpAddress"))
		}
		return nil
	case call == "ec2:CreateTags" || call == "ec2:DeleteTags":
		for _, id := range p.list("ResourceId") {
			if !s.owns(id) && id != noInstance {
				return fmt.Errorf("%s is not of this run", id)
			}
		}
		return nil
	case service == "ssm":
		return g.allowNames(action, p)
	}
	return fmt.Errorf("%s is none of its calls", call)
}

// allowNames checks the names of parameters that a call changes.
func (g *guard) allowNames(action string, p params) error {
	if !slices.Contains([]string{"PutParameter", "DeleteParameter", "DeleteParameters", "AddTagsToResource"}, action) {
		return fmt.Errorf("%s is none of its calls", action)
	}
	names := append(p.list("Names"), p.get("Name"))
	if action == "AddTagsToResource" {
		names = append(names, p.get("ResourceId"))
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "" })
	if len(names) == 0 {
		return errors.New("it names no parameter")
	}
	for _, n := range names {
		own := strings.HasPrefix("/"+strings.TrimPrefix(n, "/"), g.side.root()+"/")
		others := g.all && strings.HasPrefix(action, "Delete") && strings.HasPrefix(n, g.side.Prefix+"/"+rootStart)
		refused := g.side.Emulator && slices.Contains(outsideNames, n) && (action == "PutParameter" || action == "DeleteParameters" && g.written[n])
		if !own && !others && !refused {
			return fmt.Errorf("the parameter %s is not of this run", n)
		}
	}
	return nil
}

func (s *side) owns(id string) bool {
	s.guard.mu.Lock()
	defer s.guard.mu.Unlock()
	return s.made[id]
}

// mayMove returns an error unless the judge has given the addresses to the run's own interfaces, so
// that nobody else can lose them.
func (s *side) mayMove(addresses []string) error {
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		if err != nil || !s.holds[a] && a != s.place.primary[0] {
			return fmt.Errorf("the address %s may be somebody else's", text)
		}
	}
	return nil
}
