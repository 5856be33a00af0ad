package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	policies "github.com/emr-static-ip/emr-static-ip/agent/iam"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/internal/tag"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// laptop is a machine outside of AWS, with the operator's credentials for an account with one VPC
// and one empty subnet.
type laptop struct {
	t           *testing.T
	cloud       *cloud.Cloud
	vpc, subnet string
	group       string // admits TCP 443 from the subnet
	cfg         agent.Config
	policy      iam.Policies // of the operator; nil: everything is allowed
}

const nodesRole = "EMR_EC2_DefaultRole"

func newLaptop(t *testing.T) *laptop {
	t.Helper()
	l := &laptop{t: t, cfg: agent.DefaultConfig()}
	l.cloud = cloud.New(cloud.Options{VerifyInProcess: true, Authorize: func(r cloud.AccessRequest) error {
		if l.policy == nil {
			return nil
		}
		return l.policy.Authorize(r)
	}})
	cidr := netip.MustParsePrefix("10.0.1.0/24")
	l.vpc = l.cloud.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"))
	l.subnet = l.cloud.CreateSubnet(l.vpc, cidr)
	l.group = l.cloud.CreateSecurityGroup(l.vpc, "endpoints", cloud.Ingress{Protocol: "tcp", From: 443, To: 443, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}})
	l.cfg.Subnet, l.cfg.Region, l.cfg.RoleName = l.subnet, "us-east-1", nodesRole
	l.cfg.Pools = agent.Pools{Master: netiptest.Addrs("10.0.1.20"), Core: netiptest.Addrs("10.0.1.21 10.0.1.22")}
	return l
}

// complete gives the subnet all that a run needs.
func (l *laptop) complete() {
	l.cloud.ReserveCIDR(l.subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	l.endpoint("ssm", func(*cloud.VPCEndpoint) {})
	l.endpoint("ec2", func(*cloud.VPCEndpoint) {})
	table := l.cloud.CreateRouteTable(l.subnet)
	l.cloud.CreateVPCEndpoint(cloud.VPCEndpoint{VPC: l.vpc, Service: "com.amazonaws.us-east-1.s3", Gateway: true, RouteTables: []string{table}})
	l.role(policies.InstanceProfile)
}

// endpoint creates an interface endpoint, as change leaves it.
func (l *laptop) endpoint(service string, change func(*cloud.VPCEndpoint)) {
	e := cloud.VPCEndpoint{VPC: l.vpc, Service: "com.amazonaws.us-east-1." + service, Subnets: []string{l.subnet}, SecurityGroups: []string{l.group}, PrivateDNS: true}
	change(&e)
	l.cloud.CreateVPCEndpoint(e)
}

// role gives the nodes' role these policies of the project.
func (l *laptop) role(files ...string) {
	l.t.Helper()
	l.cloud.SetRole(nodesRole, l.policies(files...), nil)
}

func (l *laptop) policies(files ...string) (list iam.Policies) {
	l.t.Helper()
	at := policies.Place{Region: "us-east-1", Account: "123456789012", Subnet: l.subnet}
	for _, file := range files {
		text := file
		if strings.HasSuffix(file, ".json") {
			text = at.Policy(file)
		}
		p, err := iam.ParsePolicy([]byte(text))
		if err != nil {
			l.t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// inBubble runs f in a bubble. The SDK reads the credentials from the process's own environment,
// which cannot be set in one.
func (l *laptop) inBubble(t *testing.T, f func()) {
	for name, value := range l.variables() {
		t.Setenv(name, value)
	}
	synctest.Test(t, func(t *testing.T) { l.t = t; f() })
}

func (l *laptop) variables() map[string]string {
	c := l.cloud.Credentials("")
	return map[string]string{"AWS_ACCESS_KEY_ID": c.AccessKeyID, "AWS_SECRET_ACCESS_KEY": c.SecretAccessKey}
}

func (l *laptop) env() agent.Environment {
	variables := l.variables()
	return host.Environment{
		Root: l.t.TempDir(), HTTP: l.cloud.Transport(""), Rand: func() float64 { return 0.5 },
		LookupEnv: func(name string) (string, bool) { v, ok := variables[name]; return v, ok },
	}
}

func (l *laptop) doctor() Diagnosis {
	l.t.Helper()
	before := len(l.cloud.Parameters())
	d, err := Doctor(l.t.Context(), l.cfg, l.env())
	if err != nil {
		l.t.Fatal(err)
	}
	if after := len(l.cloud.Parameters()); after != before {
		l.t.Errorf("%d parameters, before %d", after, before)
	}
	for _, c := range l.cloud.Calls() {
		if c.Applied {
			l.t.Errorf("doctor changed the account: %s", c)
		}
	}
	return d
}

// all is the whole text of a diagnosis, without what differs between runs.
func all(d Diagnosis) string {
	var b strings.Builder
	for _, f := range d.Findings {
		b.WriteString(f.Result + " " + f.name() + ": " + f.Detail + "\n")
		if f.Remedy != "" {
			b.WriteString("  remedy: " + f.Remedy + "\n")
		}
	}
	return b.String()
}

// TestDoctorFromOutside: a subnet with all that a run needs, and the same with one thing amiss.
func TestDoctorFromOutside(t *testing.T) {
	messages := golden.Open(t, "from-outside.txt")
	for _, test := range []struct {
		name    string
		prepare func(l *laptop)
		code    exit.Code
		not     []string // the checks that are not ok, beside the one of what cannot be seen
	}{
		{"complete", func(l *laptop) { l.complete() }, exit.OK, nil},
		{"nothing is there", func(*laptop) {}, exit.Unreachable, []string{"endpoint ssm", "endpoint ec2", "endpoint s3", "permission", "reservation"}},
		{"a NAT gateway", func(l *laptop) {
			l.role(policies.InstanceProfile)
			l.cloud.ReserveCIDR(l.subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
			l.cloud.CreateRouteTable(l.subnet, cloud.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Target: "nat-0a1b2c3d4e5f60001"})
		}, exit.OK, nil},
		{"a NAT gateway that is gone", func(l *laptop) {
			l.cfg.RoleName = ""
			l.cloud.CreateRouteTable(l.subnet, cloud.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Target: "nat-0a1b2c3d4e5f60001", Blackhole: true})
		}, exit.Unreachable, []string{"endpoint ssm", "endpoint ec2", "endpoint s3", "permission", "reservation"}},
		{"an Internet gateway", func(l *laptop) {
			l.cfg.RoleName = ""
			l.cloud.CreateRouteTable(l.subnet, cloud.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Target: "igw-0a1b2c3d4e5f60001"})
		}, exit.OK, []string{"endpoint ssm", "endpoint ec2", "endpoint s3", "permission", "reservation"}},
		{"a public subnet", func(l *laptop) {
			l.cfg.RoleName = ""
			l.cloud.MapPublicIP(l.subnet)
			l.cloud.CreateRouteTable(l.subnet, cloud.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Target: "igw-0a1b2c3d4e5f60001"})
		}, exit.OK, []string{"permission", "reservation"}},
		{"a transit gateway", func(l *laptop) {
			l.cfg.RoleName = ""
			l.cloud.CreateRouteTable(l.subnet, cloud.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Target: "tgw-0a1b2c3d4e5f60001"})
		}, exit.OK, []string{"endpoint ssm", "endpoint ec2", "endpoint s3", "permission", "reservation"}},
		{"endpoints with faults", func(l *laptop) {
			l.cfg.RoleName = ""
			l.endpoint("ssm", func(e *cloud.VPCEndpoint) { e.PrivateDNS = false })
			l.endpoint("ec2", func(e *cloud.VPCEndpoint) { e.State = "pending" })
			l.cloud.CreateVPCEndpoint(cloud.VPCEndpoint{VPC: l.vpc, Service: "com.amazonaws.us-east-1.s3", Gateway: true})
		}, exit.Unreachable, []string{"endpoint ssm", "endpoint ec2", "endpoint s3", "permission", "reservation"}},
		{"security groups that do not admit the nodes", func(l *laptop) {
			l.cfg.RoleName = ""
			narrow := l.cloud.CreateSecurityGroup(l.vpc, "narrow", cloud.Ingress{Protocol: "tcp", From: 443, To: 443, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/25")}},
				cloud.Ingress{Protocol: "udp", From: 0, To: 65535, CIDRs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})
			members := l.cloud.CreateSecurityGroup(l.vpc, "members", cloud.Ingress{Protocol: "-1", Groups: []string{narrow}})
			l.endpoint("ssm", func(e *cloud.VPCEndpoint) { e.SecurityGroups = []string{narrow} })
			l.endpoint("ec2", func(e *cloud.VPCEndpoint) {
				e.SecurityGroups, e.Policy = []string{members}, `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"ec2:*","Resource":"*"}]}`
			})
		}, exit.Unreachable, []string{"endpoint ssm", "endpoint ec2", "endpoint s3", "permission", "reservation"}},
		{"addresses of the list", func(l *laptop) {
			l.complete()
			l.cfg.Cluster = "j-1K48XXXXXXHCB"
			l.cfg.Pools.Core = append(l.cfg.Pools.Core, netiptest.Addrs("10.0.1.2 10.0.2.5 10.9.0.1")...)
			if _, err := l.cloud.RunInstance(cloud.InstanceSpec{Subnet: l.subnet, Secondary: netiptest.Addrs("10.0.1.21")}); err != nil {
				l.t.Fatal(err)
			}
			gone := ssmcoord.Record{Instance: "i-0aaaaaaaaaaaaaaaa", ENI: "eni-0aaaaaaaaaaaaaaaa", Cluster: "j-GONE", Role: "CORE", Time: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}
			if err := l.cloud.SetParameter("/emr-static-ip/"+l.subnet+"/10.0.1.22", gone.Render()); err != nil {
				l.t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}, exit.Usage, []string{"address 10.9.0.1", "address 10.0.2.5", "address 10.0.1.2", "address 10.0.1.21", "address 10.0.1.22"}},
		{"a list of addresses in no subnet", func(l *laptop) {
			l.complete()
			l.cfg.Pools = agent.Pools{Master: netiptest.Addrs("10.0.2.10"), Core: netiptest.Addrs("10.0.2.11")}
		}, exit.Usage, []string{"addresses", "addresses", "address 10.0.2.10", "address 10.0.2.11"}},
		{"a list of another subnet", func(l *laptop) {
			l.complete()
			l.cloud.CreateSubnet(l.vpc, netip.MustParsePrefix("10.0.2.0/24"))
			l.cfg.Pools = agent.Pools{Master: netiptest.Addrs("10.0.2.10"), Core: netiptest.Addrs("10.0.2.11 10.0.3.11")}
		}, exit.Usage, []string{"addresses", "addresses", "address 10.0.3.11"}},
		{"a list without addresses for another role than that of --role", func(l *laptop) {
			l.complete()
			l.cfg.Role = emr.Core
			l.cfg.Pools.Master = netiptest.Addrs("10.0.2.10")
		}, exit.OK, []string{"addresses", "address 10.0.2.10"}},
		{"a list without addresses for the role of --role", func(l *laptop) {
			l.complete()
			l.cfg.Role = emr.Master
			l.cfg.Pools.Master = netiptest.Addrs("10.0.2.10")
		}, exit.Usage, []string{"addresses", "address 10.0.2.10"}},
		{"instances outside EMR with the list of another subnet", func(l *laptop) {
			l.complete()
			l.role(policies.PlainProfile)
			l.cloud.CreateSubnet(l.vpc, netip.MustParsePrefix("10.0.2.0/24"))
			l.cfg.Pools, l.cfg.OnError = agent.Pools{Any: netiptest.Addrs("10.0.2.20 10.0.2.21")}, agent.OnErrorContinue
		}, exit.Usage, []string{"addresses"}},
		{"no list, and no role", func(l *laptop) {
			l.complete()
			l.cfg.Pools, l.cfg.RoleName = agent.Pools{}, ""
		}, exit.OK, []string{"addresses", "permission"}},
		{"a role that does not exist", func(l *laptop) { l.complete(); l.cfg.RoleName = "EMR_Role" }, exit.Usage, []string{"permission"}},
		{"a role by its ARN, without a policy", func(l *laptop) {
			l.complete()
			l.role(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}`)
			l.cfg.RoleName = "arn:aws:iam::123456789012:role/" + nodesRole
		}, exit.Permission, []string{"permission ssm:GetParameters", "permission ssm:PutParameter", "permission ssm:DeleteParameter", "permission ssm:GetParametersByPath",
			"permission ec2:DescribeInstances", "permission ec2:DescribeNetworkInterfaces", "permission ec2:DescribeInstanceTypes", "permission ec2:DescribePrefixLists",
			"permission ec2:AssignPrivateIpAddresses", "permission ec2:UnassignPrivateIpAddresses", "permission ec2:CreateTags"}},
		{"a role with a Deny, a boundary, and a condition of its own", func(l *laptop) {
			l.complete()
			l.cfg.ClaimTags = []tag.Tag{{Key: "team", Value: "data"}}
			l.cloud.SetRole(nodesRole, l.policies(policies.InstanceProfile,
				`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "ssm:PutParameter", "Resource": "*"},
				{"Effect": "Allow", "Action": "ssm:AddTagsToResource", "Resource": "*", "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}]}`),
				l.policies(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["ssm:*", "ec2:Describe*", "ec2:CreateTags"], "Resource": "*"}]}`))
		}, exit.Permission, []string{"permission ssm:PutParameter", "permission ssm:AddTagsToResource", "permission ec2:AssignPrivateIpAddresses", "permission ec2:UnassignPrivateIpAddresses"}},
		{"another subnet's policy", func(l *laptop) {
			l.complete()
			other := policies.Place{Region: "us-east-1", Account: "123456789012", Subnet: "subnet-0ffffffffffffffff"}
			l.cloud.SetRole(nodesRole, l.policies(strings.ReplaceAll(other.Policy(policies.InstanceProfile), "us-east-1", "us-east-1")), nil)
		}, exit.Permission, []string{"permission ssm:GetParameters", "permission ssm:PutParameter", "permission ssm:DeleteParameter", "permission ssm:GetParametersByPath",
			"permission ec2:AssignPrivateIpAddresses", "permission ec2:UnassignPrivateIpAddresses"}},
		{"instances outside EMR", func(l *laptop) {
			l.complete()
			l.role(policies.PlainProfile)
			l.cfg.Pools, l.cfg.OnError = agent.Pools{Any: netiptest.Addrs("10.0.1.20 10.0.1.21")}, agent.OnErrorContinue
		}, exit.OK, nil},
		{"an operator without permissions", func(l *laptop) {
			l.complete()
			l.cfg.Pools.Task = netiptest.Addrs("10.0.2.30 10.0.2.31")
			l.policy = l.policies(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:DescribeSubnets", "Resource": "*"}]}`)
		}, exit.OK, []string{"vpc", "address 10.0.2.30-10.0.2.31", "endpoints", "route", "endpoint ssm", "endpoint ec2", "endpoint s3", "permission", "address 10.0.1.20-10.0.1.22", "reservation"}},
		{"the operator's policy", func(l *laptop) { l.complete(); l.policy = l.policies(policies.Operator) }, exit.OK, nil},
		{"a subnet that does not exist", func(l *laptop) { l.cfg.Subnet = "subnet-0123456789abcdef0" }, exit.Usage, []string{"subnet"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLaptop(t)
			l.inBubble(t, func() {
				test.prepare(l)
				d := l.doctor()
				not := notOK(d)
				if test.name != "a subnet that does not exist" {
					test.not = append(test.not, "not-visible")
				}
				if !slices.Equal(not, test.not) || d.ExitCode() != test.code {
					t.Errorf("not ok are %q with exit code %d, want %q with %d\n%s", not, d.ExitCode(), test.not, test.code, textOf(t, d))
				}
				if test.code == exit.OK && len(test.not) == 1 {
					messages.Is(t, test.name, all(d))
				} else {
					messages.Is(t, test.name, said(d, append(not, "addresses", "endpoint ssm", "endpoint ec2", "endpoint s3")...))
				}
			})
		})
	}
}

// Nothing is asked that the model does not know, and no call goes unanswered for long.
func TestDoctorFromOutsideWhereAWSIsSilent(t *testing.T) {
	l := newLaptop(t)
	l.inBubble(t, func() {
		l.complete()
		l.cloud.Fault(func(c cloud.Call) cloud.FaultAction {
			if c.Service == "iam" || c.Action == "DescribeVpcEndpoints" || c.Action == "GetParameters" {
				return cloud.FaultAction{Kind: cloud.FaultHang}
			}
			return cloud.FaultAction{}
		})
		began := time.Now()
		d, err := Doctor(l.t.Context(), l.cfg, l.env())
		if err != nil || time.Since(began) > 2*time.Minute {
			t.Errorf("%v after %v\n%s", err, time.Since(began), textOf(t, d))
		}
		expect(t, d, "permission", resultUnknown)
		expect(t, d, "not-visible", resultUnknown)
	})
}
