package ssmcoord

import (
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
)

// serverClock is Parameter Store's: the age of a record is by it, and the own clock may be minutes away from it. The zero value trusts the own one.
type serverClock struct {
	ahead time.Duration // of the own clock
}

// observe takes the time from an answer of Parameter Store.
func (c *serverClock) observe(m middleware.Metadata) {
	if at, ok := awsmiddleware.GetServerTime(m); ok && !at.IsZero() {
		c.ahead = time.Since(at)
	}
}

// Now is the time by Parameter Store's clock, as its last answer gave it.
func (c *serverClock) Now() time.Time { return time.Now().Add(-c.ahead) }
