package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/pool"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
	"github.com/emr-static-ip/emr-static-ip/internal/tag"
)

// testState has a value in every field, so that a test notices one that is not kept.
func testState() State {
	return State{
		Version: Version, Tool: "v1", Written: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), Phase: Programmed,
		InstanceID: "i-0a1", ClusterID: "j-1", Role: emr.Core, SubnetID: "subnet-1", ENI: "eni-1", MAC: "02:00:00:00:00:01", Link: "ens5",
		Backend: "iptables v1.8.9 (nf_tables)", Primary: netip.MustParseAddr("10.0.1.99"), Static: netip.MustParseAddr("10.0.1.11"),
		VPC:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("10.1.0.0/16")},
		Former: netiptest.Addrs("10.0.1.12"), Intents: netiptest.Addrs("10.0.1.13 10.0.1.14"), Gateways: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, GatewaysAt: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), RecordDue: time.Date(2025, 1, 2, 3, 5, 5, 0, time.UTC), Named: true, Lost: true, TakingBack: true,
		Unproven: netiptest.Addrs("10.0.1.11 10.0.1.13"), Before: netip.MustParseAddr("10.0.1.12"), BeforeDue: time.Date(2025, 1, 2, 3, 5, 4, 0, time.UTC),
		Settings: Settings{
			Pools: pool.Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11 10.0.1.12"), Task: netiptest.Addrs("10.0.1.20")},
			Role:  emr.Core, OnError: "continue", Scope: "all", ScopeFrom: ScopeDerived, Only: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")},
			Exclude: []netip.Prefix{netip.MustParsePrefix("192.168.9.0/24")}, Backend: "iptables", Prefix: "/x", NameTag: true, NoUnits: true, PutRate: 5,
			Verify:           []verify.Target{{Host: "192.168.50.10", Port: 8020}, {Host: "nn.example.com", Port: 443}},
			NoShutdownAction: true, ClaimTags: []tag.Tag{{Key: "team", Value: "data"}, {Key: "empty"}},
		},
	}
}

func TestStateIsKept(t *testing.T) {
	// Every field is set, so that the comparison below means something.
	for v, i := reflect.ValueOf(testState()), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("testState leaves %s empty", v.Type().Field(i).Name)
		}
	}
	dir := filepath.Join(t.TempDir(), "lib", "state")
	want := testState()
	for range 2 { // the second time replaces the file
		if err := Save(dir, want); err != nil {
			t.Fatal(err)
		}
	}
	for _, instance := range []string{"i-0a1", ""} {
		got, ok, err := Load(dir, instance)
		if err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %t, %v\nwant %+v", got, ok, err, want)
		}
	}
	for path, want := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, filepath.Join(dir, File): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}

func TestStateOfNothing(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{dir, dir + "/missing/missing"} {
		if got, ok, err := Load(d, "i-1"); ok || err != nil || !reflect.DeepEqual(got, State{}) {
			t.Errorf("%s: %v, %t, %v", d, got, ok, err)
		}
	}
}

func TestStateThatIsNotUsed(t *testing.T) {
	valid, err := json.Marshal(testState())
	if err != nil {
		t.Fatal(err)
	}
	with := func(old, new string) string {
		s := strings.Replace(string(valid), old, new, 1)
		if s == string(valid) {
			t.Fatalf("%s has no %s", valid, old)
		}
		return s
	}
	file := func(content string) func(dir string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, File), []byte(content), 0o600) }
	}
	tests := []struct {
		name string
		make func(dir string) error
		want error
	}{
		{"empty, as after a power failure without fsync", file(""), ErrCorrupt},
		{"cut off", file(string(valid[:len(valid)/2])), ErrCorrupt},
		{"not an object", file("[]"), ErrCorrupt},
		{"no version", file("{}"), ErrCorrupt},
		{"a field of another type", file(with(`"cluster":"j-1"`, `"cluster":1`)), ErrCorrupt},
		{"not an address", file(with(`"10.0.1.13"`, `"10.0.1.1300"`)), ErrCorrupt},
		{"an empty address in a list", file(with(`"10.0.1.13"`, `""`)), ErrCorrupt},
		{"IPv6", file(with(`"static":"10.0.1.11"`, `"static":"fd00::1"`)), ErrCorrupt},
		{"unknown phase", file(with(`"phase":"programmed"`, `"phase":"done"`)), ErrCorrupt},
		{"no instance", file(with(`"instance":"i-0a1"`, `"instance":""`)), ErrCorrupt},
		{"of a later version", file(with(`"version":1`, `"version":2`)), ErrVersion},
		{"of a later version with other types", file(`{"version":2,"phase":{}}`), ErrVersion},
		{"of another instance", file(with(`"instance":"i-0a1"`, `"instance":"i-0b2"`)), ErrForeign},
		{"writable by the group", func(dir string) error {
			return errors.Join(file(string(valid))(dir), os.Chmod(filepath.Join(dir, File), 0o620))
		}, ErrUnsafe},
		{"a link", func(dir string) error {
			other := filepath.Join(t.TempDir(), "other")
			return errors.Join(os.WriteFile(other, valid, 0o600), os.Symlink(other, filepath.Join(dir, File)))
		}, ErrUnsafe},
		{"a directory", func(dir string) error { return os.Mkdir(filepath.Join(dir, File), 0o700) }, ErrUnsafe},
		{"in a directory that others write", func(dir string) error {
			return errors.Join(file(string(valid))(dir), os.Chmod(dir, 0o777))
		}, ErrUnsafe},
		{"of another user", func(dir string) error {
			if os.Geteuid() != 0 {
				return errors.ErrUnsupported
			}
			return errors.Join(file(string(valid))(dir), os.Chown(filepath.Join(dir, File), 12345, 0))
		}, ErrUnsafe},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := test.make(dir); errors.Is(err, errors.ErrUnsupported) {
				if os.Getenv("REQUIRE_NETNS") == "1" {
					t.Fatal("REQUIRE_NETNS=1, and this needs root")
				}
				t.Skip("needs root")
			} else if err != nil {
				t.Fatal(err)
			}
			got, ok, err := Load(dir, "i-0a1")
			if ok || !errors.Is(err, test.want) || !reflect.DeepEqual(got, State{}) {
				t.Errorf("got %t, %v, want %v", ok, err, test.want)
			}
			if !strings.Contains(fmt.Sprint(err), filepath.Join(dir, File)) {
				t.Errorf("%v does not name the file", err)
			}
		})
	}
}

func TestSaveStateRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := Save(dir, State{Phase: Attached}); err == nil {
		t.Error("a state without an instance was written")
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, testState()); !errors.Is(err, ErrUnsafe) {
		t.Errorf("into a directory that others write: %v", err)
	}
	if err := Save("/dev/null/x/y", testState()); err == nil || !strings.Contains(err.Error(), "/dev/null/x/y/state.json") {
		t.Errorf("got %v", err)
	}
}

// TestSaveStateAfterAKilledRun: what a killed run leaves does not hinder the next, and does not
// collect.
func TestSaveStateAfterAKilledRun(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "."+File+".tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := Load(dir, ""); ok || err != nil {
		t.Errorf("%t, %v", ok, err)
	}
	if err := Save(dir, testState()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 1 {
		t.Errorf("left behind: %q", left)
	}
}

// FuzzState: what is accepted is valid, and reads back the same after it is written.
func FuzzState(f *testing.F) {
	valid, err := json.Marshal(testState())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(valid)
	f.Add([]byte(`{"version":1,"phase":"claiming","instance":"i-1"}`))
	f.Add([]byte(`{"version":1,"phase":"claiming","instance":"i-1","static":"","intents":["::1"]}`))
	f.Add([]byte(`{"version":1e0}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeState(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("unclassified: %v", err)
			}
			return
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeState(encoded)
		if err != nil {
			t.Fatalf("%s: %v", encoded, err)
		}
		if twice, _ := json.Marshal(again); string(twice) != string(encoded) {
			t.Fatalf("%s\n%s", encoded, twice)
		}
	})
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	unlock, err := Lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*lockPoll/2)
	defer cancel()
	_, err = Lock(ctx, dir)
	if !errors.Is(err, context.DeadlineExceeded) || exit.CodeOf(err) != exit.Deadline {
		t.Fatalf("second lock: %v", err)
	}
	if want := fmt.Sprintf("(process %d)", os.Getpid()); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir+"/lock") {
		t.Errorf("%v\nlacks %s or %s", err, want, dir)
	}
	time.AfterFunc(lockPoll/2, unlock)
	bounded, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	again, err := Lock(bounded, dir)
	if err != nil {
		t.Fatalf("after unlocking: %v", err)
	}
	unlock() // a second time: must not free what somebody else holds now
	if _, err := Lock(ctx, dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two hold the lock: %v", err)
	}
	again()
}

func TestLockIsExclusive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var holders, most int
	var count sync.Mutex
	add := func(n int) {
		count.Lock()
		defer count.Unlock()
		holders += n
		most = max(most, holders)
	}
	for range 5 {
		wg.Go(func() {
			unlock, err := Lock(ctx, dir)
			if err != nil {
				t.Error(err)
				return
			}
			add(1)
			time.Sleep(5 * time.Millisecond)
			add(-1)
			unlock()
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d held the lock at once", most)
	}
}

func TestLockRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), dir); !errors.Is(err, ErrUnsafe) {
		t.Errorf("in a directory that others write: %v", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, lockFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), dir); err == nil {
		t.Error("a link was followed")
	}
}
