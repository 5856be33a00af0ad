package bundle

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// planted are the secrets that every source of the planted node has.
var planted = []string{
	"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJIMEYCIQDexample9",
	"hunter2proxy", "123456789012", "Finance-Top-Secret", "Tr0ub4dor&3", "0fe1ab99presigned", "hunter2basic", "environment-secret",
}

// poison has all planted secrets in the forms in which they occur.
const poison = `keys AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
token IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJIMEYCIQDexample9
proxy http://user:hunter2proxy@proxy.example:3128 and user:hunter2proxy@proxy.example
account 123456789012 arn:aws:iam::123456789012:role/Finance-Top-Secret
javax.jdo.option.ConnectionPassword=Tr0ub4dor&3 and alone: Tr0ub4dor&3
GET https://b.s3.amazonaws.com/k?X-Amz-Signature=0fe1ab99presigned
the environment's environment-secret
https://name:hunter2basic@host/path
`

// plantedNode is a node in whose files and programs there are secrets.
func plantedNode(t *testing.T) Node {
	t.Helper()
	root := t.TempDir()
	c := cloud.New(cloud.Options{Seed: 1})
	subnet := c.CreateSubnet(c.CreateVPC(prefix("10.0.0.0/16")), prefix("10.0.1.0/24"))
	cluster, err := c.LaunchCluster(cloud.ClusterSpec{Subnet: subnet, Masters: 1, Cores: 1, Args: strings.Fields(poison)})
	if err != nil {
		t.Fatal(err)
	}
	for p, content := range cluster.Nodes[0].EMRFiles(cloud.FilesFull) {
		if strings.HasSuffix(p, ".json") { // values everywhere
			content = []byte(strings.Replace(string(content), "{", `{"configurations": [{"properties": {"javax.jdo.option.ConnectionPassword": "Tr0ub4dor&3"}}], "x": `+quoted(poison)+`,`, 1))
		} else {
			content = append(content, poison...)
		}
		write(t, filepath.Join(root, p), content)
	}
	for p, content := range map[string]string{
		"etc/os-release": poison, "proc/version": poison, "etc/resolv.conf": poison, "proc/net/route": poison, "proc/modules": poison,
		"proc/sys/net/ipv4/ip_forward": "1\n", "proc/sys/net/netfilter/nf_conntrack_max": poison, "proc/sys/net/netfilter/nf_conntrack_count": poison,
		"state/state.json": `{"v": 5, "note": ` + quoted(poison) + `, "list": [` + quoted(poison) + `]}`, "state/failed.json": `{"error": ` + quoted(poison) + `}`, "state/absent.json": `{"password": "Tr0ub4dor&3"}`,
		"etc/systemd/system/emr-static-ip-restore.service": poison, "etc/systemd/system/emr-static-ip-retry.service": poison, "etc/systemd/system/emr-static-ip-retry.timer": poison,
		"mnt/var/lib/instance-controller/public/shutdown-actions/emr-static-ip-release.sh": poison,
		"mnt/var/lib/info/123456789012": poison, "mnt/var/lib/info/unknown.json": "not JSON\n" + poison, "mnt/var/lib/info/empty.json": "",
		"mnt/var/log/bootstrap-actions/1/stderr":                    "emr-static-ip\n" + poison,
		"mnt/var/log/bootstrap-actions/1/controller":                poison,
		"mnt/var/log/bootstrap-actions/2/stderr":                    "somebody else's\n",
		"mnt/var/log/bootstrap-actions/AKIAIOSFODNN7EXAMPLE/stdout": "emr-static-ip\n" + poison,
	} {
		write(t, filepath.Join(root, p), []byte(content))
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "mnt/var/log/bootstrap-actions/1/stdout")); err != nil {
		t.Fatal(err)
	}
	return Node{
		Env: host.Environment{Root: root, Environ: func() []string {
			return []string{"AWS_SECRET_ACCESS_KEY=environment-secret", "HTTPS_PROXY=http://user:hunter2proxy@proxy", "EMR_STATIC_IP_CORE_IPS=10.0.1.10", "EMR_STATIC_IP_VERIFY=" + poison, "OTHER=" + poison}
		}},
		StateDir: "/state",
		Run: func(_ context.Context, argv []string) ([]byte, error) {
			switch argv[0] {
			case "nft":
				return nil, &exec.Error{Name: "nft", Err: exec.ErrNotFound}
			case "iptables-save":
				return nil, errors.New("exit status 4: " + poison)
			}
			return []byte(strings.Join(argv, " ") + "\n" + poison), nil
		},
	}
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"` }

// No planted secret is in the bundle of a node, whatever part it is in.
func TestNoSecretInBundle(t *testing.T) {
	n := plantedNode(t)
	redactor := &host.Redactor{}
	redactor.HideEnvironment(func(name string) string {
		return map[string]string{"AWS_SECRET_ACCESS_KEY": "environment-secret", "HTTPS_PROXY": "http://user:hunter2proxy@proxy"}[name]
	})
	parts := append(n.Parts(), Part{Name: "doctor.json", Kind: JSON, Read: func(context.Context) ([]byte, error) {
		return []byte(`{"findings": [{"detail": ` + quoted(poison) + `}], "token": "Tr0ub4dor&3"}`), errors.New(poison)
	}})
	files := Collect(t.Context(), redactor, parts)
	var b bytes.Buffer
	if err := Write(&b, poison, time.Unix(0, 0), files); err != nil {
		t.Fatal(err)
	}
	read, err := Read(&b)
	if err != nil || len(read) != len(files) {
		t.Fatal(len(read), len(files), err)
	}
	seen := map[string]bool{}
	for _, f := range files {
		seen[f.Name] = true
		all := f.Name + "\n" + f.Note + "\n" + string(f.Content)
		for _, secret := range planted {
			if strings.Contains(all, secret) {
				t.Errorf("%s has %s:\n%s", f.Name, secret, all)
			}
		}
		if strings.Contains(string(f.Content), "root:") {
			t.Errorf("%s followed a link:\n%s", f.Name, f.Content)
		}
		if strings.Contains(string(f.Content), "somebody else") {
			t.Errorf("%s has the log of another bootstrap action", f.Name)
		}
	}
	for _, name := range []string{"emr/files/mnt/var/lib/info/job-flow.json", "emr/files/mnt/var/lib/info/unknown.json.failed", "emr/files/mnt/var/lib/info/job-flow-state.txt",
		"emr/bootstrap-actions/stderr.txt", "state/state.json", "network/iptables.txt.failed", "journal/emr-static-ip.txt", "units/emr-static-ip-restore.service", "doctor.json"} {
		if !seen[name] {
			t.Errorf("no %s among %q", name, Names(files))
		}
	}
	if seen["network/nftables.txt"] || seen["network/nftables.txt.failed"] {
		t.Error("a program that is not there is a problem")
	}
}

// Names returns the names of the files, sorted.
func Names(files []File) (names []string) {
	for _, f := range files {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

// A part that fails, hangs, panics or is too large costs only itself.
func TestCollectOfBrokenNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		hang := func(ctx context.Context) ([]byte, error) { <-ctx.Done(); return []byte("a part\n"), ctx.Err() }
		text := func(s string) func(context.Context) ([]byte, error) {
			return func(context.Context) ([]byte, error) { return []byte(s), nil }
		}
		parts := []Part{
			{Name: "good", Read: text("good\n")},
			{Name: "absent", Read: func(context.Context) ([]byte, error) { return nil, ErrAbsent }},
			{Name: "fails", Read: func(context.Context) ([]byte, error) { return nil, errors.New("no") }},
			{Name: "panics", Read: func(context.Context) ([]byte, error) { panic("a bug") }},
			{Name: "hangs", Read: hang, Wait: time.Second},
			{Name: "large", Read: text("secret first line\n" + strings.Repeat("0123456789\n", MaxFile/10))},
			{Name: "one long line", Read: text(strings.Repeat("x", 2*MaxFile))},
			{Name: "no JSON", Kind: JSON, Read: text("{")},
		}
		for range 20 {
			parts = append(parts, Part{Name: "hangs long", Read: hang})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		files := Collect(ctx, nil, parts)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("took %s", took)
		}
		var listing strings.Builder
		for _, e := range Entries(files[:7]) {
			listing.WriteString(e.line() + "\n")
		}
		golden.Is(t, "broken.txt", listing.String())
		for _, f := range files {
			if len(f.Content) > MaxFile || strings.Contains(string(f.Content), "secret first line") {
				t.Errorf("%s has %d bytes", f.Name, len(f.Content))
			}
		}
	})
}

// What is not on the node is named, with where it was looked for.
func TestWhatIsMissing(t *testing.T) {
	root := t.TempDir()
	logs := filepath.Join(root, bootstrapLogs)
	write(t, filepath.Join(logs, "1", "controller"), []byte("emr-static-ip\n"))
	write(t, filepath.Join(logs, "1", "stderr", "x"), nil)
	write(t, filepath.Join(logs, "2", "stderr"), []byte("emr-static-ip\n"))
	if err := os.Symlink("/etc/hostname", filepath.Join(logs, "2", "stdout")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "etc/resolv.conf", "x"), nil)
	write(t, filepath.Join(root, "etc/os-release"), []byte("Linux\n"))
	n := Node{Env: host.Environment{Root: root}, StateDir: "/state", Run: func(_ context.Context, argv []string) ([]byte, error) {
		return nil, &exec.Error{Name: argv[0], Err: exec.ErrNotFound}
	}}
	files := Collect(t.Context(), nil, n.Parts())
	var all strings.Builder
	for _, f := range files {
		all.WriteString(strings.TrimSuffix(f.Name+": "+f.Note, ": ") + "\n")
	}
	golden.Is(t, "missing.txt", strings.ReplaceAll(all.String(), root, ""))
}

// The whole bundle is bounded, too.
func TestCollectIsBounded(t *testing.T) {
	var parts []Part
	for range MaxTotal/MaxFile + 5 {
		parts = append(parts, Part{Name: "x", Read: func(context.Context) ([]byte, error) { return []byte(strings.Repeat("0123456\n", MaxFile/8)), nil }})
	}
	total := 0
	files := Collect(t.Context(), nil, parts)
	for _, f := range files {
		total += len(f.Content)
	}
	if total > MaxTotal+MaxFile || len(files) != len(parts) || files[len(files)-1].Note == "" {
		t.Errorf("%d files of %d bytes", len(files), total)
	}
}

// The programs that exist are run, and bounded.
func TestOutput(t *testing.T) {
	for _, test := range []struct {
		argv []string
		want func(out string, err error) bool
	}{
		{[]string{"sh", "-c", "echo a; echo b >&2; exit 3"}, func(out string, err error) bool {
			return out == "a\n" && err != nil && strings.Contains(err.Error(), "b")
		}},
		{[]string{"sh", "-c", "echo version >&2"}, func(out string, err error) bool { return out == "version\n" && err == nil }},
		{[]string{"head", "-c", "9000000", "/dev/zero"}, func(out string, err error) bool { return len(out) == maxOutput && err != nil }},
		{[]string{"sleep", "100"}, func(out string, err error) bool { return out == "" && err != nil }},
		{[]string{"no-such-program"}, func(out string, err error) bool { return errors.Is(err, exec.ErrNotFound) }},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		out, err := output(ctx, test.argv)
		cancel()
		if !test.want(string(out), err) {
			t.Errorf("%q: %d bytes, %v", test.argv, len(out), err)
		}
	}
}
