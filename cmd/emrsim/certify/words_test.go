package certify

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

func netipPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestWords plants what must not be published.
func TestWords(t *testing.T) {
	w := newWords()
	w.know("/team/certify-ab12", "/PREFIX")
	w.know("subnet-0a1b2c3d", "SUBNET")
	w.address(netip.MustParseAddr("10.0.1.2"), "ADDRESS0")
	for text, want := range map[string]string{
		"10.0.1.2 and 10.0.1.20":                                             "ADDRESS0 and IP",
		"ip-10-0-1-2.ec2.internal ip-10-0-1-20.x":                            "ip-ADDRESS0.ec2.internal ip-IP.x",
		"parameter/team/certify-ab12/0":                                      "parameter/PREFIX/0",
		"subnet-0a1b2c3d subnet-0a1b2c3de":                                   "SUBNET subnet-ID",
		"eni-0123456789abcdef0 eni-0a1b2c3d4e5f6a7b":                         "eni-0123456789abcdef0 eni-ID",
		"arn:aws:sts::123456789012:assumed-role/Admin/alice@example.com is":  "arn:PARTITION:sts::ACCOUNT:PRINCIPAL is",
		"arn:aws-cn:ec2:cn-north-1:123456789012:subnet/subnet-0a1b2c3d":      "arn:PARTITION:ec2:REGION:ACCOUNT:subnet/SUBNET",
		"AKIAIOSFODNN7EXAMPLE AROAEXAMPLEID12345:i-0a1b2c3d4e5f":             "KEY KEY",
		"<requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>":        "<requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>",
		"request 59dbff89-35bd-4eac-99ed-be5870000000":                       "request REQUEST",
		"02:3f:5a:00:11:22":                                                  "MAC",
		"Encoded authorization failure message: abcDEF-123_x":                "Encoded authorization failure message: MESSAGE",
		"2026-11-30T08:32:17.000Z":                                           "TIME",
		`"LastModifiedDate":1.7960e9,`:                                       `"LastModifiedDate":"TIME",`,
		"us-east-1a use1-az1 eu-central-1":                                   "REGION ZONE REGION",
		"apne1-az4 my_123456789012_bucket":                                   "ZONE my_ACCOUNT_bucket",
		"<ipv6Address>2600:1f18:22ba:8c00:aef0:1234:5678:9abc</ipv6Address>": "<ipv6Address>IP</ipv6Address>",
		"2600:1f18:22ba:8c00::/64 2600:1f18:22ba::7":                         "IP IP",
		"<groupName>prod-db</groupName>":                                     "<groupName>NAME</groupName>",
		"<subnetArn>x</subnetArn><tagSet><item><key>Name</key><value>secret project</value></item></tagSet>": "<subnetArn>x</subnetArn><tagSet>TAGS</tagSet>",
		`"LastModifiedUser": "alice"`: `"LastModifiedUser": "PRINCIPAL"`,
	} {
		if got := w.in(text); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

// TestInvented finds a field that only one side's answers have, and no field of refusals.
func TestInvented(t *testing.T) {
	recording := func(json, xml string) Recording {
		return Recording{Steps: []Step{{Calls: []Call{
			{Action: "ssm:GetParameter", Status: 200, Answer: json}, {Action: "ec2:DescribeVpcs", Status: 200, Answer: xml}, {Action: "ec2:DescribeTags", Status: 400, Answer: "<a><b/></a>"},
		}}}}
	}
	a := recording(`{"Parameter": {"Name": "x", "Odd": {"Inner": 1}}}`, "<R><set><item><id>1</id><odd>2</odd></item></set></R>")
	b := recording(`{"Parameter": {"Name": "x"}, "More": 1}`, "<R><set><item><id>1</id></item></set><more/></R>")
	got := strings.Join(Invented(a, b), "; ")
	if want := "ec2:DescribeVpcs: set/item/odd; ssm:GetParameter: Parameter/Odd"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := Invented(a, a); len(got) > 0 {
		t.Errorf("the same recording: %q", got)
	}
}

// TestRecordingHasNoSecret checks that a recording has none of the account's identifiers.
func TestRecordingHasNoSecret(t *testing.T) {
	account, j := inProcess(cloud.Options{Account: "998877665544", Region: "eu-west-3"})
	j.Config.Region = "eu-west-3"
	rec, err := Run(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	text := string(rec.Render())
	c := account.Credentials("")
	for _, secret := range []string{"998877665544", "eu-west-3", j.Subnet, c.AccessKeyID, c.SecretAccessKey, "10.0.1.", "10.0.0.", "/certify", "user/operator"} {
		if strings.Contains(text, secret) {
			t.Errorf("the recording has %s", secret)
		}
	}
	if len(rec.Steps) < 60 || !strings.Contains(text, "ADDRESS0") {
		t.Errorf("the recording has %d steps", len(rec.Steps))
	}
}

// refusing fails the test if a call reaches it.
type refusing struct{ t *testing.T }

func (r refusing) RoundTrip(*http.Request) (*http.Response, error) {
	r.t.Error("the call was sent")
	return nil, errors.New("sent")
}

// TestGuard checks that no call is sent that would change what a run has not made.
func TestGuard(t *testing.T) {
	s := open(Judge{Subnet: "subnet-0a1b2c3d", Prefix: "/team", Run: "ab12", Emulator: true})
	s.guard.next = refusing{t}
	s.made["eni-0aaaaaaaa"] = true
	s.place.cidr = netipPrefix("10.0.1.0/24")
	ec2 := func(action string, pairs ...string) *http.Request {
		form := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		req, _ := http.NewRequest(http.MethodPost, "http://x/", strings.NewReader(form.Encode()))
		return req
	}
	ssm := func(action, body string) *http.Request {
		req, _ := http.NewRequest(http.MethodPost, "http://x/", strings.NewReader(body))
		req.Header.Set("X-Amz-Target", "AmazonSSM."+action)
		return req
	}
	for name, req := range map[string]*http.Request{
		"another subnet":                ec2("CreateNetworkInterface", "SubnetId", "subnet-0bbbbbbbb", "TagSpecification.1.Tag.1.Key", Tag, "TagSpecification.1.Tag.1.Value", "ab12"),
		"no tag":                        ec2("CreateNetworkInterface", "SubnetId", "subnet-0a1b2c3d"),
		"another's interface":           ec2("DeleteNetworkInterface", "NetworkInterfaceId", "eni-0bbbbbbbb"),
		"an address on another's":       ec2("AssignPrivateIpAddresses", "NetworkInterfaceId", "eni-0bbbbbbbb", "PrivateIpAddress.1", "10.0.1.9"),
		"an address from another's":     ec2("UnassignPrivateIpAddresses", "NetworkInterfaceId", "eni-0bbbbbbbb", "PrivateIpAddress.1", "10.0.1.9"),
		"a move of another's":           ec2("AssignPrivateIpAddresses", "NetworkInterfaceId", "eni-0aaaaaaaa", "PrivateIpAddress.1", "10.0.1.9", "AllowReassignment", "true"),
		"another's tags":                ec2("CreateTags", "ResourceId.1", "eni-0bbbbbbbb", "Tag.1.Key", "a"),
		"an instance":                   ec2("TerminateInstances", "InstanceId.1", "i-0aaaaaaaa"),
		"another service":               ec2(""),
		"another parameter":             ssm("PutParameter", `{"Name": "/team/other"}`),
		"a parameter of another run":    ssm("DeleteParameter", `{"Name": "/team/certify-cd34/x"}`),
		"one of several":                ssm("DeleteParameters", `{"Names": ["/team/certify-ab12/x", "/prod"]}`),
		"an outside name, deleted":      ssm("DeleteParameter", `{"Name": "awsx"}`),
		"another parameter's tags":      ssm("AddTagsToResource", `{"ResourceType": "Parameter", "ResourceId": "/prod"}`),
		"a document":                    ssm("DeleteDocument", `{"Name": "/team/certify-ab12/x"}`),
		"no name":                       ssm("PutParameter", `{}`),
		"no JSON":                       ssm("PutParameter", `Name=x`),
		"the path itself":               ssm("PutParameter", `{"Name": "/team/certify-ab12"}`),
		"a path that only begins alike": ssm("PutParameter", `{"Name": "/team/certify-ab12x/y"}`),
	} {
		if _, err := s.guard.RoundTrip(req); !errors.As(err, new(errGuard)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.guard.count = maxCalls
	if _, err := s.guard.RoundTrip(ec2("DescribeSubnets")); !errors.As(err, new(errGuard)) {
		t.Errorf("too many calls: %v", err)
	}
}

// TestRead checks that files that are no recordings are refused.
func TestRead(t *testing.T) {
	whole := model(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "r.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(string(whole.Render()))
	again, err := Read(file)
	if err != nil || string(again.Render()) != string(whole.Render()) {
		t.Errorf("a recording that was written is not read: %v", err)
	}
	for name, text := range map[string]string{
		"empty":        "",
		"an unknown":   `{"form": 1, "judge": "x", "made": "", "steps": [{"name": "no such step"}]}`,
		"twice":        `{"form": 1, "judge": "x", "steps": [{"name": "get"}, {"name": "get"}]}`,
		"form 2":       `{"form": 2, "judge": "x", "steps": [{"name": "get"}]}`,
		"no judge":     `{"form": 1, "steps": [{"name": "get"}]}`,
		"no steps":     `{"form": 1, "judge": "x"}`,
		"a new field":  `{"form": 1, "judge": "x", "steps": [{"name": "get"}], "more": 1}`,
		"two":          `{"form": 1, "judge": "x", "steps": [{"name": "get"}]} {}`,
		"another type": `[]`,
	} {
		write(text)
		if _, err := Read(file); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	for name, text := range map[string]string{"no reason": `[{"step": "get", "right": "model"}]`, "another side": `[{"step": "get", "right": "me", "why": "x"}]`, "an object": `{}`} {
		write(text)
		if _, err := ReadJudgements(file); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

// FuzzRead reads foreign files.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"form": 1, "judge": "x", "made": "2026-01-01", "steps": [{"name": "get", "outcome": "ok", "seconds": 0.1, "calls": []}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "r.json")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := Read(file)
		if err != nil {
			return
		}
		if err := os.WriteFile(file, r.Render(), 0o644); err != nil {
			t.Fatal(err)
		}
		if again, err := Read(file); err != nil || len(again.Steps) != len(r.Steps) {
			t.Errorf("written and read again: %v", err)
		}
	})
}
