// Package pool reads the operator's lists of addresses.
package pool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// The flags that name the pools, without their dashes.
const (
	FlagMaster = "master-ips"
	FlagCore   = "core-ips"
	FlagTask   = "task-ips"
	FlagAny    = "ips"
)

// Pools are the static IPs offered to each role, in the operator's order.
type Pools struct {
	Master []netip.Addr `json:"master,omitempty"`
	Core   []netip.Addr `json:"core,omitempty"`
	Task   []netip.Addr `json:"task,omitempty"`
	// Any is the pool of instances outside EMR, which have no roles. If it is not empty, the others
	// are.
	Any []netip.Addr `json:"ips,omitempty"`
	// MasterOnly is set if the list had the form MASTER_IP REGION. Core nodes without a pool are
	// then left as they are.
	MasterOnly bool `json:"master_only,omitempty"`
}

// For returns the pool of a role, emr.None included. It is empty if none was named for the role.
func (p Pools) For(r emr.Role) []netip.Addr {
	switch r {
	case emr.Master:
		return p.Master
	case emr.Core:
		return p.Core
	case emr.Task:
		return p.Task
	case emr.None:
		return p.Any
	}
	return nil
}

// Plain reports whether the addresses are for instances outside EMR.
func (p Pools) Plain() bool { return len(p.Any) > 0 }

// Empty reports whether there are no addresses.
func (p Pools) Empty() bool { return len(p.Master)+len(p.Core)+len(p.Task)+len(p.Any) == 0 }

// Named is a pool with its name in messages.
type Named struct {
	What  string
	Role  emr.Role
	Addrs []netip.Addr
}

// Named returns the pools with their names: the three of EMR's roles, and the one of instances
// outside EMR if there is one.
func (p Pools) Named() []Named {
	list := []Named{{"master", emr.Master, p.Master}, {"core", emr.Core, p.Core}, {"task", emr.Task, p.Task}}
	if p.Plain() {
		list = append(list, Named{"--" + FlagAny, emr.None, p.Any})
	}
	return list
}

// Max limits the length of a list. A mistyped range or prefix length must not fill the memory of a
// node. The largest EMR subnet that fits has 4096 addresses (a /20).
const Max = 4096

// Args are the lists of addresses as the operator wrote them. Each element is one argument or one
// occurrence of a flag.
type Args struct {
	// Positional has the master's address first. All others are the core nodes'.
	Positional         []string
	Master, Core, Task []string
	Any                []string // for instances outside EMR
	// Names has the name of a list in messages, by flag. The default is the flag with two dashes.
	Names map[string]string
	// Commands are the program's commands, to recognize one that is mistyped or misplaced.
	Commands []string
	// Synonyms are words of other programs, in small letters, with the commands that do the same.
	Synonyms map[string]string
}

// Parse reads the lists of addresses. An element has one or more items, separated by commas or
// blanks. An item is one of these:
//
//	10.0.1.20               an address
//	10.0.1.20-10.0.1.29     a range, both ends included
//	10.0.1.20-29            the same range
//	10.0.1.32/28            all sixteen addresses of the block
//
// The error names every problem with its argument: syntax, IPv6, more than Max addresses in a list,
// an address named twice, a role named both by position and by flag, and --ips beside a list with
// roles.
func Parse(a Args) (Pools, error) {
	var problems []error
	name := func(flag string) string {
		if n := a.Names[flag]; n != "" {
			return n
		}
		return "--" + flag
	}
	positional := list{commands: a.Commands, synonyms: a.Synonyms}
	var alone Pools
	if address, _, ok := MasterOnly(a.Positional); ok {
		var err error
		if alone, err = oneMaster(address); err != nil {
			problems = append(problems, err)
		}
		positional.addresses, positional.places = alone.Master, []string{"argument 1 " + text.Quote(address)}
	} else {
		for i, text := range a.Positional {
			positional.add(fmt.Sprintf("argument %d", i+1), text)
		}
	}
	flags := func(flag string, texts []string) *list {
		l := &list{}
		for _, text := range texts {
			l.add(name(flag), text)
		}
		return l
	}
	master, core, task, plain := flags(FlagMaster, a.Master), flags(FlagCore, a.Core), flags(FlagTask, a.Task), flags(FlagAny, a.Any)
	if len(a.Any) > 0 {
		problems = append(problems, beside(name(FlagAny), a, name))
	}
	if len(a.Positional) > 0 {
		for _, clash := range []struct {
			flag  string
			texts []string
		}{{FlagMaster, a.Master}, {FlagCore, a.Core}} {
			if len(clash.texts) > 0 {
				problems = append(problems, fmt.Errorf("%s together with addresses by position: the first of those is the "+
					"master's and the others are the core nodes'; use either form, not both (the list after a flag has commas and no blanks)", name(clash.flag)))
			}
		}
	}
	lists := []*list{&positional, master, core, task, plain}
	for _, l := range lists {
		problems = append(problems, text.Limit(l.problems)...)
	}
	problems = append(problems, duplicates(lists)...)
	if err := errors.Join(problems...); err != nil {
		return Pools{}, err
	}
	p := Pools{Master: master.addresses, Core: core.addresses, Task: task.addresses, Any: plain.addresses}
	switch {
	case alone.MasterOnly:
		p.Master, p.MasterOnly = alone.Master, true
	case len(positional.addresses) > 0:
		p.Master, p.Core = positional.addresses[:1:1], positional.addresses[1:]
	}
	return p, nil
}

// beside returns the problem that a list without roles stands beside lists with roles, or nil.
// plain is the name of the former.
func beside(plain string, a Args, name func(string) string) error {
	var others []string
	if len(a.Positional) > 0 {
		others = append(others, "addresses by position")
	}
	for _, l := range []struct {
		flag  string
		texts []string
	}{{FlagMaster, a.Master}, {FlagCore, a.Core}, {FlagTask, a.Task}} {
		if len(l.texts) > 0 {
			others = append(others, name(l.flag))
		}
	}
	if len(others) == 0 {
		return nil
	}
	return fmt.Errorf("%s together with %s: %s is one list for instances outside EMR, and the others are for the roles of EMR's nodes; use either form, not both",
		plain, strings.Join(others, " and "), plain)
}

// list is one list of addresses while it is read.
type list struct {
	addresses []netip.Addr
	places    []string // where each address was named
	full      bool     // there were more than Max addresses, and a problem says so
	commands  []string // of the program
	synonyms  map[string]string
	problems  []error
}

// add reads one argument. place is how messages call it: "argument 2".
func (l *list) add(place, value string) {
	place += " " + text.Quote(value)
	fail := func(format string, args ...any) {
		l.problems = append(l.problems, fmt.Errorf("%s"+format, append([]any{place}, args...)...))
	}
	parts := strings.Split(value, ",")
	for n, part := range parts {
		items := strings.Fields(part)
		if len(items) == 0 {
			switch {
			case len(parts) == 1:
				fail(" is empty; expected an IPv4 address, a range or a CIDR")
			case n == len(parts)-1 && len(parts) == 2:
				fail(" ends with a comma: separate addresses by commas or by blanks, not by both")
			default:
				fail(" has an empty item between its commas")
			}
			continue
		}
		for _, item := range items {
			first, last, err := parseSpan(item)
			if err != nil {
				if hint := rightForm(value, item, len(l.addresses)+len(l.problems) == 0, l.commands, l.synonyms); hint != "" {
					fail("%s", hint)
					if item != value && pasted(value) != "" {
						return // the hint is about the whole argument
					}
					continue
				}
				if item == value {
					fail(" %w", err)
				} else {
					fail(": %s %w", text.Quote(item), err)
				}
				continue
			}
			count := uint64(last-first) + 1
			if uint64(len(l.addresses))+count > Max {
				if !l.full {
					fail(" makes the list longer than %d addresses (%d so far, %d more): is a range or prefix length mistyped?",
						Max, len(l.addresses), count)
				}
				l.full = true
				continue
			}
			for n := uint64(first); n <= uint64(last); n++ {
				l.addresses = append(l.addresses, addrOf(uint32(n)))
				l.places = append(l.places, place)
			}
		}
	}
}

// parseSpan reads one item: an address, a range or a CIDR. It returns the first and the last
// address.
func parseSpan(item string) (first, last uint32, err error) {
	if block, bits, ok := strings.Cut(item, "/"); ok {
		a, err := text.IPv4(block)
		if full := inFull(block, bits); err != nil && full != "" {
			return 0, 0, fmt.Errorf("has fewer than four numbers before the slash; meant is perhaps %s", full)
		}
		if err != nil {
			return 0, 0, err
		}
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return 0, 0, fmt.Errorf("has the prefix length %s; expected 0 to 32", text.Quote(bits))
		}
		if p.Masked() != p {
			return 0, 0, fmt.Errorf("is not the beginning of a /%d block; meant is perhaps %s, or the single address %s",
				p.Bits(), p.Masked(), p.Addr())
		}
		return Number(a), Number(a) + uint32(uint64(1)<<(32-p.Bits())-1), nil
	}
	from, to, isRange := strings.Cut(item, "-")
	a, err := text.IPv4(from)
	if err != nil || !isRange {
		return Number(a), Number(a), err
	}
	first = Number(a)
	if end, err := strconv.ParseUint(to, 10, 8); err == nil && to == strconv.FormatUint(end, 10) {
		last = first&^0xff | uint32(end)
	} else if b, err := text.IPv4(to); err == nil {
		last = Number(b)
	} else {
		return 0, 0, fmt.Errorf("ends with %s; a range ends with an IPv4 address or with a number from 0 to 255", text.Quote(to))
	}
	if last < first {
		return 0, 0, fmt.Errorf("is a range that ends (%s) before it begins (%s)", addrOf(last), addrOf(first))
	}
	return first, last, nil
}

// Number returns an IPv4 address as an integer, or 0 for the zero Addr.
func Number(a netip.Addr) uint32 {
	if !a.Is4() {
		return 0
	}
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// addrOf is the inverse of Number.
func addrOf(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// duplicates returns one problem for each pair of arguments that name an address twice.
func duplicates(lists []*list) []error {
	type pair struct{ first, again string }
	named := map[netip.Addr]string{}
	twice := map[pair][]netip.Addr{}
	var order []pair
	for _, l := range lists {
		for i, a := range l.addresses {
			first, ok := named[a]
			if !ok {
				named[a] = l.places[i]
				continue
			}
			p := pair{first, l.places[i]}
			if twice[p] == nil {
				order = append(order, p)
			}
			twice[p] = append(twice[p], a)
		}
	}
	var problems []error
	for _, p := range order {
		which := twice[p][0].String()
		if more := len(twice[p]) - 1; more > 0 {
			which += fmt.Sprintf(" (and %d more)", more)
		}
		if p.first == p.again {
			problems = append(problems, fmt.Errorf("%s names %s twice", p.first, which))
		} else {
			problems = append(problems, fmt.Errorf("%s names %s, which %s names too", p.again, which, p.first))
		}
	}
	return text.Limit(problems)
}

// ParseCIDRs reads lists of networks, separated by commas or blanks: CIDRs, or single addresses,
// which mean /32. what is the flag's name in messages.
func ParseCIDRs(what string, texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	var problems []error
	for _, value := range texts {
		for _, item := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			p, err := parseCIDR(item)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s %s %w", what, text.Quote(item), err))
				continue
			}
			prefixes = append(prefixes, p)
		}
	}
	if len(prefixes)+len(problems) == 0 && len(texts) > 0 {
		problems = append(problems, fmt.Errorf("%s is empty; expected networks such as 192.168.0.0/16", what))
	}
	return prefixes, errors.Join(text.Limit(problems)...)
}

func parseCIDR(item string) (netip.Prefix, error) {
	_, _, err := parseSpan(item)
	isBlock := strings.Contains(item, "/")
	switch {
	case strings.Count(item, ":") > 1:
		return netip.Prefix{}, errors.New("is IPv6; only IPv4 is translated")
	case !isBlock && strings.Contains(item, "-"):
		return netip.Prefix{}, errors.New("is no network; expected a CIDR such as 192.168.0.0/16, or one address")
	case err != nil:
		return netip.Prefix{}, err
	case !isBlock:
		item += "/32"
	}
	return netip.ParsePrefix(item)
}
