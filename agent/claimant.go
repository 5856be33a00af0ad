package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/emr-static-ip/emr-static-ip/agent/check"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
	"github.com/emr-static-ip/emr-static-ip/ssmcoord"
)

// Claimant is what a node's coordinator is made of. Apply, Plan and doctor make theirs of the same
// facts, so that what is printed is what is done.
type Claimant struct {
	Config Config
	Facts  node.Facts
	AWS    aws.Config
	EC2    *ec2.Node

	File  state.State // the state file, or the zero State
	Known bool        // there is a state file of this node

	Unnamed Unnamed // see FindUnnamed
}

// Unnamed are addresses of a node that its state file does not name: the file is lost, or the run
// that programmed them had another state directory.
type Unnamed struct {
	Claims []netip.Addr // all of them
	Kept   []netip.Addr // those of them that the kernel's rules name, and that EC2 gives to the node
	Gone   []netip.Addr // those that the kernel's rules name, and EC2 does not give to the node
}

// FindUnnamed finds the addresses of this node that the state file does not name: those of the
// kernel's rules, and, if the state file is lost and the network interface has more than the
// primary IP, those whose records name this node. It changes nothing on the node. programmed are
// the static IPs that the kernel's rules name; see ProgrammedStatics.
func (c *Claimant) FindUnnamed(ctx context.Context, programmed []netip.Addr) error {
	c.Unnamed = Unnamed{Claims: strayStatics(programmed, c.File)}
	if len(c.Unnamed.Claims) > 0 {
		own, err := c.EC2.Own(ctx)
		if err != nil {
			return err
		}
		for _, a := range c.Unnamed.Claims {
			if slices.Contains(own, a) {
				c.Unnamed.Kept = append(c.Unnamed.Kept, a)
			} else {
				c.Unnamed.Gone = append(c.Unnamed.Gone, a)
			}
		}
	}
	if c.Known && !c.File.Lost || len(c.Facts.ID.Addresses) < 2 {
		return nil
	}
	claims, err := c.ledger().Claims(ctx, c.Facts.ID.InstanceID)
	c.Unnamed.Claims = union(c.Unnamed.Claims, without(claims, c.Facts.ID.PrimaryIP))
	return err
}

// ProgrammedStatics returns the static IPs that the rules of this program in the kernel name.
func ProgrammedStatics(o netcfg.Observed, primary netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, set := range ruleSets(o) {
		if static, ok := set.Static(); ok && static != primary && !slices.Contains(list, static) {
			list = append(list, static)
		}
	}
	return list
}

// ruleSets returns the rules of this program that were observed, those of the backend first.
func ruleSets(o netcfg.Observed) []netcfg.RuleSet {
	return []netcfg.RuleSet{o.Rules, o.Strays[netcfg.IptablesLegacy], o.Strays[netcfg.IptablesNFT], o.Strays[netcfg.Nftables]}
}

// strayStatics returns those static IPs of the kernel's rules that are not in use by the state
// file, and are not withdrawn because of it.
func strayStatics(programmed []netip.Addr, file state.State) []netip.Addr {
	known := []netip.Addr{file.Static, file.Before}
	if file.GivenBack() {
		known = file.Touched()
	}
	return slices.DeleteFunc(slices.Clone(programmed), func(a netip.Addr) bool { return slices.Contains(known, a) })
}

// State returns what earlier runs have left, as this one may use it. Without a state file these are
// the addresses whose records name the node, and what the kernel has in use.
func (c *Claimant) State() state.State {
	s := c.File.Usable()
	s.Intents = union(s.Intents, c.Unnamed.Claims)
	if kept := c.Unnamed.Kept; len(kept) > 0 && !s.Static.IsValid() && !c.File.GivenBack() {
		s.Static, s.Phase = kept[0], state.Programmed
	}
	return s
}

func (c *Claimant) ledger() *ssmcoord.Ledger {
	return ssmcoord.NewLedger(c.AWS, c.Config.Prefix, c.Facts.ID.SubnetID).WithTags(c.Config.ClaimTags)
}

// Options returns this node's side of the claim protocol. It has no functions that change the node
// or report. last is what earlier runs have left.
func (c *Claimant) Options(last state.State) ssmcoord.Options {
	pools := check.Placed(c.Config.Pools, c.Facts.ID).Own
	past := c.past(last)
	return ssmcoord.Options{
		Ledger:  c.ledger(),
		EC2:     c.EC2,
		Self:    c.Facts.Self(),
		Pools:   ssmcoord.Pools{string(RoleMaster): pools.Master, string(RoleCore): pools.Core, string(RoleTask): pools.Task, "": pools.Any},
		Past:    past,
		Quick:   last.Finished() && (last.Named || !c.Config.names()) && len(past.Intents) == 1,
		PutRate: c.Config.PutRate,
	}
}

// formerPrefix returns the prefix of the ledger that has this node's record, if it is another one
// than the configuration's, or "".
func (c *Claimant) formerPrefix() string {
	if former := c.File.Settings.Prefix; c.Known && len(c.File.Touched()) > 0 && former != c.Config.Prefix {
		return former
	}
	return ""
}

// CheckPrefix refuses a run under another prefix while this node has an address in the ledger of a
// former one.
func (c *Claimant) CheckPrefix() error {
	former := c.formerPrefix()
	if former == "" {
		return nil
	}
	return exit.With(ExitUsage, fmt.Errorf("--prefix %s: this node has its address in the ledger %s", text.Quote(c.Config.Prefix), text.Quote(former)),
		"emr-static-ip release first, then run this again")
}

// past returns what earlier runs have left as the protocol needs it.
func (c *Claimant) past(last state.State) ssmcoord.Past {
	past := ssmcoord.Past{Intents: last.Touched(), Used: last.Former, Recorded: true}
	if c.Known {
		past.Written, past.Last = last.Written, last.Static
		// Of a run that is resumed, the record of either address may be written or deleted.
		past.Recorded = last.Static.IsValid() && last.RecordDue.IsZero() && last.Static == c.File.Static
		past.Used = union(past.Used, []netip.Addr{c.File.Static})
	}
	past.Used = union(past.Used, c.Unnamed.Kept)
	if slices.Contains(c.Unnamed.Kept, last.Static) { // when it was assigned is not known
		past.Written, past.Last = time.Now(), last.Static
	}
	switch last.Phase {
	case state.Released:
		past.Released = last.Written
	case state.Releasing: // an interrupted release may have deleted a record later than it said so
		past.Released = time.Now()
	}
	return past
}

// DoubtText says that the address in use is not on the node's interface by EC2's describe calls.
func DoubtText(a netip.Addr) string {
	return fmt.Sprintf("EC2 does not show %s on this node: a run asks EC2 for it, and withdraws it where another network interface has it", a)
}
