package emr

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestSamples reads files that EMR itself wrote. Each folder of testdata is one node.
func TestSamples(t *testing.T) {
	tests := []struct {
		folder, release, cluster, group string
		role                            Role
		roleFrom                        string
		cores, tasks                    int
		countsFrom                      string
		certain                         bool // about the counts
	}{
		{"ami-3.x-2015", "", "j-1EXAMPLE00001", "ig-EXAMPLE000001", Master, "job-flow.json", 1, 0, "/mnt/var/lib/info/job-flow.json", true},
		{"emr-5.12.0-master", "emr-5.12.0", "j-1EXAMPLE00001", "ig-EXAMPLE000001", Master, "extraInstanceData.json", 4, 0, "/mnt/var/lib/info/extraInstanceData.json", false},
		{"emr-5.21.0-master", "emr-5.21.0", "j-1EXAMPLE00001", "ig-EXAMPLE000001", Master, "extraInstanceData.json", 5, 0, "/mnt/var/lib/info/extraInstanceData.json", false},
		{"emr-5.23.0-master", "emr-5.23.0", "j-1EXAMPLE00001", "ig-EXAMPLE000001", Master, "extraInstanceData.json", 2, 0, "/mnt/var/lib/info/extraInstanceData.json", false},
		{"emr-5.29.0-master", "emr-5.29.0", "j-1EXAMPLE00001", "ig-EXAMPLE000001", Master, "extraInstanceData.json", 2, 0, "/mnt/var/lib/info/extraInstanceData.json", false},
		{"emr-7.2.0-master", "emr-7.2.0", "j-1EXAMPLE00001", "ig-EXAMPLE000001", Master, "extraInstanceData.json", 1, 0, "/mnt/var/lib/info/extraInstanceData.json", false},
	}
	folders, err := filepath.Glob("testdata/*/instance.json")
	if err != nil || len(folders) != len(tests) {
		t.Fatalf("%d folders in testdata, %d expectations: %v", len(folders), len(tests), err)
	}
	for _, test := range tests {
		t.Run(test.folder, func(t *testing.T) {
			found, err := filepath.Glob(filepath.Join("testdata", test.folder, "*"))
			if err != nil || len(found) < 2 {
				t.Fatalf("%q: %v", found, err)
			}
			tree := map[string]string{}
			for _, name := range found {
				content, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				tree["/mnt/var/lib/info/"+filepath.Base(name)] = string(content)
			}
			files := ReadFiles(emrTree(t, tree))
			if problems := files.Problems(); len(problems) > 0 {
				t.Errorf("problems %v", problems)
			}
			cluster, _ := files.ClusterID()
			group, _ := files.GroupID()
			if cluster != test.cluster || group != test.group || files.Release() != test.release || files.Fleets() {
				t.Errorf("cluster %q, group %q, release %q, fleets %t", cluster, group, files.Release(), files.Fleets())
			}
			d, err := DetectRole(context.Background(), "", files, nil)
			if err != nil || d.Role != test.role || d.Source != test.roleFrom || len(d.Warnings) > 0 {
				t.Errorf("role %+v, %v", d, err)
			}
			for role, want := range map[Role]int{Core: test.cores, Task: test.tasks} {
				n, from := files.Requested(role)
				if n != want || from != test.countsFrom || files.Certain(from) != test.certain {
					t.Errorf("%s: %d from %q, certain %t", role, n, from, files.Certain(from))
				}
			}
			if n, from := files.Masters(); n != 1 || from != test.countsFrom {
				t.Errorf("%d masters from %q", n, from)
			}
		})
	}
}
