package cloud

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// capture keeps the last request that a client signed.
type capture struct {
	http.RoundTripper
	req  *http.Request
	body []byte
}

func (c *capture) RoundTrip(req *http.Request) (*http.Response, error) {
	c.body, _ = io.ReadAll(req.Body)
	c.req = req.Clone(context.Background())
	req.Body = io.NopCloser(bytes.NewReader(c.body))
	return c.RoundTripper.RoundTrip(req)
}

// BenchmarkModel measures the model alone, from a signed request to the bytes of the response.
func BenchmarkModel(b *testing.B) {
	for _, nodes := range []int{10, 200} {
		for _, verify := range []bool{false, true} {
			w := &world{Cloud: New(Options{VerifyInProcess: verify})}
			s := w.CreateSubnet(w.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.0.0/20"))
			w.ReserveCIDR(s, netip.MustParsePrefix("10.0.1.0/24"), "explicit")
			cl, err := w.LaunchCluster(ClusterSpec{Subnet: s, Cores: nodes - 1})
			if err != nil {
				b.Fatal(err)
			}
			n := cl.Nodes[0]
			t := &capture{RoundTripper: w.Transport(n.InstanceID)}
			c := newClients(aws.Config{Region: "us-east-1", HTTPClient: &http.Client{Transport: t}, Credentials: static(w.Credentials(n.InstanceID)),
				Retryer: func() aws.Retryer { return aws.NopRetryer{} }})
			ctx := context.Background()
			overwrite := putInput("/emr-static-ip/x/10.0.1.5", "value")
			overwrite.Overwrite = aws.Bool(true)
			for i := range nodes {
				if _, err := c.ssm.PutParameter(ctx, putInput(fmt.Sprintf("/emr-static-ip/x/10.0.2.%d", i), "value")); err != nil {
					b.Fatal(err)
				}
			}
			for _, bench := range []struct {
				name string
				call func() error
			}{
				{"ssm.PutParameter", func() error { _, err := c.ssm.PutParameter(ctx, overwrite); return err }},
				{"ssm.GetParametersByPath", func() error {
					_, err := c.ssm.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("/emr-static-ip/x")})
					return err
				}},
				{"ec2.AssignPrivateIpAddresses", func() error {
					_, err := c.ec2.AssignPrivateIpAddresses(ctx, assignInput(n.ENI, false, "10.0.1.5"))
					return err
				}},
				{"ec2.DescribeNetworkInterfaces", func() error {
					_, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{n.ENI}})
					return err
				}},
				{"ec2.DescribeInstances.all", func() error {
					_, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{ec2Filter("tag:aws:elasticmapreduce:job-flow-id", cl.ID)}})
					return err
				}},
			} {
				if err := bench.call(); err != nil {
					b.Fatal(err)
				}
				b.Run(fmt.Sprintf("%s/nodes=%d/verify=%t", bench.name, nodes, verify), func(b *testing.B) {
					b.ReportAllocs()
					begin := cpuTime()
					defer func() { b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op") }()
					for i := 0; b.Loop(); i++ {
						if i%10000 == 0 {
							w.ForgetCalls()
						}
						t.req.Body = io.NopCloser(bytes.NewReader(t.body))
						res, err := t.RoundTripper.RoundTrip(t.req)
						if err != nil || res.StatusCode != 200 {
							b.Fatal(res, err)
						}
					}
				})
			}
			b.Run(fmt.Sprintf("imds.local-ipv4s/nodes=%d", nodes), func(b *testing.B) {
				token, _ := http.NewRequest("PUT", "http://169.254.169.254/latest/api/token", nil)
				token.Header.Set(ttlHeader, "21600")
				res, err := t.RoundTripper.RoundTrip(token)
				if err != nil {
					b.Fatal(err)
				}
				text, _ := io.ReadAll(res.Body)
				req, _ := http.NewRequest("GET", "http://169.254.169.254/latest/meta-data/network/interfaces/macs/"+n.MAC.String()+"/local-ipv4s", nil)
				req.Header.Set(tokenHeader, string(text))
				for b.Loop() {
					if res, err := t.RoundTripper.RoundTrip(req); err != nil || res.StatusCode != 200 {
						b.Fatal(res, err)
					}
				}
			})
		}
	}
}

// cpuTime returns the processor time that the process has used. On a busy machine the elapsed time
// says little.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSDK measures a whole call, including the SDK's client.
func BenchmarkSDK(b *testing.B) {
	w := newWorld(b, Options{})
	c := w.on(w.cores[0].InstanceID)
	begin := cpuTime()
	defer func() { b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op") }()
	for b.Loop() {
		if _, err := c.ssm.GetParameters(context.Background(), &ssm.GetParametersInput{Names: []string{"/x"}}); err != nil {
			b.Fatal(err)
		}
	}
}
