package cloud

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"
)

// world is a small account: a VPC with two CIDRs, a subnet, and a cluster with one master and two
// core nodes.
type world struct {
	*Cloud
	vpc, subnet string
	cluster     *Cluster
	master      *Node
	cores       []*Node
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	w := &world{Cloud: New(o)}
	w.vpc = w.CreateVPC(netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.1.0.0/16"))
	w.subnet = w.CreateSubnet(w.vpc, netip.MustParsePrefix("10.0.1.0/24"))
	w.ReserveCIDR(w.subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	cl, err := w.LaunchCluster(ClusterSpec{Name: "test", Subnet: w.subnet, Cores: 2, SecondENIOnMaster: true, NameTag: "hadoop", Args: []string{"10.0.1.20", "10.0.1.21"}})
	if err != nil {
		t.Fatal(err)
	}
	w.cluster, w.master, w.cores = cl, cl.Nodes[0], cl.Nodes[1:]
	return w
}

// clients are the SDK's clients on one instance.
type clients struct {
	ssm  *ssm.Client
	ec2  *ec2.Client
	emr  *emr.Client
	imds *imds.Client
}

// on returns clients that use the in-process transport. They do not retry, so that a test sees each
// answer.
func (w *world) on(instanceID string) clients {
	return newClients(aws.Config{Region: "us-east-1", HTTPClient: &http.Client{Transport: w.Transport(instanceID)},
		Credentials: static(w.Credentials(instanceID)), Retryer: func() aws.Retryer { return aws.NopRetryer{} }})
}

func newClients(cfg aws.Config) clients {
	return clients{ssm.NewFromConfig(cfg), ec2.NewFromConfig(cfg), emr.NewFromConfig(cfg), imds.NewFromConfig(cfg)}
}

func static(c aws.Credentials) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil })
}

// overHTTP returns the same clients for servers on the loopback interface. Credentials come from
// IMDS, as on a node.
func (w *world) overHTTP(t *testing.T, instanceID string) clients {
	t.Helper()
	api := httptest.NewServer(w.Handler())
	t.Cleanup(api.Close)
	meta := httptest.NewServer(w.IMDSHandler(instanceID))
	t.Cleanup(meta.Close)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_ENDPOINT_URL", api.URL)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", meta.URL)
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithEC2IMDSRegion(), config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
	if err != nil {
		t.Fatal(err)
	}
	return newClients(cfg)
}

// code returns the code of an API error: "" for success, "?" for any other error.
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return "?" + err.Error()
}

func message(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorMessage()
	}
	return ""
}

func statusOf(err error) int {
	var r interface{ HTTPStatusCode() int }
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

func ctxFor(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// bothWays runs a test with both transports, each with its own world.
func bothWays(t *testing.T, o Options, f func(t *testing.T, w *world, c clients)) {
	t.Run("transport", func(t *testing.T) {
		o := o
		o.VerifyInProcess = true
		w := newWorld(t, o)
		f(t, w, w.on(w.cores[0].InstanceID))
	})
	t.Run("http", func(t *testing.T) {
		w := newWorld(t, o)
		f(t, w, w.overHTTP(t, w.cores[0].InstanceID))
	})
}

func ec2Filter(name string, values ...string) ec2types.Filter {
	return ec2types.Filter{Name: aws.String(name), Values: values}
}
