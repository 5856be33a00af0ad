package agent

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// The first script of this kind took MASTER_IP REGION and served the master alone. Its argument lists are still in clusters that
// are cloned.

// regionName is a region as AWS names them: us-east-1, us-gov-west-1, cn-north-1, eusc-de-east-1.
var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]{2,12}){1,3}-[1-9][0-9]?$`)

// zoneName is an availability zone or a local zone: us-east-1a, us-west-2-lax-1a.
var zoneName = regexp.MustCompile(`^([a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[1-9][0-9]?)(?:-[a-z]{2,4}-[0-9]{1,2})?[a-z]$`)

// masterOnly is the form MASTER_IP REGION. False: another form, to be read as a list of addresses.
func masterOnly(positional []string) (address, region string, ok bool) {
	if len(positional) == 2 && regionName.MatchString(positional[1]) {
		return positional[0], positional[1], true
	}
	return "", "", false
}

// misplacedRegion says what is wrong with a region or a zone among addresses; empty: text is neither.
func misplacedRegion(text string) string {
	if zone := zoneName.FindStringSubmatch(text); zone != nil {
		return " is an availability zone: the form MASTER_IP REGION names a region, here perhaps " + zone[1]
	}
	if regionName.MatchString(text) {
		return " is a region: only the form MASTER_IP REGION, for the master alone, has one; otherwise leave it out, the node knows its region"
	}
	return ""
}

// CheckRegion checks the region of the form MASTER_IP REGION against the node's.
func CheckRegion(region string, id Identity) error {
	if region == "" || region == id.Region {
		return nil
	}
	return exit.Invalid(fmt.Errorf("the arguments name the region %s, and this node is in %s: the list is perhaps another cluster's", region, text.Quote(id.Region)),
		"give the addresses for this region and name it; or leave the region out and use --master-ips")
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
