package ssmcoord

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/emr-static-ip/emr-static-ip/internal/identifier"
)

// RecordVersion is the version of the record's layout that this code writes.
const RecordVersion = 1

// MaxRecord is Parameter Store's limit for the value of a standard parameter, in bytes.
const MaxRecord = 4096

// Record is the value of one parameter. It says which instance has the address. Only the node whose
// ENI carries the address writes it.
type Record struct {
	Version  int       `json:"v"`
	Instance string    `json:"instance"`          // i-...: the owner
	ENI      string    `json:"eni"`               // eni-...: the owner's primary network interface
	Cluster  string    `json:"cluster,omitempty"` // j-..., empty for an instance outside EMR
	Role     string    `json:"role,omitempty"`    // MASTER, CORE or TASK
	Time     time.Time `json:"time"`              // when the record was written, by the owner's clock
}

// Render returns the parameter value of r.
func (r Record) Render() string {
	r.Version, r.Time = RecordVersion, r.Time.UTC().Truncate(time.Second)
	b, err := json.Marshal(r)
	if err != nil {
		// A struct of strings, an int and a time between the years 1 and 9999 always marshals.
		panic(fmt.Sprintf("rendering a ledger record: %v", err))
	}
	return string(b)
}

// ParseRecord reads a parameter value. Anything that is not exactly a record of a known version is
// an error: a record that cannot be understood is neither free nor stale. The keys are read as they
// are written: in lower case, each once. Fields added by a later release of the same version are
// accepted.
func ParseRecord(value string) (Record, error) {
	if len(value) > MaxRecord {
		return Record{}, fmt.Errorf("the record has %d bytes, at most %d are possible", len(value), MaxRecord)
	}
	if err := checkKeys(value); err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal([]byte(value), &r); err != nil {
		return Record{}, fmt.Errorf("the record is not a JSON object: %w", err)
	}
	var problems []error
	if r.Version > RecordVersion { // its fields may mean something else
		return r, fmt.Errorf("the record has version %d, which a newer release wrote; this release knows %d", r.Version, RecordVersion)
	}
	if r.Version != RecordVersion {
		problems = append(problems, fmt.Errorf("the record has version %d, this release knows %d", r.Version, RecordVersion))
	}
	if !identifier.EC2(r.Instance, "i-") {
		problems = append(problems, fmt.Errorf("%.40q is no instance id", r.Instance))
	}
	if !identifier.EC2(r.ENI, "eni-") {
		problems = append(problems, fmt.Errorf("%.40q is not a network interface id", r.ENI))
	}
	if r.Cluster != "" && !identifier.EMR(r.Cluster, "j-") {
		problems = append(problems, fmt.Errorf("%.40q is no cluster id", r.Cluster))
	}
	switch r.Role {
	case "", "MASTER", "CORE", "TASK":
	default:
		problems = append(problems, fmt.Errorf("%.40q is no role", r.Role))
	}
	if y := r.Time.UTC().Year(); y < 2000 || y > 9998 { // the zero time is in year 1
		problems = append(problems, errors.New("the record has no valid time"))
	}
	return r, errors.Join(problems...)
}
