package cloud

import (
	"maps"
	"math"
	"time"
)

// Quota is a token bucket: Burst calls at once, refilled with Rate calls a second.
type Quota struct{ Rate, Burst float64 }

// Unlimited is the quota that never refuses.
func Unlimited() Quota { return Quota{Rate: math.Inf(1), Burst: math.Inf(1)} }

// Names of buckets that are not just "service:Action". GetParameter, GetParameters and GetParametersByPath share ssm:Get
// unless a quota names one of them; EC2 describes without ids and filters use "ec2:DescribeX/unfiltered".
const (
	BucketSSMReads   = "ssm:Get"
	unfilteredSuffix = "/unfiltered"
)

// DefaultQuotas are AWS's published numbers for a new account. AWS publishes no burst for SSM: it is the rate here; see
// [WithSSMBurst]. Actions without an entry are not limited.
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

		"elasticmapreduce:DescribeCluster":    {1, 10},
		"elasticmapreduce:ListInstanceGroups": {1, 10},
		"elasticmapreduce:ListInstances":      {0.5, 10},
		"elasticmapreduce:ListInstanceFleets": {0.5, 5},
	}
	for _, action := range []string{"DescribeInstances", "DescribeNetworkInterfaces", "DescribeTags", "DescribePrefixLists", "DescribeInstanceTypes",
		"DescribeSubnets", "DescribeVpcs", "GetSubnetCidrReservations"} {
		q["ec2:"+action] = Quota{20, 100}
		q["ec2:"+action+unfilteredSuffix] = Quota{10, 50}
	}
	return q
}

// PaidQuotas are DefaultQuotas with Parameter Store's paid throughput: the three reads have buckets of their own.
func PaidQuotas() map[string]Quota {
	q := DefaultQuotas()
	delete(q, BucketSSMReads)
	for action, rate := range map[string]float64{"GetParameter": 10000, "GetParameters": 1000, "GetParametersByPath": 100,
		"PutParameter": 10, "DescribeParameters": 10, "DeleteParameter": 5, "DeleteParameters": 5} {
		q["ssm:"+action] = Quota{rate, rate}
	}
	return q
}

// WithSSMBurst returns a copy of q in which SSM's bursts are so many seconds' worth of the rate, at least 1.
func WithSSMBurst(q map[string]Quota, seconds float64) map[string]Quota {
	q = maps.Clone(q)
	for name, quota := range q {
		if len(name) > 4 && name[:4] == "ssm:" {
			q[name] = Quota{quota.Rate, max(1, quota.Rate*seconds)}
		}
	}
	return q
}

// bucket is a quota's state: full at the start.
type bucket struct {
	Quota
	tokens float64
	at     time.Time
}

// take uses up one token, if there is one. drain is what others take, in tokens a second.
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
	// A billionth of a token forgives the rounding of a sum of refills.
	if b.tokens < 1-1e-9 {
		return false
	}
	b.tokens = max(0, b.tokens-1)
	return true
}

// Drain lets other users of the account use up so many calls a second of a bucket, from now on; 0 ends it.
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

// Exhaust empties a bucket once: somebody else has just used its burst.
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

// allow takes a token for a call. The bucket of the action itself wins over a shared one.
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
