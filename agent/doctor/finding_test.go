package doctor

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

// TestDiagnosisForm compares JSON and text with golden files: programs and people rely on them.
func TestDiagnosisForm(t *testing.T) {
	d := Diagnosis{Instance: "i-0a1", Cluster: "j-1", Role: emr.Core, Region: "us-east-1", Subnet: "subnet-1", Seconds: 5.2, Findings: []Finding{}}
	free := fine("address", "10.0.1.11-10.0.1.12", "2 addresses: free")
	free.Addresses = netiptest.Addrs("10.0.1.11 10.0.1.12")
	denied := `allow ssm:PutParameter in the role of the instance profile`
	d.add(
		fine("imds", "", "IMDSv2: i-0a1 in subnet-1"),
		failed(exit.Unreachable, "tcp", "ssm", "the security group must admit TCP 443", "10.0.0.10:443: no answer").took(5*time.Second),
		unknown("clock", "", "", "no answer of AWS has a date"),
		failed(exit.Permission, "permission", "ssm:PutParameter", denied, "denied"),
		failed(exit.Permission, "permission", "ssm:DeleteParameter", denied, "denied"),
		free,
		warning("units", "", "a remedy", "foreign \x1b[31m text\nin two lines"),
		fine("permission", "ec2:"+strings.Repeat("Long", 20), "allowed"),
	)
	if d.ExitCode() != exit.Unreachable {
		t.Errorf("exit code %d, want that of the first that failed", d.ExitCode())
	}
	for _, format := range []string{"text", "json"} {
		if format == "json" {
			d.Set("v1.2.3", d.Code, nil)
		}
		var b bytes.Buffer
		if err := d.Render(&b, format); err != nil {
			t.Fatal(err)
		}
		if format == "json" {
			var back Diagnosis
			if err := json.Unmarshal(b.Bytes(), &back); err != nil || back.Findings[1].Seconds != 5 {
				t.Errorf("%v: %+v", err, back)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, b.Bytes(), "", "  "); err != nil {
				t.Fatal(err)
			}
			b = indented
		}
		golden.Is(t, "doctor."+format, b.String())
	}
	if s := textOf(t, Diagnosis{Seconds: 0.3}); s != "ok=0 warnings=0 failed=0 unknown=0 duration=0.3s\n" {
		t.Errorf("%q", s)
	}
}

func TestBlocks(t *testing.T) {
	for list, want := range map[string]string{
		"10.0.1.16":                               "10.0.1.16/32",
		"10.0.1.17 10.0.1.16":                     "10.0.1.16/31",
		"10.0.1.17 10.0.1.18":                     "10.0.1.17/32 10.0.1.18/32",
		"10.0.1.16 10.0.1.17 10.0.1.18 10.0.1.19": "10.0.1.16/30",
		"10.0.1.15 10.0.1.16 10.0.1.17 10.0.1.18 10.0.1.19 10.0.1.16": "10.0.1.15/32 10.0.1.16/30",
	} {
		var got []string
		for _, p := range blocks(netiptest.Addrs(list)) {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %s", list, got, want)
		}
	}
	if got := spans(netiptest.Addrs("10.0.1.11 10.0.1.12 10.0.1.13 10.0.1.20 10.0.1.22")); got != "10.0.1.11-10.0.1.13, 10.0.1.20, 10.0.1.22" {
		t.Errorf("%s", got)
	}
}
