// Package simulation is test code: nothing imports it, and no program contains it. Its tests run
// many agents in virtual time. Each is the real agent with the real AWS SDK, against the model of
// the cloud. Nodes are launched, crash, restart, terminate and are resized, under throttling, stale
// reads and lost responses. After every step the tests check that the protocol's rules hold.
//
// Everything is derived from a seed. All waiting is virtual (testing/synctest). Every random choice
// has its own stream. No two calls of different nodes take effect at the same instant. So a seed
// always gives the same run.
package simulation

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// World is a cloud with the nodes on which agents run.
type World struct {
	Seed  uint64
	Cloud *cloud.Cloud
	// Step is called after every effect of any agent.
	Step func()
	// Transport returns the connection of an instance to AWS.
	Transport func(instanceID string) http.RoundTripper
	// Operators adds operators who clean up the ledger during a launch.
	Operators bool
	// Late makes changes take effect after the node has given up on them, has tried again, or has
	// been killed and run again.
	Late bool
	// Log, if not nil, receives the agents' logs.
	Log *zap.Logger

	dir     string
	program string // the program that agents install

	mu         sync.Mutex
	nodes      []*Node
	parsed     map[string]parsedRecord
	taken      map[netip.Addr]bool // addresses taken by somebody outside the ledger
	violations []string
}

// NewWorld returns a world without nodes. Close removes its files.
func NewWorld(o cloud.Options) (*World, error) {
	dir, err := os.MkdirTemp(memoryDir(), "emrsim-")
	if err != nil {
		return nil, err
	}
	w := &World{Seed: o.Seed, Cloud: cloud.New(o), dir: dir, program: filepath.Join(dir, "program"), parsed: map[string]parsedRecord{}, taken: map[netip.Addr]bool{}}
	w.Transport = w.Cloud.Transport
	w.Cloud.Watch(w.checkHolder)
	return w, os.WriteFile(w.program, []byte("the program"), 0o755)
}

// Close removes the nodes' files.
func (w *World) Close() error { return os.RemoveAll(w.dir) }

// memoryDir returns a directory in memory, if there is one, because the agent syncs its state file
// to disk.
func memoryDir() string {
	const shm = "/dev/shm"
	if f, err := os.CreateTemp(shm, "emrsim-probe-"); err == nil {
		f.Close()
		os.Remove(f.Name())
		return shm
	}
	return ""
}

func (w *World) log(n *Node, run int64) *zap.Logger {
	if w.Log == nil {
		return zap.NewNop()
	}
	return w.Log.With(zap.String("node", n.InstanceID), zap.Int64("run", run))
}

// violate records a violation.
func (w *World) violate(format string, args ...any) {
	const most = 20
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := fmt.Sprintf(format, args...); len(w.violations) < most && !slices.Contains(w.violations, text) {
		w.violations = append(w.violations, text)
	}
}

// parsedRecord is the result of ParseRecord. It is cached because all records are checked after
// each step, and few have changed.
type parsedRecord struct {
	record ssmcoord.Record
	err    error
}

func (w *World) parse(value string) (ssmcoord.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.parsed[value]
	if !ok {
		p.record, p.err = ssmcoord.ParseRecord(value)
		w.parsed[value] = p
	}
	return p.record, p.err
}

// CheckSafety checks what must hold at any moment: EC2 has each address that a node's kernel uses
// on that node's own interface, and no two nodes use the same address.
func (w *World) CheckSafety() {
	users := map[netip.Addr]*Node{}
	carried := map[string][]netip.Addr{}
	for _, e := range w.Cloud.ENIs() {
		carried[e.ID] = e.Addresses
	}
	for _, n := range w.living() {
		for _, a := range n.Kernel.Uses(n.primaries()...) {
			if other := users[a]; other != nil && other.SubnetID == n.SubnetID {
				w.violate("safety: %s is in use by %s and by %s", a, other.InstanceID, n.InstanceID)
			}
			users[a] = n
			if !slices.Contains(carried[n.ENI], a) && !w.tookLate(n, a) {
				w.violate("safety: %s uses %s, which EC2 has on %v", n.InstanceID, a, w.Cloud.Holders(n.SubnetID, a))
			}
		}
	}
}

// CheckTruth checks what must hold at the end: ledger, EC2 and kernel agree about every node, and
// nothing is left behind. Addresses in foreign are held, or blocked by an unreadable record, by
// somebody outside this world.
func (w *World) CheckTruth(prefix string, foreign map[netip.Addr]bool) {
	records := map[string]ssmcoord.Record{} // by parameter name
	for _, p := range w.Cloud.Parameters() {
		r, err := w.parse(p.Value)
		if err == nil {
			records[p.Name] = r
		} else if a, aerr := netip.ParseAddr(p.Name[strings.LastIndex(p.Name, "/")+1:]); aerr != nil || !foreign[a] {
			w.violate("truth: the record %s cannot be read: %v", p.Name, err)
		}
	}
	enis := map[string]cloud.ENI{}
	for _, e := range w.Cloud.ENIs() {
		enis[e.ID] = e
	}
	owns := map[string]string{} // parameter name -> its rightful owner
	for _, n := range w.living() {
		pool := n.settings().Pools.For(agent.Role(n.Role))
		carried := slices.DeleteFunc(slices.Clone(enis[n.ENI].Addresses[1:]), func(a netip.Addr) bool { return foreign[a] })
		used := n.Kernel.Uses(n.primaries()...)
		slices.SortFunc(carried, netip.Addr.Compare)
		slices.SortFunc(used, netip.Addr.Compare)
		if !slices.Equal(carried, used) {
			w.violate("truth: EC2 has %v on %s of %s, its kernel uses %v", carried, n.ENI, n.InstanceID, used)
		}
		if len(carried) > 1 || len(carried) > 0 && !slices.Contains(pool, carried[0]) {
			w.violate("truth: %s has %v of the pool %v", n.InstanceID, carried, pool)
		}
		if len(carried) == 0 {
			continue
		}
		name := fmt.Sprintf("%s/%s/%s", prefix, n.SubnetID, carried[0])
		owns[name] = n.InstanceID
		if r, ok := records[name]; !ok {
			w.violate("truth: %s has %s, and there is no record %s", n.InstanceID, carried[0], name)
		} else if r.Instance != n.InstanceID || r.ENI != n.ENI || r.Role != n.Role || r.Cluster != n.ClusterID {
			w.violate("truth: %s has %s, and the record %s names %+v", n.InstanceID, carried[0], name, r)
		}
	}
	for name, r := range records {
		for _, n := range w.living() {
			if r.Instance == n.InstanceID && owns[name] != n.InstanceID {
				w.violate("truth: the record %s names %s, which does not have that address", name, n.InstanceID)
			}
		}
	}
}
