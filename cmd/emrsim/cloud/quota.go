package cloud

import (
	"maps"
	"math"
	"time"
)

// Quota is a token bucket of Burst calls, refilled with Rate calls a second.
type Quota struct{ Rate, Burst float64 }

// Unlimited returns a quota that never refuses.
func Unlimited() Quota { return Quota{Rate: math.Inf(1), Burst: math.Inf(1)} }

// Names of buckets other than "service:Action". GetParameter, GetParameters and GetParametersByPath
// share ssm:Get unless they have quotas of their own. EC2 describe calls without ids and filters
// use "ec2:DescribeX/unfiltered".
const (
	BucketSSMReads   = "ssm:Get"
	unfilteredSuffix = "/unfiltered"
)

// DefaultQuotas returns the numbers that AWS publishes for a new account. AWS publishes no bursts
// for SSM, so they equal the rates: see [WithSSMBurst]. Actions without an entry are not limited.
func DefaultQuotas() map[string]Quota {
	q := map[string]Quota{
		BucketSSMReads:           {40, 40},
		"ssm:PutParameter":       {3, 3},
		"ssm:DescribeParameters": {3, 3},
		"ssm:DeleteParameter":    {3, 3},
		"ssm:DeleteParameters":   {3, 3},

		"ec2:AssignPrivateIpAddresses":   {5, 100},
		"ec2:UnassignPrivateIpAddresses": {5, 100},
		"ec2:CreateTags":                 {10, 100},
		"ec2:DeleteTags":                 {10, 100},

		"elasticmapreduce:DescribeCluster":      {1, 10},
		"elasticmapreduce:ListInstanceGroups":   {1, 10},
		"elasticmapreduce:ListInstances":        {0.5, 10},
		"elasticmapreduce:ListInstanceFleets":   {0.5, 5},
		"elasticmapreduce:ListBootstrapActions": {1, 10},
	}
	for _, action := range []string{"DescribeInstances", "DescribeNetworkInterfaces", "DescribeTags", "DescribePrefixLists", "DescribeInstanceTypes", "DescribeRegions",
		"DescribeSubnets", "DescribeVpcs", "DescribeVpcEndpoints", "DescribeRouteTables", "DescribeSecurityGroups", "GetSubnetCidrReservations"} {
		q["ec2:"+action] = Quota{20, 100}
		q["ec2:"+action+unfilteredSuffix] = Quota{10, 50}
	}
	return q
}

// PaidQuotas returns DefaultQuotas with Parameter Store's paid throughput. Each of the three reads
// has a bucket of its own.
func PaidQuotas() map[string]Quota {
	q := DefaultQuotas()
	delete(q, BucketSSMReads)
	for action, rate := range map[string]float64{"GetParameter": 10000, "GetParameters": 1000, "GetParametersByPath": 100,
		"PutParameter": 10, "DescribeParameters": 10, "DeleteParameter": 5, "DeleteParameters": 5} {
		q["ssm:"+action] = Quota{rate, rate}
	}
	return q
}

// WithSSMBurst returns a copy of q in which each burst of SSM is the rate times seconds, at least
// 1.
func WithSSMBurst(q map[string]Quota, seconds float64) map[string]Quota {
	q = maps.Clone(q)
	for name, quota := range q {
		if len(name) > 4 && name[:4] == "ssm:" {
			q[name] = Quota{quota.Rate, max(1, quota.Rate*seconds)}
		}
	}
	return q
}

// bucket is the state of a quota. It starts full.
type bucket struct {
	Quota
	tokens float64
	at     time.Time
}

// take uses one token and reports whether there was one. drain is the number of tokens a second
// that others use.
func (b *bucket) take(now time.Time, drain float64) bool {
	if math.IsInf(b.Rate, 1) {
		return true
	}
	if b.at.IsZero() {
		b.tokens, b.at = b.Burst, now
	}
	if d := now.Sub(b.at).Seconds(); d > 0 {
		b.tokens = max(0, min(b.Burst, b.tokens+d*(b.Rate-drain)))
		b.at = now
	}
	// The tolerance of a billionth of a token absorbs rounding errors of the refills.
	if b.tokens < 1-1e-9 {
		return false
	}
	b.tokens = max(0, b.tokens-1)
	return true
}

// Drain makes other users of the account use perSecond tokens a second of a bucket from now on. 0
// ends this.
func (c *Cloud) Drain(name string, perSecond float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.bucket(name); b != nil {
		now := c.now()
		if b.at.IsZero() {
			b.tokens, b.at = b.Burst, now
		}
		b.tokens = max(0, min(b.Burst, b.tokens+now.Sub(b.at).Seconds()*(b.Rate-c.drains[name])))
		b.at = now
	}
	c.drains[name] = perSecond
}

// Exhaust empties a bucket once, as if somebody had just used its burst.
func (c *Cloud) Exhaust(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.bucket(name); b != nil {
		b.tokens, b.at = 0, c.now()
	}
}

func (c *Cloud) bucket(name string) *bucket {
	if b, ok := c.buckets[name]; ok {
		return b
	}
	q, ok := c.opts.Quotas[name]
	if !ok {
		return nil
	}
	b := &bucket{Quota: q}
	c.buckets[name] = b
	return b
}

// allow takes a token for a call. The action's own bucket takes precedence over a shared one.
func (c *Cloud) allow(key, shared string, now time.Time) bool {
	if c.opts.Quotas == nil {
		return true
	}
	name := key
	b := c.bucket(key)
	if b == nil && shared != "" {
		name, b = shared, c.bucket(shared)
	}
	return b == nil || b.take(now, c.drains[name])
}
