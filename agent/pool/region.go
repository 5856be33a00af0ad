package pool

import (
	"errors"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/lazyregexp"
)

// The first script of this kind took MASTER_IP REGION and served the master alone. Its argument
// lists are still in clusters that are cloned.

// regionName is a region as AWS names them: us-east-1, us-gov-west-1, cn-north-1, eusc-de-east-1.
var regionName = lazyregexp.New(`^[a-z]{2,4}(-[a-z]{2,12}){1,3}-[1-9][0-9]?$`)

// zoneName is an availability zone or a local zone: us-east-1a, us-west-2-lax-1a.
var zoneName = lazyregexp.New(`^([a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[1-9][0-9]?)(?:-[a-z]{2,4}-[0-9]{1,2})?[a-z]$`)

// IsRegion reports whether s has the form of a region's name.
func IsRegion(s string) bool { return regionName.MatchString(s) }

// CheckRegion returns what is wrong with the name of a region, or nil.
func CheckRegion(s string) error {
	switch zone := zoneName.FindStringSubmatch(s); {
	case IsRegion(s):
		return nil
	case zone != nil:
		return errors.New(text.Quote(s) + " is an availability zone: its region is " + zone[1])
	}
	return errors.New(text.Quote(s) + " is no region such as eu-central-1")
}

// MasterOnly splits arguments of the form MASTER_IP REGION. It returns false if they have another
// form.
func MasterOnly(positional []string) (address, region string, ok bool) {
	if len(positional) == 2 && IsRegion(positional[1]) {
		return positional[0], positional[1], true
	}
	return "", "", false
}

// misplacedRegion returns what is wrong with a region or a zone among addresses, or "".
func misplacedRegion(text string) string {
	if zone := zoneName.FindStringSubmatch(text); zone != nil {
		return " is an availability zone: the form MASTER_IP REGION names a region, here perhaps " + zone[1]
	}
	if IsRegion(text) {
		return " is a region: only the form MASTER_IP REGION, for the master alone, has one; otherwise leave it out, the node knows its region"
	}
	return ""
}

// oneMaster reads the address of the form MASTER_IP REGION.
func oneMaster(value string) (Pools, error) {
	l := list{}
	l.add("argument 1", value)
	problems := text.Limit(l.problems)
	if len(l.addresses) > 1 {
		problems = append(problems, errors.New("argument 1 "+text.Quote(value)+" is several addresses; the form MASTER_IP REGION has one, the master's"))
	}
	if err := errors.Join(problems...); err != nil {
		return Pools{}, err
	}
	return Pools{Master: l.addresses, MasterOnly: true}, nil
}
