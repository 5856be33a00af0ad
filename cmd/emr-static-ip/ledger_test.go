package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// An operator outside, who is not root and has credentials in the environment, lists, cleans and
// repairs a ledger. IMDS is never asked.
func TestLedgerFromOutside(t *testing.T) {
	bin := build(t)
	var ago atomic.Int64 // the account's clock, as long as it is furnished
	ago.Store(int64(time.Hour))
	account := cloud.New(cloud.Options{Seed: 3, Now: func() time.Time { return time.Now().Add(-time.Duration(ago.Load())) }, TerminatedVisible: 24 * time.Hour})
	subnet := account.CreateSubnet(account.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	endpoint := httptest.NewServer(account.Handler())
	defer endpoint.Close()
	imds := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("IMDS is asked for %s", r.URL)
		http.Error(w, "", http.StatusNotFound)
	}))
	defer imds.Close()
	node, err := account.RunInstance(cloud.InstanceSpec{Subnet: subnet, Secondary: []netip.Addr{netip.MustParseAddr("10.0.1.11")},
		Tags: map[string]string{"aws:elasticmapreduce:job-flow-id": "j-1ABC", "aws:elasticmapreduce:instance-group-role": "CORE", "Name": "etl-CORE"}})
	if err != nil {
		t.Fatal(err)
	}
	old, err := account.RunInstance(cloud.InstanceSpec{Subnet: subnet})
	if err != nil {
		t.Fatal(err)
	}
	account.TerminateNow(old.InstanceID)
	creds := account.Credentials("")
	api := ssm.New(ssm.Options{Region: "us-east-1", HTTPClient: &http.Client{Transport: account.Transport("")},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })})
	for addr, value := range map[string]string{
		"10.0.1.11": `{"v":1,"instance":"` + old.InstanceID + `","eni":"` + old.ENI + `","role":"CORE","time":"2026-01-01T00:00:00Z"}`,
		"10.0.1.12": `{"v":1,"instance":"` + old.InstanceID + `","eni":"` + old.ENI + `","role":"CORE","time":"2026-01-01T00:00:00Z"}`,
		"10.0.1.13": `{"v":2}`,
	} {
		if _, err := api.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/emr-static-ip/" + subnet + "/" + addr), Value: &value,
			Type: types.ParameterTypeString}); err != nil {
			t.Fatal(err)
		}
	}
	ago.Store(0)
	f, err := os.Open(bin) // the directories of tests are the test user's alone
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	run := func(code int, args ...string) (stdout, stderr string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "/proc/self/fd/3", args...)
		cmd.ExtraFiles, cmd.Dir = []*os.File{f}, "/"
		cmd.Env = []string{"HOME=/nonexistent", "AWS_ACCESS_KEY_ID=" + creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + creds.SecretAccessKey,
			"AWS_ENDPOINT_URL=" + endpoint.URL, "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + imds.URL}
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Run(); code == 0 && err != nil || code != 0 && exitCode(err) != code {
			t.Fatalf("%q: %v, want exit code %d\n%s%s", args, err, code, &out, &errOut)
		}
		return out.String(), errOut.String()
	}
	at := []string{"--region", "us-east-1", "--subnet", subnet}
	text, _ := run(10, append([]string{"ledger", "list"}, at...)...)
	for _, want := range []string{"10.0.1.11  conflict", "10.0.1.12  stale", "10.0.1.13  unreadable", "etl-CORE", node.InstanceID} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	text, _ = run(10, "ledger", "list", "--region", "us-east-1", "-o", "json")
	var listed struct {
		Addresses []struct{ Address, State string }
		Counts    map[string]int
	}
	if err := json.Unmarshal([]byte(text), &listed); err != nil || len(listed.Addresses) != 3 || listed.Counts["stale"] != 1 {
		t.Errorf("%v\n%s", err, text)
	}
	if text, _ = run(0, append([]string{"ledger", "gc"}, at...)...); !strings.Contains(text, "to-change=1 ") {
		t.Error(text)
	}
	if text, log := run(0, append([]string{"ledger", "gc", "--yes"}, at...)...); !strings.Contains(text, "changed=1 ") || !strings.Contains(log, "removed 10.0.1.12") {
		t.Error(text, log)
	}
	if text, _ = run(0, append([]string{"ledger", "gc", "--yes"}, at...)...); !strings.Contains(text, "changed=0 ") {
		t.Error(text)
	}
	text, log := run(10, append([]string{"ledger", "repair", "--yes"}, at...)...)
	if !strings.Contains(text, "changed=1 ") || !strings.Contains(log, "repaired 10.0.1.11") || !strings.Contains(text, "version 2") {
		t.Error(text, log)
	}
	left := account.Parameters()
	if len(left) != 2 || !strings.Contains(left[0].Value, node.InstanceID) || left[1].Value != `{"v":2}` {
		t.Error(left)
	}
	text, _ = run(10, append([]string{"ledger", "list", "-o", "json"}, at...)...)
	listed.Counts = nil
	if err := json.Unmarshal([]byte(text), &listed); err != nil || listed.Counts["in use"] != 1 || listed.Counts["unreadable"] != 1 {
		t.Errorf("%v\n%s", err, text)
	}
	if text, _ := run(10, append([]string{"ledger", "remove", "--yes", "10.0.1.11"}, at...)...); !strings.Contains(text, "unassign-private-ip-addresses") {
		t.Error(text)
	}
	ago.Store(int64(time.Hour))
	if err := account.SetParameter("/emr-static-ip/"+subnet+"/10.0.1.14", "blank"); err != nil {
		t.Fatal(err)
	}
	ago.Store(0)
	if text, _ := run(0, append([]string{"ledger", "remove", "--yes", "10.0.1.14"}, at...)...); !strings.Contains(text, "changed=1 ") || len(account.Parameters()) != 2 {
		t.Error(text, account.Parameters())
	}
	if text, _ := run(0, "ledger", "list", "--region", "us-east-1", "--all-regions", "--prefix", "/none"); !strings.Contains(text, "us-east-1") {
		t.Error(text)
	}
}

// TestWatchAndCheckFromOutside runs the commands that look again and again with the real binary:
// ledger watch, which SIGINT ends, and cluster check, which waits for the last node.
func TestWatchAndCheckFromOutside(t *testing.T) {
	t.Parallel() // it waits
	bin := build(t)
	account := cloud.New(cloud.Options{Seed: 4})
	subnet := account.CreateSubnet(account.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	launched, err := account.LaunchCluster(cloud.ClusterSpec{Subnet: subnet, Cores: 1, Args: []string{"10.0.1.10", "10.0.1.11"}})
	if err != nil {
		t.Fatal(err)
	}
	endpoint := httptest.NewServer(account.Handler())
	defer endpoint.Close()
	creds := account.Credentials("")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := func(out *bytes.Buffer, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, bin, append(args, "--region", "us-east-1", "-o", "json")...)
		cmd.Env = []string{"HOME=/nonexistent", "AWS_ACCESS_KEY_ID=" + creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + creds.SecretAccessKey, "AWS_ENDPOINT_URL=" + endpoint.URL}
		cmd.Stdout = out
		return cmd
	}
	var watched, checked bytes.Buffer
	watch, check := command(&watched, "ledger", "watch"), command(&checked, "cluster", "check", launched.ID, "--wait", "50s")
	began := time.Now()
	for _, cmd := range []*exec.Cmd{watch, check} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for len(account.Calls()) < 8 { // the first looks
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(time.Second)
	for i, n := range launched.Nodes {
		addr := netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + i)})
		if err := account.Move(addr, n.ENI); err != nil {
			t.Fatal(err)
		}
		value := `{"v":1,"instance":"` + n.InstanceID + `","eni":"` + n.ENI + `","time":"2026-01-01T00:00:00Z"}`
		if err := account.SetParameter("/emr-static-ip/"+subnet+"/"+addr.String(), value); err != nil {
			t.Fatal(err)
		}
	}
	if err := check.Wait(); err != nil {
		t.Errorf("cluster check: %v\n%s", err, &checked)
	}
	var report struct {
		Complete bool
		Looks    int
	}
	if err := json.Unmarshal(checked.Bytes(), &report); err != nil || !report.Complete || report.Looks != 2 || time.Since(began) > 45*time.Second {
		t.Errorf("%v after %s: %s", err, time.Since(began), &checked)
	}
	if err := watch.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("ledger watch: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(watched.String()), "\n")
	changes := 0
	for _, line := range lines {
		var o struct {
			Version   int
			Changes   []struct{ After string }
			Addresses []struct{ State string }
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil || o.Version != 1 || o.Addresses == nil {
			t.Errorf("%v: %s", err, line)
		}
		changes += len(o.Changes)
	}
	if changes < 2 || len(lines) < 2 {
		t.Errorf("%d changes:\n%s", changes, &watched)
	}
}
