package lab

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// settingsFailures are settings of the AWS SDK, name servers, and programs that answer in AWS's
// place. Some make a run slower, and some make it fail at once.
func settingsFailures() []failure {
	done := func(t *testing.T, s *site, got Result) { expectDone(t, s.Cluster, s.core, got) }
	const name = "AWS_ENDPOINT_URL=http://api.corp.test"
	// A node that takes its time must not be taken for one that waits for what never comes.
	const soon = 20 * time.Second
	all := []failure{
		{name: "first name server silent", changed: true, env: []string{name}, after: done,
			prepare: func(t *testing.T, s *site) { s.nameServers(t, "silent", "answer") }},
		{name: "IPv6 never answered", changed: true, env: []string{name}, after: done,
			prepare: func(t *testing.T, s *site) { s.nameServers(t, "no AAAA") }},
		{name: "all name servers silent", code: 5, env: []string{name}, within: soon,
			prepare: func(t *testing.T, s *site) { s.nameServers(t, "silent") }},
		{name: "region of another tool", changed: true, env: []string{"AWS_REGION=eu-west-1"}, after: done},
		{name: "IMDS disabled for others", changed: true, env: []string{"AWS_EC2_METADATA_DISABLED=true"}, after: done},
		{name: "something else answers for IMDS", code: 3, within: soon, env: []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://10.0.0.11:8080"}, prepare: portal},
		{name: "something else answers for ssm", code: 5, within: soon, env: []string{"AWS_ENDPOINT_URL_SSM=http://10.0.0.11:8080"}, prepare: portal},
		{name: "no file for the web identity", code: 4, within: soon, env: []string{"AWS_WEB_IDENTITY_TOKEN_FILE=/var/run/none", "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/x"}},
	}
	for _, setting := range []string{
		"AWS_ENDPOINT_URL=http://10.0.0.10 ",
		"AWS_ENDPOINT_URL=10.0.0.10",
		"AWS_ENDPOINT_URL_SSM=ftp://10.0.0.10",
		"AWS_USE_DUALSTACK_ENDPOINT=true",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=http",
		"AWS_SECRET_ACCESS_KEY=x ",
	} {
		all = append(all, failure{name: "setting " + strings.ReplaceAll(setting, "/", ""), code: 2, within: soon, env: []string{setting}})
	}
	return all
}

// nameServers makes the core node ask name servers of these kinds, in this order.
func (s *site) nameServers(t *testing.T, kinds ...string) {
	t.Helper()
	s.inside(t, func() error {
		conf := ""
		for i, kind := range kinds {
			addr := net.IPv4(127, 0, 0, byte(i+2))
			c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: addr, Port: 53})
			if err != nil {
				return err
			}
			t.Cleanup(func() { c.Close() })
			if kind != "silent" {
				go answerNames(c, kind == "no AAAA")
			}
			conf += "nameserver " + addr.String() + "\n"
		}
		if err := os.WriteFile("/etc/nsswitch.conf", []byte("passwd: files\ngroup: files\nhosts: files dns\n"), 0o644); err != nil {
			return err
		}
		return os.WriteFile("/etc/resolv.conf", []byte(conf), 0o644)
	})
}

// answerNames answers each question for an address with that of the model's endpoints, until the
// connection is closed. A question for an IPv6 address gets an empty answer, or none.
func answerNames(c *net.UDPConn, noAAAA bool) {
	const typeA, typeAAAA = 1, 28
	buffer := make([]byte, 1500)
	for {
		n, from, err := c.ReadFromUDP(buffer)
		if err != nil {
			return
		}
		q := buffer[:n]
		end := 12 // of the name
		for end < n && q[end] != 0 {
			end += int(q[end]) + 1
		}
		if end+5 > n {
			continue
		}
		kind := int(q[end+1])<<8 | int(q[end+2])
		if kind == typeAAAA && noAAAA {
			continue
		}
		reply := append([]byte{}, q[:2]...)
		reply = append(reply, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0)
		reply = append(reply, q[12:end+5]...)
		if kind == typeA {
			reply[7] = 1 // answers
			reply = append(reply, 0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 10)
		}
		if _, err := c.WriteToUDP(reply, from); err != nil {
			return
		}
	}
}
