package certify

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// modelRun is the id of runs against the model.
const modelRun = "model"

// newAccount returns a new account of the model, and the account as a judge in this process.
func newAccount(o cloud.Options) (*cloud.Cloud, Judge) {
	account := cloud.New(o)
	subnet := account.CreateSubnet(account.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	account.ReserveCIDR(subnet, netip.MustParsePrefix("10.0.1.16/28"), "explicit")
	credentials := account.Credentials("")
	return account, Judge{
		Name: "the model", Subnet: subnet, Prefix: "/certify", Run: modelRun, Emulator: true, Lag: 10 * time.Second, Pause: EmulatorPause,
		Transport: account.Transport(""),
		Config: aws.Config{Region: account.Region(), BaseEndpoint: aws.String("http://model.invalid"),
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return credentials, nil })},
	}
}

// Serve serves a new account of the model over HTTP on the loopback interface, and returns it as a
// judge. stop ends it.
func Serve(ctx context.Context, o cloud.Options) (j Judge, stop func(), err error) {
	account, j := newAccount(o)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return Judge{}, nil, fmt.Errorf("serving the model: %w", err)
	}
	server := &http.Server{Handler: account.Handler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	j.Transport, j.Config.BaseEndpoint = nil, aws.String("http://"+l.Addr().String())
	return j, func() { _ = server.Close() }, nil
}

// ModelOptions are the settings of the model that a judge is compared with: AWS's quotas, and no
// delays.
func ModelOptions() cloud.Options { return cloud.Options{Seed: 1, Quotas: cloud.DefaultQuotas()} }

// RunModel makes the recording of the model, in this process. Only the model's clock waits.
func RunModel(ctx context.Context) (Recording, error) {
	o := ModelOptions()
	var waited atomic.Int64
	o.Now = func() time.Time { return time.Now().Add(time.Duration(waited.Load())) }
	_, j := newAccount(o)
	j.sleep = func(ctx context.Context, d time.Duration) error {
		waited.Add(int64(d))
		return ctx.Err()
	}
	return Run(ctx, j)
}

// EmulatorPause keeps to the quotas of the model: three writes a second.
const EmulatorPause = 340 * time.Millisecond
