package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// endpointWait bounds each step of reaching an endpoint.
const endpointWait = ec2.DialTimeout

// endpoint is one service's API as the SDK would call it from here.
type endpoint struct {
	service string
	url     *url.URL
	proxy   *url.URL // nil: none
	private bool     // it resolves to private addresses: a VPC endpoint with private DNS
	vpce    string   // name of the VPC endpoint that makes it reachable without NAT
	kind    string   // and what kind of one
}

// reach is the result of trying to reach an endpoint.
type reach struct {
	findings []Finding
	answered bool
	ahead    time.Duration // AWS's clock
	dated    bool
}

// endpoints examines the endpoints of ssm and ec2, which a run needs, and of s3, from which EMR
// loads. It takes AWS's clock from their answers.
func (d *examination) endpoints(ctx context.Context) []Finding {
	if d.session.AWS == nil {
		const why = "the region is not known, or the AWS configuration cannot be loaded: see credentials"
		return []Finding{unknown("dns", "ssm", "", why), unknown("dns", "ec2", "", why)}
	}
	services := []string{"ssm", "ec2", "s3"}
	results := make([]reach, len(services))
	var all sync.WaitGroup
	for i, service := range services {
		all.Go(func() {
			e, err := d.endpoint(ctx, service)
			if err != nil {
				results[i].findings = []Finding{of(exit.With(exit.Usage, err, "check AWS_REGION, AWS_ENDPOINT_URL and the like"), "dns", service)}
				return
			}
			results[i] = d.reach(ctx, e)
		})
	}
	all.Wait()
	findings := d.proxyFindings()
	clock := reach{}
	for i, r := range results {
		d.reached[services[i]] = r.answered
		if services[i] == "s3" { // for information
			for j := range r.findings {
				if r.findings[j].Result == resultFailed {
					r.findings[j].Result, r.findings[j].ExitCode = resultWarning, 0
				}
			}
		}
		if r.dated && (services[i] != "s3" || !clock.dated) {
			clock = r
		}
		findings = append(findings, r.findings...)
	}
	return append(findings, clockFinding(clock.ahead, clock.dated))
}

// reach looks the endpoint's name up, connects to each address, and sends a request with the SDK's
// own HTTP client, which shows faults of TLS and proxies.
func (d *examination) reach(ctx context.Context, e endpoint) (r reach) {
	addrs, f := d.lookEndpointUp(ctx, &e)
	r.findings = append(r.findings, f)
	if f.Result == resultFailed {
		return r
	}
	f = d.connectEndpoint(ctx, e, addrs)
	r.findings = append(r.findings, f)
	if f.Result == resultFailed {
		return r
	}
	f = d.knockEndpoint(ctx, e, &r)
	r.findings = append(r.findings, f)
	return r
}

func (d *examination) lookEndpointUp(ctx context.Context, e *endpoint) ([]netip.Addr, Finding) {
	name, _ := e.target()
	if a, err := netip.ParseAddr(name); err == nil {
		e.private = a.IsPrivate()
		return []netip.Addr{a}, fine("dns", e.service, "not needed: %s names an address", e.connected())
	}
	began := time.Now()
	addrs, err := d.env.LookupHost(ctx, name)
	took := time.Since(began)
	if err != nil {
		dns := (*net.DNSError)(nil)
		if errors.As(err, &dns) && dns.IsNotFound {
			return nil, failed(exit.Unreachable, "dns", e.service,
				"is the region right (AWS_REGION, AWS_ENDPOINT_URL)? The VPC needs enableDnsSupport, and enableDnsHostnames for the private name of the VPC endpoint "+e.vpce,
				"%s is not found: %v", e.via(), err).took(took)
		}
		if dns != nil && !dns.IsTimeout {
			return nil, failed(exit.Unreachable, "dns", e.service,
				"a DNS server answers that it fails: look at the servers in /etc/resolv.conf (the VPC's DHCP options) and at what they forward to", "looking up %s: %v", e.via(), err).took(took)
		}
		return nil, failed(exit.Unreachable, "dns", e.service,
			"no DNS server answers: look at /etc/resolv.conf, at the VPC's DHCP options and enableDnsSupport, and at network ACLs for port 53", "looking up %s: %v", e.via(), err).took(took)
	}
	var list []netip.Addr
	var texts []string
	e.private = len(addrs) > 0
	for _, a := range addrs {
		a = a.Unmap()
		if !slices.Contains(list, a) && len(list) < 8 {
			list, texts = append(list, a), append(texts, a.String())
			e.private = e.private && (a.IsPrivate() || slices.ContainsFunc(d.facts.ID.VPC, func(p netip.Prefix) bool { return p.Contains(a) }))
		}
	}
	what := "public: reached by NAT or an Internet gateway, not by an interface endpoint"
	switch {
	case e.proxy != nil:
		what = "the proxy"
	case e.private:
		what = "private: a VPC endpoint"
	case e.service == "s3":
		what = "public, as it is for a gateway endpoint too"
	}
	if took >= host.LookupSlow {
		return list, warning("dns", e.service, "look at the DNS servers in /etc/resolv.conf (the VPC's DHCP options): one of the first does not answer, and each look-up waits for it",
			"%s is %s (%s), but only after %d ms", name, strings.Join(texts, ", "), what, took.Milliseconds()).took(took)
	}
	return list, fine("dns", e.service, "%s is %s (%s), answered in %d ms", name, strings.Join(texts, ", "), what, took.Milliseconds()).took(took)
}

// connectEndpoint connects to every address. A VPC endpoint has interfaces in several zones, and
// one of them may be out of order.
func (d *examination) connectEndpoint(ctx context.Context, e endpoint, addrs []netip.Addr) Finding {
	_, value := e.target()
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return of(exit.With(exit.Usage, fmt.Errorf("the endpoint %s has the port %s", e.via(), text.Quote(value)), "check AWS_ENDPOINT_URL and the proxy settings"), "tcp", e.service)
	}
	errs := make([]error, len(addrs))
	took := make([]time.Duration, len(addrs))
	var all sync.WaitGroup
	for i, a := range addrs {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, endpointWait)
			defer cancel()
			began := time.Now()
			c, err := d.env.DialTCP(ctx, netip.Addr{}, netip.AddrPortFrom(a, uint16(port)))
			if errs[i], took[i] = err, time.Since(began); err == nil {
				c.Close()
			}
		})
	}
	all.Wait()
	var good, bad []string
	var first error
	var cut netip.Addr // by whose rules the packets leave
	for i, a := range addrs {
		at := netip.AddrPortFrom(a, uint16(port)).String()
		if errs[i] == nil {
			good = append(good, fmt.Sprintf("%s in %d ms", at, took[i].Milliseconds()))
			continue
		}
		if first == nil || a.Is4() { // a node without IPv6 has no route to the other kind
			first = errs[i]
		}
		bad = append(bad, at+": "+failureText(errs[i]))
		if d.rerouted(a) {
			cut = d.last.Static
		}
	}
	remedy := d.connectRemedy(e, first)
	if cut.IsValid() && verify.FailureOf(first) == verify.FailureTimeout {
		remedy = fmt.Sprintf("the rules in the kernel give packets to it the static IP %s, which may lead nowhere. If other nodes reach it: emr-static-ip release takes the rules out; "+
			"then run again with --only-cidr or --exclude-cidr. If not: %s", cut, remedy)
	}
	switch {
	case len(good) == 0:
		return failed(exit.Unreachable, "tcp", e.service, remedy, "%s", strings.Join(bad, "; ")).took(slices.Max(append(took, 0)))
	case len(bad) > 0:
		return warning("tcp", e.service, remedy, "%s; but %s", strings.Join(good, ", "), strings.Join(bad, "; "))
	}
	return fine("tcp", e.service, "connected to %s", strings.Join(good, ", ")).took(slices.Max(took))
}

// rerouted reports whether the rules that the last run left give connections to the address the
// static IP as their source.
func (d *examination) rerouted(to netip.Addr) bool {
	if !d.hasState || !d.last.Static.IsValid() || d.last.Phase != state.Attached && d.last.Phase != state.Programmed || !to.Is4() {
		return false
	}
	return d.facts.Wanted(d.last.Settings, d.last.Static, nil).Translates(to)
}

func failureText(err error) string {
	switch verify.FailureOf(err) {
	case verify.FailureTimeout:
		return "no answer"
	case verify.FailureRefused:
		return "refused"
	}
	return verify.Cause(err)
}

// connectRemedy returns what to do if no connection to an endpoint can be made.
func (d *examination) connectRemedy(e endpoint, err error) string {
	_, port := e.target()
	nodes := "the nodes"
	if d.known {
		nodes = fmt.Sprintf("the nodes (their security group, or %s)", d.facts.ID.Subnet)
	}
	switch kind := verify.FailureOf(err); {
	case e.proxy != nil:
		return "look at the proxy, at the way to it, and at HTTPS_PROXY; name hosts to be reached directly in NO_PROXY"
	case kind == verify.FailureTimeout && e.private:
		return fmt.Sprintf("packets vanish on the way: the security group of the VPC endpoint %s must admit TCP %s from %s; then the network ACLs of both subnets", e.vpce, port, nodes)
	case kind == verify.FailureTimeout && e.kind[0] == 'g':
		return fmt.Sprintf("create the VPC endpoint %s (%s), or give the subnet a route to a NAT gateway", e.vpce, e.kind)
	case kind == verify.FailureTimeout:
		return fmt.Sprintf("the name leads to public addresses, and the subnet has no way out: create the VPC endpoint %s (%s; its security group must admit TCP %s from %s), or give the subnet a route to a NAT gateway. "+
			"Where that endpoint exists, its private DNS is off, or this VPC's enableDnsHostnames is", e.vpce, e.kind, port, nodes)
	case kind == verify.FailureRefused:
		return "something is there and refuses: is AWS_ENDPOINT_URL right? Does a rule reject (iptables -S OUTPUT, a firewall on the way)?"
	case kind == verify.FailureRoute:
		return fmt.Sprintf("there is no route: look at ip route and at the subnet's route table; without NAT, create the VPC endpoint %s (%s)", e.vpce, e.kind)
	}
	return "look at the node's own filter rules (iptables -S OUTPUT, nft list ruleset)"
}
