package ec2

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The partitions are those of the AWS SDK's own data.
func TestPartitions(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2").Output()
	if err != nil {
		t.Skipf("the SDK's sources are not here: %v", err)
	}
	text, err := os.ReadFile(strings.TrimSpace(string(dir)) + "/internal/endpoints/awsrulesfn/partitions.json")
	if err != nil {
		t.Fatal(err)
	}
	var data struct {
		Partitions []struct {
			ID          string
			RegionRegex string
			Regions     map[string]any
		}
	}
	if err := json.Unmarshal(text, &data); err != nil || len(data.Partitions) < 8 {
		t.Fatal(len(data.Partitions), err)
	}
	for _, p := range data.Partitions {
		for region := range p.Regions {
			// Each has a made-up region, aws-global, that stands for the whole partition.
			if ok, err := regexp.MatchString(p.RegionRegex, region); err != nil || !ok {
				continue
			}
			if got := Partition(region); got != p.ID {
				t.Errorf("%s: %s, want %s", region, got, p.ID)
			}
		}
	}
}

// The names are those of the templates in scripts, which have their sources.
func TestEndpointService(t *testing.T) {
	for _, tt := range []struct{ region, service, want string }{
		{"us-east-1", "ec2", "com.amazonaws.us-east-1.ec2"},
		{"us-gov-west-1", "ec2", "com.amazonaws.us-gov-west-1.ec2"},
		{"eusc-de-east-1", "ec2", "com.amazonaws.eusc-de-east-1.ec2"},
		{"cn-northwest-1", "ec2", "cn.com.amazonaws.cn-northwest-1.ec2"},
		{"cn-north-1", "sts", "cn.com.amazonaws.cn-north-1.sts"},
		{"cn-north-1", "ssm", "com.amazonaws.cn-north-1.ssm"},
		{"cn-north-1", "s3", "com.amazonaws.cn-north-1.s3"},
		{"us-iso-east-1", "ec2", "gov.ic.c2s.us-iso-east-1.ec2"},
		{"us-isob-east-1", "ec2", "gov.sgov.sc2s.us-isob-east-1.ec2"},
		{"eu-isoe-west-1", "ec2", "com.amazonaws.eu-isoe-west-1.ec2"},
		{"", "ssm", "com.amazonaws..ssm"},
	} {
		if got := EndpointService(tt.region, tt.service); got != tt.want {
			t.Errorf("%s in %s: %s, want %s", tt.service, tt.region, got, tt.want)
		}
	}
}
