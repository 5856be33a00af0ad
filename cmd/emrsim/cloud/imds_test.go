package cloud

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

func metadataText(t *testing.T, c clients, path string) string {
	t.Helper()
	out, err := c.imds.GetMetadata(context.Background(), &imds.GetMetadataInput{Path: path})
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return ""
	}
	defer out.Content.Close()
	b, err := io.ReadAll(out.Content)
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return string(b)
}

func TestMetadata(t *testing.T) {
	run := func(t *testing.T, w *world, n *Node, c clients) {
		macs := "network/interfaces/macs/"
		own := macs + n.MAC.String() + "/"
		for _, test := range []struct{ path, want string }{
			{"instance-id", n.InstanceID},
			{"mac", n.MAC.String()},
			{"local-ipv4", n.PrimaryIP.String()},
			{"instance-type", "m5.xlarge"},
			{"placement/region", "us-east-1"},
			{"placement/availability-zone", "us-east-1a"},
			{"placement/", "availability-zone\nregion"},
			{own + "interface-id", n.ENI},
			{own + "device-number", "0"},
			{own + "subnet-id", w.subnet},
			{own + "subnet-ipv4-cidr-block", "10.0.1.0/24"},
			{own + "vpc-id", w.vpc},
			{own + "vpc-ipv4-cidr-block", "10.0.0.0/16"},
			{own + "vpc-ipv4-cidr-blocks", "10.0.0.0/16\n10.1.0.0/16"},
			{own + "local-ipv4s", n.PrimaryIP.String()},
			{"iam/security-credentials/", roleName},
		} {
			if got := metadataText(t, c, test.path); got != test.want {
				t.Errorf("%s: %q, want %q", test.path, got, test.want)
			}
		}
		list := strings.Fields(metadataText(t, c, macs))
		if len(list) != 2 || list[0] != n.MAC.String()+"/" && list[1] != n.MAC.String()+"/" {
			t.Errorf("macs: %q", list)
		}
		if got := metadataText(t, c, macs+n.SecondENI.MAC.String()+"/device-number"); got != "1" {
			t.Errorf("second interface: %q", got)
		}
		if dir := metadataText(t, c, own); !strings.Contains(dir, "local-ipv4s\n") || !strings.Contains(dir, "subnet-ipv4-cidr-block\n") {
			t.Errorf("directory: %q", dir)
		}
		doc, err := c.imds.GetInstanceIdentityDocument(context.Background(), &imds.GetInstanceIdentityDocumentInput{})
		if err != nil || doc.InstanceID != n.InstanceID || doc.Region != "us-east-1" || doc.AccountID != "123456789012" || doc.PrivateIP != n.PrimaryIP.String() {
			t.Errorf("document: %+v %v", doc, err)
		}
		region, err := c.imds.GetRegion(context.Background(), &imds.GetRegionInput{})
		if err != nil || region.Region != "us-east-1" {
			t.Errorf("region: %+v %v", region, err)
		}
		_, err = c.imds.GetMetadata(context.Background(), &imds.GetMetadataInput{Path: "nothing"})
		if statusOf(err) != 404 {
			t.Errorf("missing path: %v", err)
		}
		var creds struct{ Code, AccessKeyId, Token string }
		if err := json.Unmarshal([]byte(metadataText(t, c, "iam/security-credentials/"+roleName)), &creds); err != nil || creds.Code != "Success" ||
			creds.AccessKeyId != w.Credentials(n.InstanceID).AccessKeyID || creds.Token == "" {
			t.Errorf("credentials: %+v %v", creds, err)
		}
	}
	t.Run("transport", func(t *testing.T) {
		w := newWorld(t, Options{})
		run(t, w, w.master, w.on(w.master.InstanceID))
	})
	t.Run("http", func(t *testing.T) {
		w := newWorld(t, Options{})
		run(t, w, w.master, w.overHTTP(t, w.master.InstanceID))
	})
}

// TestMetadataToken checks the rules of IMDSv2.
func TestMetadataToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		do := func(instance, method, path string, header ...string) (int, string) {
			req, err := http.NewRequest(method, "http://169.254.169.254"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			res, err := w.Transport(instance).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			return res.StatusCode, string(b)
		}
		a, b := w.cores[0].InstanceID, w.cores[1].InstanceID
		_, token := do(a, "PUT", "/latest/api/token", ttlHeader, "60")
		for _, test := range []struct {
			name, instance, method, path string
			header                       []string
			want                         int
		}{
			{"with a token", a, "GET", "/latest/meta-data/mac", []string{tokenHeader, token}, 200},
			{"without a token", a, "GET", "/latest/meta-data/mac", nil, 401},
			{"another instance's token", b, "GET", "/latest/meta-data/mac", []string{tokenHeader, token}, 401},
			{"token without a life", a, "PUT", "/latest/api/token", nil, 400},
			{"token for too long", a, "PUT", "/latest/api/token", []string{ttlHeader, "21601"}, 400},
			{"token by GET", a, "GET", "/latest/api/token", []string{ttlHeader, "60"}, 405},
			{"through a proxy", a, "PUT", "/latest/api/token", []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
			{"writing", a, "PUT", "/latest/meta-data/mac", []string{tokenHeader, token}, 405},
			{"unknown", a, "GET", "/latest/meta-data/unknown", []string{tokenHeader, token}, 404},
		} {
			if got, _ := do(test.instance, test.method, test.path, test.header...); got != test.want {
				t.Errorf("%s: status %d, want %d", test.name, got, test.want)
			}
		}
		time.Sleep(61 * time.Second)
		if got, _ := do(a, "GET", "/latest/meta-data/mac", tokenHeader, token); got != 401 {
			t.Errorf("status with an expired token: %d", got)
		}
	})
}

func TestLateMetadata(t *testing.T) {
	for _, test := range []struct {
		mode BootMode
		want string
	}{{BootRefuse, "connection refused"}, {BootHang, "deadline exceeded"}, {BootError, "500"}, {BootNotFound, "404"}} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{IMDSBoot: Exactly(time.Minute), IMDSBootMode: test.mode})
			c := w.on(w.cores[0].InstanceID)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := c.imds.GetMetadata(ctx, &imds.GetMetadataInput{Path: "mac"})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("mode %d: %v, want %q", test.mode, err, test.want)
			}
			time.Sleep(time.Minute)
			if got := metadataText(t, w.on(w.cores[0].InstanceID), "mac"); got != w.cores[0].MAC.String() {
				t.Errorf("mode %d, later: %q", test.mode, got)
			}
			w.TerminateNow(w.cores[0].InstanceID)
			if _, err := c.imds.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "mac"}); err == nil {
				t.Error("IMDS of a terminated instance answered")
			}
		})
	}
}
