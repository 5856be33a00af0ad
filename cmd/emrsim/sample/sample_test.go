package sample

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/bundle"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// launch returns a cluster of the model.
func launch(t *testing.T, seed uint64, spec cloud.ClusterSpec) *cloud.Cluster {
	t.Helper()
	c := cloud.New(cloud.Options{Seed: seed})
	spec.Subnet = c.CreateSubnet(c.CreateVPC(netip.MustParsePrefix("10.0.0.0/16")), netip.MustParsePrefix("10.0.1.0/24"))
	cluster, err := c.LaunchCluster(spec)
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// collected writes the bundle of a node and returns its name.
func collected(t *testing.T, files map[string][]byte) string {
	t.Helper()
	var parts []bundle.Part
	for p, content := range files {
		kind := bundle.EMR
		if strings.HasSuffix(p, ".txt") {
			kind = bundle.State
		}
		parts = append(parts, bundle.Part{Name: bundle.EMRFiles + "/" + p, Kind: kind, Read: func(context.Context) ([]byte, error) { return content, nil }})
	}
	parts = append(parts, bundle.Part{Name: "doctor.json", Kind: bundle.JSON, Read: func(context.Context) ([]byte, error) { return []byte("{}"), nil }})
	name := filepath.Join(t.TempDir(), "node.tar.gz")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := bundle.Write(f, "test", time.Now(), bundle.Collect(t.Context(), nil, parts)); err != nil {
		t.Fatal(err)
	}
	return name
}

// The files of a node's bundle make another cluster's node of that role what it is there.
func TestFiles(t *testing.T) {
	for _, spec := range []cloud.ClusterSpec{{Masters: 1, Cores: 2, Tasks: 1}, {Masters: 3, Cores: 1}, {Masters: 1, Cores: 1, Tasks: 1, Fleets: true}} {
		real, here := launch(t, 1, spec), launch(t, 2, spec)
		for i, n := range real.Nodes {
			s, err := ReadAll(t.Context(), collected(t, n.EMRFiles(cloud.FilesFull)))
			if err != nil || len(s) != 1 || s[0].Role != n.Role || s[0].Release != real.ReleaseLabel {
				t.Fatalf("%+v, %v", s, err)
			}
			target := here.Nodes[i]
			root := t.TempDir()
			for p, content := range s.Files(target) {
				p = filepath.Join(root, p)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(p, content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			files := emr.ReadFiles(root)
			cluster, _ := files.ClusterID()
			group, _ := files.GroupID()
			role, err := emr.DetectRole(t.Context(), "", files, nil)
			if err != nil || cluster != target.ClusterID || group != target.GroupID || string(role.Role) != target.Role || len(files.Problems()) > 0 {
				t.Errorf("%s %s: %v, %s, %s, %v, %v", n.Role, target.InstanceID, role, cluster, group, err, files.Problems())
			}
			for _, other := range here.Nodes {
				if other.Role != n.Role && s.Files(other) != nil {
					t.Errorf("a %s node has the files of a %s node", other.Role, n.Role)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	cluster := launch(t, 1, cloud.ClusterSpec{Masters: 1, Cores: 2})
	core := collected(t, cluster.Nodes[1].EMRFiles(cloud.FilesFull))
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ names, want string }{
		{filepath.Join(t.TempDir(), "none"), "no such file"},
		{text, "no bundle"},
		{collected(t, nil), "none of EMR's files"},
		{collected(t, map[string][]byte{"mnt/var/lib/info/instance.json": []byte("{}")}), "which role"},
		{core + "," + core, "both of a core node"},
	} {
		if _, err := ReadAll(t.Context(), test.names); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.names, err, test.want)
		}
	}
}
