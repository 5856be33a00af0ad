package ssmcoord

import "time"

// Every wait of the protocol follows from these two bounds. AWS promises neither; both are
// generous readings of what it says and of what others have measured.
const (
	// DescribeLag is how late EC2's describe calls and IMDS may be about something that EC2 has
	// decided. EC2 calls its API eventually consistent and advises to retry for some time:
	// https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
	// IMDS was seen to list a new secondary address after up to about 30 s.
	DescribeLag = 30 * time.Second

	// ReadLag is how late a read of Parameter Store may be about a write. AWS documents no
	// read-after-write consistency; delays above a second were never reported.
	ReadLag = 10 * time.Second
)

// RecreateAfter is how long after its deletion the name of a parameter may not be created again:
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameter.html
const RecreateAfter = 30 * time.Second

// RecordSoon is how long a run waits for its turn to write its record. A run whose turn is later
// may leave the record to the timer: it takes no longer than one that confirms its assignment.
const RecordSoon = DescribeLag

// A node that finds every address taken looks again after waitFirst, and then at intervals that
// double up to waitMost, each time between half and all of it: that adds half of the lag with which
// describe calls show a release. The first looks are closer, since late answers may be why no
// address was free.
const (
	waitMost  = DescribeLag / 2
	waitFirst = waitMost / 8
)
