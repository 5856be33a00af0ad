package agent

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
)

// putRecord writes the raw value of an address's parameter.
func (n *testNode) putRecord(a, value string) {
	n.t.Helper()
	_, err := ssm.NewFromConfig(n.on().Session().AWS.Config).PutParameter(n.t.Context(), &ssm.PutParameterInput{
		Name: aws.String(n.record(a)), Value: &value, Type: types.ParameterTypeString, Overwrite: aws.Bool(true),
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *testNode) record(a string) string { return DefaultPrefix + "/" + n.SubnetID + "/" + a }

// value is what the ledger has for an address.
func (n *testNode) value(a string) string {
	for _, p := range n.cloud.Parameters() {
		if p.Name == n.record(a) {
			return p.Value
		}
	}
	return ""
}

// editState changes the JSON of the state file.
func (n *testNode) editState(edit func(map[string]any)) string {
	n.t.Helper()
	p := filepath.Join(n.cfg.StateDir, state.File)
	var v map[string]any
	if err := json.Unmarshal([]byte(n.read(p)), &v); err != nil {
		n.t.Fatal(err)
	}
	edit(v)
	text, err := json.Marshal(v)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.env.Path(p), text, 0o600); err != nil {
		n.t.Fatal(err)
	}
	return string(text)
}

// What a newer version of the same format has added, in the state file and in the ledger, is no
// reason to change anything, and what an older one has left out neither.
func TestFieldsOfOtherVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		record := strings.Replace(n.value("10.0.1.21"), `{"v":1,`, `{"v":1,"added":{"later":[1]},`, 1)
		n.putRecord("10.0.1.21", record)
		n.editState(func(v map[string]any) {
			v["tool"], v["added"] = "v99", map[string]any{"later": []int{1}}
			v["settings"].(map[string]any)["added"] = "later"
		})
		for _, cfg := range []Config{n.cfg, DefaultConfig()} {
			rep, err := Apply(t.Context(), cfg, n.env)
			if err != nil || len(rep.Changes)+len(rep.Warnings) > 0 {
				t.Errorf("%v: changes %q, warnings %q", err, rep.Changes, rep.Warnings)
			}
		}
		if got := n.value("10.0.1.21"); got != record {
			t.Errorf("the record was %s\nand is %s", record, got)
		}
		// The state names the version that wrote it, which keeps what it knows.
		if s := n.state(); s.Tool != Version() || s.Phase != PhaseProgrammed || s.Static.String() != "10.0.1.21" {
			t.Errorf("the state file is %+v", s)
		}
		if s, err := Inspect(t.Context(), n.cfg, n.env); err != nil || s.Verdict != VerdictInOrder {
			t.Errorf("status: %v, %v %q", err, s.Verdict, s.Reasons)
		}

		// A file from before restore, --no-units and --no-shutdown-action.
		n.editState(func(v map[string]any) {
			delete(v, "vpc")
			delete(v, "added")
			delete(v["settings"].(map[string]any), "no_units")
			delete(v["settings"].(map[string]any), "no_shutdown_action")
		})
		if rep, err := Apply(t.Context(), DefaultConfig(), n.env); err != nil || len(rep.Changes)+len(rep.Warnings) > 0 {
			t.Errorf("an older file: %v, changes %q, warnings %q", err, rep.Changes, rep.Warnings)
		}
		if s := n.state(); len(s.VPC) != 2 {
			t.Errorf("an older file is not completed: VPC %v", s.VPC)
		}
	})
}

// A state file of a later format is neither used nor changed. Every command that needs it ends and
// says what to do.
func TestStateOfALaterFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		n.apply()
		n.editState(func(v map[string]any) { v["version"] = 2 })
		files, rules, calls := n.snapshot(), n.kernel.Rules(), len(n.cloud.Parameters())
		for name, do := range map[string]operation{"apply": Apply, "release": Release, "restore": Restore, "plan": Plan} {
			_, err := do(t.Context(), n.cfg, n.env)
			if CodeOf(err) != ExitInternal || !errors.Is(err, state.ErrVersion) || len(exit.Remedies(err)) == 0 {
				t.Errorf("%s: %v %q", name, err, exit.Remedies(err))
			}
		}
		if !slices.Equal(n.snapshot(), files) || n.kernel.Rules() != rules || len(n.cloud.Parameters()) != calls {
			t.Error("something was changed")
		}
		// As the message says.
		os.Remove(n.env.Path(filepath.Join(n.cfg.StateDir, state.File)))
		if rep := n.apply(); rep.Static != netip.MustParseAddr("10.0.1.21") || len(rep.Changes) > 0 || n.kernel.Rules() != rules {
			t.Errorf("without the file: %v, %q", rep.Static, rep.Changes)
		}
	})
}

// A record of a later format is neither free nor stale, whichever instance it names. The node takes
// the next address, and the error of a full pool names the record.
func TestRecordOfALaterFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newTestNode(t, cloud.Options{})
		const later = `{"v":2,"owner":{"instance":"i-0dead"}}`
		n.putRecord("10.0.1.21", later)
		if rep := n.apply(); rep.Static != netip.MustParseAddr("10.0.1.22") || n.value("10.0.1.21") != later {
			t.Errorf("took %v, and the record is %s", rep.Static, n.value("10.0.1.21"))
		}
		if _, err := Release(t.Context(), n.cfg, n.env); err != nil || n.value("10.0.1.21") != later {
			t.Errorf("release: %v, and the record is %s", err, n.value("10.0.1.21"))
		}
		n.putRecord("10.0.1.22", later)
		_, err := Apply(t.Context(), n.cfg, n.env)
		if CodeOf(err) != ExitNoAddress || !strings.Contains(err.Error(), "version 2") || n.value("10.0.1.22") != later {
			t.Errorf("a full pool: %v", err)
		}
	})
}
