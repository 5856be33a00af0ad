package ssmcoord

import (
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// Clock is Parameter Store's clock. It gives the age of a record, since the node's own clock may be
// minutes off. The zero value is the node's own clock.
type Clock struct {
	ahead time.Duration // of the own clock
}

// Observe takes the time from an answer of Parameter Store.
func (c *Clock) Observe(m middleware.Metadata) {
	if at, ok := awsmiddleware.GetServerTime(m); ok && !at.IsZero() {
		c.ahead = time.Since(at)
	}
}

// Now returns the time by Parameter Store's clock, as its last answer gave it.
func (c *Clock) Now() time.Time { return time.Now().Add(-c.ahead) }
