package ec2

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Explain gives an error of work with this session its exit code, its remedy and a plain text. If
// the work was cut short because its time was over, the error names the calls that were tried in
// vain. The debug log gets the whole error.
func (s *Session) Explain(ctx context.Context, err error, at iam.Place) error {
	if err == nil {
		return nil
	}
	s.Tally.log.Debug("the error in full", zap.Error(err))
	if !exit.HasCode(err) && (errors.Is(context.Cause(ctx), context.DeadlineExceeded) || errors.Is(err, ssmcoord.ErrOutOfTime)) {
		return Plain(s.Tally.Overdue(err, at))
	}
	return Plain(ExplainAt(err, at))
}

// ExplainAt gives an error of a call to AWS its exit code and its remedy.
func ExplainAt(err error, at iam.Place) error {
	if err == nil || exit.HasCode(err) {
		return err
	}
	if clock := ClockError(err, time.Now()); clock != nil {
		return clock
	}
	if denied := (*ssmcoord.OverwriteError)(nil); errors.As(err, &denied) {
		return exit.With(exit.Permission, err, "run emr-static-ip on the node that has the address: it deletes the record and creates it; "+
			"or let the policy demand tags only where ssm:Overwrite is not true")
	}
	if IsPermission(err) {
		// The statement stands at the end of a remedy, so that it can be copied.
		return &exit.Error{Code: exit.Permission, Remedy: PermissionRemedy(err, at), Err: &exit.Error{Code: exit.Permission, Remedy: InForceRemedy(err), Err: err}}
	}
	if c := (*CutOffError)(nil); errors.As(err, &c) {
		return exit.With(exit.Unreachable, err, fmt.Sprintf("name the networks that need the static IP with --only-cidr; or exclude the endpoint's network with --exclude-cidr; "+
			"or, if the endpoint is outside the VPC, create the VPC endpoint %s", EndpointService(at.Region, c.Service)))
	}
	if tag := (*ssmcoord.TagError)(nil); errors.As(err, &tag) {
		return exit.With(exit.Usage, err, tagRemedy(tag))
	}
	service := innermostService(err, "")
	if remedy := pathRemedy(err, service); remedy != "" {
		return exit.With(exit.Unreachable, err, remedy)
	}
	u, broken := (*UnreachableError)(nil), (*brokenAnswerError)(nil)
	if errors.As(err, &u) {
		return exit.With(exit.Unreachable, err, unreachableRemedy(err, at.Region, u.Service))
	}
	if service != "" && IsNetwork(err) {
		return exit.With(exit.Unreachable, err, unreachableRemedy(err, at.Region, service))
	}
	if errors.As(err, &broken) {
		return exit.With(exit.Unreachable, err, "check what is between the node and AWS: a proxy (HTTPS_PROXY) or an appliance that cuts connections, the MTU on the way (ping -M do -s 1472)")
	}
	code := ErrorCode(err)
	if isCredentialError(code) {
		return exit.With(exit.Permission, err, "AWS does not accept these credentials: look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and ~/.aws/credentials; "+
			"an instance without these uses its profile")
	}
	if v, ok := definiteRefusals[code]; ok {
		return exit.With(v.code, err, v.remedy)
	}
	if IsThrottle(err) || statusOf(err) >= http.StatusInternalServerError {
		return exit.With(exit.Deadline, err, "AWS kept failing; run again")
	}
	if status := statusOf(err); code != "" && status >= http.StatusBadRequest && !mayPass(status) {
		return exit.With(exit.Internal, err, "AWS refuses this call, and will refuse it again, with a code that this program does not know: look "+text.Clean(code, text.MaxQuoted)+
			" up among the common errors and those of the action in AWS's API reference")
	}
	return err
}

// tagRemedy is what to do about tags that Parameter Store refuses.
func tagRemedy(err error) string {
	if ErrorCode(err) == "TooManyTagsError" {
		return "the record has other tags, and a parameter has 50 at most: remove some (aws ssm remove-tags-from-resource --resource-type Parameter), or name fewer with --claim-tag"
	}
	return "correct --claim-tag: look at the tag policies of the organization (aws organizations describe-effective-policy --policy-type TAG_POLICY) for the values that they admit"
}

// definiteRefusals are refusals that no repetition changes, by the code of the error, with who has
// to act and how.
var definiteRefusals = map[string]verdict{
	"ParameterLimitExceeded": {exit.Internal, "the account has as many parameters in this region as Parameter Store allows (10,000 of the standard tier): " +
		"remove some (emr-static-ip ledger gc removes records of nodes that are gone), or change the default tier to Advanced or Intelligent-Tiering (aws ssm update-service-setting)"},
	"HierarchyLevelLimitExceededException": {exit.Usage, "use a --prefix with fewer levels: Parameter Store allows 15 in all"},
	"ParameterMaxVersionLimitExceeded":     {exit.Internal, "the oldest version of the record has a label: remove it (aws ssm unlabel-parameter-version)"},
	"OperationNotPermitted":                {exit.Internal, "EC2 does not permit this for this network interface, whoever asks: is it managed by another service (aws ec2 describe-network-interfaces: RequesterManaged, Operator), or does its type not allow it?"},
	"Blocked":                              {exit.Internal, "AWS has blocked the account: the account's owner has to contact AWS Support"},
	"PendingVerification":                  {exit.Internal, "AWS is still verifying the account: the account's owner gets an e-mail, or has to contact AWS Support"},
	"OptInRequired":                        {exit.Internal, "the account is not signed up for this: is the region enabled for it (aws account list-regions)?"},
	"IncorrectState":                       {exit.Internal, "the network interface or the instance is in a state that does not allow this (aws ec2 describe-network-interfaces, describe-instances): run again when it is in-use and running"},
	"IncorrectInstanceState":               {exit.Internal, "the instance is in a state that does not allow this (aws ec2 describe-instances): run again when it is running"},
	"UnsupportedOperation":                 {exit.Internal, "EC2 does not support this for this instance or its subnet: see what it says"},
	"InvalidNetworkInterfaceID.NotFound":   {exit.Identity, "EC2 does not know this node's network interface: AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EC2 or endpoint_url in ~/.aws/config may lead to another region, or the credentials may be another account's (AWS_PROFILE, AWS_ACCESS_KEY_ID, role_arn)"},
	"InvalidInstanceID.NotFound":           {exit.Identity, "EC2 does not know this instance: AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EC2 or endpoint_url in ~/.aws/config may lead to another region, or the credentials may be another account's (AWS_PROFILE, AWS_ACCESS_KEY_ID, role_arn)"},
	"InvalidAction":                        {exit.Unreachable, "the server is not AWS's EC2: look at AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_EC2"},
	"UnknownOperationException":            {exit.Unreachable, "the server is not AWS's Parameter Store: look at AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_SSM"},
	"NotImplemented":                       {exit.Unreachable, "the server is not AWS: look at AWS_ENDPOINT_URL"},
}

// unreachableRemedy returns what to do about an endpoint that does not answer.
func unreachableRemedy(err error, region, service string) string {
	dns, op := (*net.DNSError)(nil), (*net.OpError)(nil)
	named := errors.As(err, &dns)
	proxied := errors.As(err, &op) && op.Op == "proxyconnect"
	own := ownEndpoint(err, region)
	if own != "" {
		own = fmt.Sprintf("the settings name the endpoint %s: check that a server listens there, or remove AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_%s and endpoint_url in ~/.aws/config. With AWS's own endpoint: ",
			text.Quote(own), strings.ToUpper(service))
	}
	vpce := fmt.Sprintf("VPC endpoint %s (interface, private DNS on)", EndpointService(region, service))
	switch {
	case proxied && named:
		return "the name of the proxy cannot be resolved: look at HTTPS_PROXY and HTTP_PROXY, and at the resolver of the node (/etc/resolv.conf, DHCP options); name hosts to be reached directly in NO_PROXY"
	case proxied:
		return "the proxy cannot be reached: look at HTTPS_PROXY and HTTP_PROXY, and at the way to it; name hosts to be reached directly in NO_PROXY"
	case named && (dns.IsTimeout || dns.IsTemporary):
		return "no name server answers for the name of the endpoint: look at /etc/resolv.conf, at the VPC's DHCP options and enableDnsSupport, and at network ACLs for port 53"
	case named:
		return own + fmt.Sprintf("the name of the endpoint (%s) cannot be resolved: in a subnet without NAT create the %s, with enableDnsSupport and enableDnsHostnames on in the VPC; "+
			"otherwise check the resolver of the node (/etc/resolv.conf, DHCP options)%s", text.Clean(dns.Name, text.MaxQuoted), vpce, modesOf(dns.Name))
	}
	return own + fmt.Sprintf("in a subnet without NAT create the %s whose security group admits TCP 443 from the nodes; otherwise check routes, network ACLs, DNS and HTTPS_PROXY", vpce)
}

// ownEndpoint returns the host of a failed request. It returns "" if the host is AWS's: the names
// of AWS's endpoints, and of VPC endpoints, contain the region.
func ownEndpoint(err error, region string) string {
	request := (*url.Error)(nil)
	if region == "" || !errors.As(err, &request) {
		return ""
	}
	u, parseErr := url.Parse(request.URL)
	if parseErr != nil || strings.Contains(u.Hostname(), "."+region+".") {
		return ""
	}
	return u.Host
}

// pathRemedy returns what to do about something between the node and an endpoint that persists: a
// certificate, a proxy that refuses, a page of a middlebox. It returns "" for any other error.
func pathRemedy(err error, service string) string {
	unknownCA, noRoots, wrongName := x509.UnknownAuthorityError{}, x509.SystemRootsError{}, x509.HostnameError{}
	invalid, plain, alert := x509.CertificateInvalidError{}, tls.RecordHeaderError{}, tls.AlertError(0)
	proxy, odd, broken, op := (*proxyError)(nil), (*oddAnswerError)(nil), (*brokenProxyError)(nil), (*net.OpError)(nil)
	unread := (*smithy.DeserializationError)(nil) // a document, but not AWS's
	switch {
	case errors.As(err, &broken):
		return host.ProxyRemedy
	case errors.As(err, &unknownCA), errors.As(err, &noRoots):
		return "an authority that this node does not know has signed the certificate: something on the way replaces AWS's (a proxy that inspects TLS), or the node has no CA certificates. " +
			"Name the file with the authority's certificate with AWS_CA_BUNDLE, or install ca-certificates"
	case errors.As(err, &wrongName):
		return "the certificate is another host's: look at AWS_ENDPOINT_URL (use a name that the certificate has), at the VPC's private DNS and at /etc/hosts"
	case errors.As(err, &invalid) && invalid.Reason != x509.Expired:
		return "the certificate is not valid for this: check which server answers instead of AWS (a proxy that inspects TLS), and AWS_CA_BUNDLE"
	case errors.As(err, &plain) && errors.As(err, &op) && op.Op == "proxyconnect":
		return "the proxy does not speak TLS: HTTPS_PROXY must begin with http://, even though the requests to AWS use HTTPS"
	case errors.As(err, &plain), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS: AWS_ENDPOINT_URL may have to begin with http://, or a proxy is in the way"
	case errors.As(err, &alert):
		return "the server refuses TLS: look at a proxy or an appliance on the way, and at AWS_ENDPOINT_URL"
	case errors.As(err, &proxy) && proxy.status == http.StatusProxyAuthRequired, errors.As(err, &odd) && odd.status == http.StatusProxyAuthRequired:
		return "the proxy requires a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT; name hosts to be reached directly in NO_PROXY"
	case errors.As(err, &proxy) && !mayPass(proxy.status):
		return fmt.Sprintf("have the proxy admit CONNECT to %s, or name that host in NO_PROXY where a VPC endpoint leads to it (HTTPS_PROXY is set)", proxy.target)
	case errors.As(err, &odd) && !mayPass(odd.status), isNoHTTP(err), errors.As(err, &unread) && statusOf(err) == http.StatusOK:
		return "another server answers instead of " + service + ": check HTTPS_PROXY, NO_PROXY, AWS_ENDPOINT_URL and DNS, and a firewall that blocks with pages of its own"
	}
	return ""
}

// modesOf returns what else a name of a FIPS or dual-stack endpoint needs, or "".
func modesOf(name string) string {
	switch dual := strings.HasSuffix(name, ".api.aws") || strings.Contains(name, ".api."); {
	case strings.Contains(name, "-fips."):
		return "; it is a FIPS name (AWS_USE_FIPS_ENDPOINT): a VPC endpoint answers for it only if its private DNS has that name"
	case dual:
		return "; it is a dual-stack name (AWS_USE_DUALSTACK_ENDPOINT): a VPC endpoint answers for it only if its address type is dualstack"
	}
	return ""
}

// lasting reports whether no repetition of a call can help.
func lasting(err error) bool { return pathRemedy(err, "") != "" }
