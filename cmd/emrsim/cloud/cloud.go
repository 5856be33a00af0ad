// Package cloud is an in-memory model of the parts of AWS that a node of an EMR cluster uses: SSM
// Parameter Store, EC2 (addresses, instances, tags, what a VPC has), EMR's describe calls, STS
// GetCallerIdentity, IAM's policy simulation, and IMDSv2. It speaks the real wire protocols to the
// unmodified AWS SDK, either in process ([Cloud.Transport], which works with testing/synctest) or
// over HTTP ([Cloud.Handler]).
//
// The model never ignores what it does not implement. It answers an unknown service, action or
// parameter with the error ModelNotImplemented (HTTP 501) and records the call.
//
// All randomness is derived from [Options.Seed], the calling instance and that caller's call
// counters. It does not depend on the order in which goroutines run. With [Options.UniqueTimes] in
// a synctest bubble, one seed gives one trace.
package cloud

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/cloud/iam"
)

// Cloud is one account in one region. Its methods may be called from any goroutine. It starts no
// goroutines. Changes that depend on time, such as the end of an instance, are made by the next
// call.
type Cloud struct {
	opts    Options
	actions map[string]*action
	signer  *verifier
	skew    atomic.Int64 // Options.ClockSkew, in nanoseconds

	mu        sync.Mutex
	vpcs      []*vpc
	subnets   []*subnet
	instances []*instance // in launch order
	byID      map[string]*instance
	enis      []*eni
	eniByID   map[string]*eni
	clusters  map[string]*cluster
	endpoints []vpcEndpoint
	groups    []*securityGroup
	roles     []role
	params    parameterStore
	buckets   map[string]*bucket
	drains    map[string]float64
	callers   map[string]*caller // by instance id; "" is the operator
	byKey     map[string]*caller // by access key id
	due       []dueRelease       // ENIs to be freed, the earliest first
	made      map[string]string  // interfaces by the client token of their creation
	ids       uint64             // number of identifiers made so far
	publics   int                // number of public addresses given out so far
	regions   []region           // that DescribeRegions lists too
	s3policy  iam.Policies       // of the buckets
	calls     []Call
	fault     func(Call) FaultAction
	watch     func(Call)
}

// New returns an empty account: no VPC, no instance, no parameter.
func New(o Options) *Cloud {
	o = o.withDefaults()
	c := &Cloud{
		opts:     o,
		actions:  allActions(),
		signer:   newVerifier(),
		byID:     map[string]*instance{},
		eniByID:  map[string]*eni{},
		clusters: map[string]*cluster{},
		buckets:  map[string]*bucket{},
		drains:   map[string]float64{},
		callers:  map[string]*caller{},
		byKey:    map[string]*caller{},
		made:     map[string]string{},
	}
	c.skew.Store(int64(o.ClockSkew))
	c.params.init()
	c.addCaller("")
	return c
}

// Region returns the account's region.
func (c *Cloud) Region() string { return c.opts.Region }

// Account returns the account's number.
func (c *Cloud) Account() string { return c.opts.Account }

func (c *Cloud) now() time.Time { return c.opts.Now() }

// mix hashes strings and a number into a well-distributed seed.
func mix(seed uint64, words ...string) uint64 {
	h := sha256.New()
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], seed)
	h.Write(b[:])
	for _, w := range words {
		h.Write([]byte{0})
		h.Write([]byte(w))
	}
	var sum [sha256.Size]byte
	return binary.BigEndian.Uint64(h.Sum(sum[:0]))
}

// mixNumber is a fast form of mix for a counter (splitmix64). Every call uses it.
func mixNumber(seed, n uint64) uint64 {
	z := seed + (n+1)*0x9e3779b97f4a7c15
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, mixNumber(seed, 0))) }

// nextRand returns a random stream for one change made through the Go API, such as launching or
// terminating. Such changes are made one after the other.
func (c *Cloud) nextRand(what string) *rand.Rand {
	c.ids++
	return newRand(mix(c.opts.Seed, what, strconv.FormatUint(c.ids, 10)))
}

// newID returns an identifier in EC2's current form: a prefix and 17 hexadecimal digits.
func (c *Cloud) newID(prefix string) string {
	r := c.nextRand(prefix)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], r.Uint64())
	binary.BigEndian.PutUint64(b[8:], r.Uint64())
	return prefix + "-0" + hex.EncodeToString(b[:])[:16]
}

// newEMRID returns an identifier in EMR's form: a prefix and 13 capital letters and digits.
func (c *Cloud) newEMRID(prefix string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	r := c.nextRand(prefix)
	b := make([]byte, 13)
	for i := range b {
		b[i] = digits[r.IntN(len(digits))]
	}
	return prefix + "-" + string(b)
}
