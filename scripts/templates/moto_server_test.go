package templates

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// moto is a moto_server on the loopback interface: an emulator of AWS in Python
// (https://docs.getmoto.org). The tests use AWS's query and JSON protocols.
type moto struct {
	url string
	log string // path of its log file
}

// startMoto starts moto_server on a free port. It stops with the test.
func startMoto(t *testing.T) *moto {
	t.Helper()
	program, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed (pip install 'moto[all,server]'): the templates are not deployed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "moto.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-H", "127.0.0.1", "-p", fmt.Sprint(address.Port))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "MOTO_IAM_LOAD_MANAGED_POLICIES=true") // adds AmazonEMRServicePolicy_v2
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Skipf("moto_server does not start: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the process group also has the child of a wrapper script
		<-ended
		_ = log.Close()
	})
	m := &moto{url: "http://" + address.String(), log: log.Name()}
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			b, _ := os.ReadFile(m.log)
			t.Skipf("moto_server ended at once: %v\n%.500s", err, b)
		default:
		}
		if res, err := http.Get(m.url + "/moto-api/"); err == nil {
			_ = res.Body.Close()
			return m
		}
		if time.Now().After(deadline) {
			t.Fatal("moto_server does not answer within 90 s")
		}
	}
}

// send makes a request that looks signed. moto finds the service in the signature.
func (m *moto) send(t *testing.T, service, method, path string, header map[string]string, body []byte) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAMOTO/20260101/"+region+"/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", service, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s: %s", service, res.Status, text)
	}
	return text, err
}

// node is an element of an XML response.
type node struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
	Nodes   []node `xml:",any"`
}

// all returns the elements at a path such as securityGroupInfo/item.
func (n node) all(path string) []node {
	name, rest, more := strings.Cut(path, "/")
	var found []node
	for _, child := range n.Nodes {
		switch {
		case child.XMLName.Local != name:
		case more:
			found = append(found, child.all(rest)...)
		default:
			found = append(found, child)
		}
	}
	return found
}

// text returns the text at a path, or an empty string if there is none.
func (n node) text(path string) string {
	if found := n.all(path); len(found) > 0 {
		return strings.TrimSpace(found[0].Text)
	}
	return ""
}

// query calls an action of CloudFormation or EC2.
func (m *moto) query(t *testing.T, service, action string, pairs ...string) (node, error) {
	t.Helper()
	form := url.Values{"Action": {action}, "Version": {map[string]string{"ec2": "2016-11-15", "cloudformation": "2010-05-15"}[service]}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	text, err := m.send(t, service, http.MethodPost, "/", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, []byte(form.Encode()))
	if err != nil {
		return node{}, fmt.Errorf("%s: %w", action, err)
	}
	var n node
	if err := xml.Unmarshal(text, &n); err != nil {
		return node{}, fmt.Errorf("%s: %w: %.300s", action, err, text)
	}
	return n, nil
}

func (m *moto) mustQuery(t *testing.T, service, action string, pairs ...string) node {
	t.Helper()
	n, err := m.query(t, service, action, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// emr calls an action of EMR.
func (m *moto) emr(t *testing.T, action string, in any) object {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.send(t, "elasticmapreduce", http.MethodPost, "/", map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "ElasticMapReduce." + action}, body)
	if err != nil {
		t.Fatal(err)
	}
	var out object
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
