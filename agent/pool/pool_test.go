package pool

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
	"github.com/emr-static-ip/emr-static-ip/internal/netiptest"
)

func TestParsePools(t *testing.T) {
	tests := []struct {
		name string
		args Args
		want Pools
	}{
		{"nothing", Args{}, Pools{}},
		{"the script's own form", Args{Positional: strings.Fields("10.0.1.10 10.0.1.11 10.0.1.12")},
			Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}},
		{"master only", Args{Positional: []string{"10.0.1.10"}}, Pools{Master: netiptest.Addrs("10.0.1.10")}},
		{"one comma list", Args{Positional: []string{"10.0.1.10,10.0.1.12,10.0.1.11"}},
			Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.12 10.0.1.11")}},
		{"one argument with blanks, as typed into a console field", Args{Positional: []string{" 10.0.1.10 10.0.1.11, 10.0.1.12\t"}},
			Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11 10.0.1.12")}},
		{"range", Args{Positional: []string{"10.0.1.10", "10.0.1.20-10.0.1.29"}},
			Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Range("10.0.1.20", 10)}},
		{"short range", Args{Positional: []string{"10.0.1.10", "10.0.1.20-29"}},
			Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Range("10.0.1.20", 10)}},
		{"range whose first address is the master's", Args{Positional: []string{"10.0.1.20-22"}},
			Pools{Master: netiptest.Addrs("10.0.1.20"), Core: netiptest.Addrs("10.0.1.21 10.0.1.22")}},
		{"range across a byte", Args{Core: []string{"10.0.1.254-10.0.2.1"}},
			Pools{Core: netiptest.Addrs("10.0.1.254 10.0.1.255 10.0.2.0 10.0.2.1")}},
		{"range of one", Args{Core: []string{"10.0.1.7-7"}}, Pools{Core: netiptest.Addrs("10.0.1.7")}},
		{"range to the last address there is", Args{Core: []string{"255.255.255.254-255"}},
			Pools{Core: netiptest.Addrs("255.255.255.254 255.255.255.255")}},
		{"CIDR", Args{Core: []string{"10.0.1.32/29"}}, Pools{Core: netiptest.Range("10.0.1.32", 8)}},
		{"CIDR of one", Args{Core: []string{"10.0.1.32/32"}}, Pools{Core: netiptest.Addrs("10.0.1.32")}},
		{"as many as a list may have", Args{Core: []string{"10.0.0.0/20"}}, Pools{Core: netiptest.Range("10.0.0.0", 4096)}},
		{"the limit is per list", Args{Core: []string{"10.0.0.0/20"}, Task: []string{"10.1.0.0/20"}},
			Pools{Core: netiptest.Range("10.0.0.0", 4096), Task: netiptest.Range("10.1.0.0", 4096)}},
		{"a mixture, in the operator's order", Args{Positional: []string{"10.0.1.9,10.0.1.40-41", "10.0.1.16/30", "10.0.1.5"}},
			Pools{Master: netiptest.Addrs("10.0.1.9"), Core: netiptest.Addrs("10.0.1.40 10.0.1.41 10.0.1.16 10.0.1.17 10.0.1.18 10.0.1.19 10.0.1.5")}},
		{"flags", Args{Master: []string{"10.0.1.10-12"}, Core: []string{"10.0.1.20", "10.0.1.21"}, Task: []string{"10.0.1.30"}},
			Pools{Master: netiptest.Range("10.0.1.10", 3), Core: netiptest.Addrs("10.0.1.20 10.0.1.21"), Task: netiptest.Addrs("10.0.1.30")}},
		{"outside EMR", Args{Any: []string{"10.0.1.20-29", "10.0.1.40"}}, Pools{Any: append(netiptest.Range("10.0.1.20", 10), netiptest.Addrs("10.0.1.40")...)}},
		{"task nodes beside the list", Args{Positional: []string{"10.0.1.10", "10.0.1.11"}, Task: []string{"10.0.1.30"}},
			Pools{Master: netiptest.Addrs("10.0.1.10"), Core: netiptest.Addrs("10.0.1.11"), Task: netiptest.Addrs("10.0.1.30")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.args)
			if err != nil {
				t.Fatal(err)
			}
			for _, role := range []emr.Role{emr.Master, emr.Core, emr.Task, emr.None} {
				if !slices.Equal(got.For(role), test.want.For(role)) {
					t.Errorf("%s: got %v, want %v", role, got.For(role), test.want.For(role))
				}
			}
		})
	}
}

func TestParsePoolsProblems(t *testing.T) {
	tests := []struct {
		name string
		args Args
	}{
		{"every problem, by its argument", Args{Positional: []string{"10.0.1.10", "10.0.1.300", "10.0.1.11", "host", "010.0.1.12"}}},
		{"IPv6", Args{Core: []string{"fd00::1,::ffff:10.0.1.1,fd00::/64"}}},
		{"empty argument", Args{Positional: []string{"10.0.1.10", ""}}},
		{"a variable of a template that was empty", Args{Positional: []string{"10.0.1.10,,10.0.1.11"}}},
		{"range backwards", Args{Core: []string{"10.0.1.29-20"}}},
		{"range without an end", Args{Core: []string{"10.0.1.29-"}}},
		{"range with a wrong end", Args{Core: []string{"10.0.1.1-256", "10.0.1.1-07", "10.0.1.1-2-3"}}},
		{"CIDR inside a block", Args{Core: []string{"10.0.1.5/24"}}},
		{"CIDR with a wrong length", Args{Core: []string{"10.0.1.0/33"}}},
		{"too many", Args{Core: []string{"10.0.0.1", "10.0.0.0/8", "0.0.0.0/0"}}},
		{"one too many", Args{Core: []string{"10.0.0.0/20,10.1.0.1"}}},
		{"named twice", Args{Positional: []string{"10.0.1.10", "10.0.1.11", "10.0.1.10"}}},
		{"overlapping ranges are one problem", Args{Positional: []string{"10.0.1.10", "10.0.1.20-29", "10.0.1.25-34"}}},
		{"twice in one argument", Args{Core: []string{"10.0.1.20,10.0.1.20"}}},
		{"in two pools", Args{Core: []string{"10.0.1.20-29"}, Task: []string{"10.0.1.29"}}},
		{"by position and by flag", Args{Positional: []string{"10.0.1.10"}, Master: []string{"10.0.1.11"}, Core: []string{"x"}}},
		{"from the environment", Args{Core: []string{"x"}, Names: map[string]string{FlagCore: "EMR_STATIC_IP_CORE_IPS"}}},
		{"what a terminal would obey", Args{Positional: []string{"\x1b[2J\u202e10.0.1.1"}}},
	}
	messages := golden.Open(t, "problems.txt")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.args)
			if err == nil {
				t.Fatalf("no error, but %v", got)
			}
			if !reflect.DeepEqual(got, Pools{}) {
				t.Errorf("pools with an error: %v", got)
			}
			messages.Is(t, test.name, err.Error())
		})
	}
}

func TestParsePoolsLimitsWhatItSays(t *testing.T) {
	var args []string
	for i := range 1000 {
		args = append(args, fmt.Sprint("bad", i), strings.Repeat("x", 1000))
	}
	_, err := Parse(Args{Positional: args})
	lines := strings.Split(err.Error(), "\n")
	if want := text.MaxProblems + 1; len(lines) != want {
		t.Fatalf("%d lines, want %d", len(lines), want)
	}
	if last := lines[text.MaxProblems]; !strings.Contains(last, fmt.Sprint(2*1000-text.MaxProblems)) {
		t.Errorf("the last line does not count the others: %q", last)
	}
	for _, line := range lines {
		if len(line) > 300 {
			t.Errorf("line of %d bytes", len(line))
		}
	}
}

func TestParseCIDRs(t *testing.T) {
	got, err := ParseCIDRs("--only-cidr", []string{"192.168.0.0/16,172.16.0.0/12", "10.9.9.9 0.0.0.0/0"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "[192.168.0.0/16 172.16.0.0/12 10.9.9.9/32 0.0.0.0/0]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	_, err = ParseCIDRs("--only-cidr", []string{"192.168.1.0/16", "fd00::/8,10.0.0.0/8", "10.0.0.0/x", "10.0.0.1-2", "10/8 172.16/12", "10.0.1/16"})
	if err == nil {
		t.Fatal("wrong networks were accepted")
	}
	golden.Is(t, "cidrs.txt", err.Error()+"\n")
	if _, err = ParseCIDRs("--only-cidr", []string{" ,"}); err == nil {
		t.Error("a list without networks was taken for no restriction")
	}
}

// FuzzParsePools: whatever is typed, there is either an error or a list within its bounds, without
// duplicates, that reads the same when its addresses are written out one by one.
func FuzzParsePools(f *testing.F) {
	for _, seed := range []string{
		"10.0.1.10", "10.0.1.20-10.0.1.29", "10.0.1.20-29", "10.0.1.0/28", "10.0.1.10,10.0.1.11 10.0.1.12", "fd00::1", "0.0.0.0/0",
		"255.255.255.255-0", "-", "/", ",", "10.0.1.1-255.255.255.255", "10.0.1.1/-1", "10.0.1.1-2/30", "\x00", "１０.0.1.1",
	} {
		f.Add(seed, "10.0.1.30")
	}
	f.Fuzz(func(t *testing.T, list, task string) {
		p, err := Parse(Args{Positional: []string{list}, Task: []string{task}})
		if err != nil {
			if value := err.Error(); text.Clean(strings.ReplaceAll(value, "\n", ""), len(value)+1) != strings.ReplaceAll(value, "\n", "") {
				t.Fatalf("foreign text in %q", value)
			}
			return
		}
		seen := map[netip.Addr]bool{}
		var written []string
		for _, a := range slices.Concat(p.Master, p.Core, p.Task) {
			if !a.Is4() || seen[a] {
				t.Fatalf("%v in %v", a, p)
			}
			seen[a] = true
		}
		if len(p.Master) != 1 || len(p.Core) >= Max || len(p.Task) > Max {
			t.Fatalf("%d, %d, %d addresses", len(p.Master), len(p.Core), len(p.Task))
		}
		for _, a := range slices.Concat(p.Master, p.Core) {
			written = append(written, a.String())
		}
		again, err := Parse(Args{Positional: written})
		if err != nil || !slices.Equal(again.Master, p.Master) || !slices.Equal(again.Core, p.Core) {
			t.Fatalf("%v reads back as %v, %v", p, again, err)
		}
	})
}

// FuzzParseCIDRs: whatever is typed, there is either an error fit to be shown, or IPv4 networks
// that read the same when they are written out.
func FuzzParseCIDRs(f *testing.F) {
	for _, seed := range []string{"192.168.0.0/16,172.16.0.0/12", "10.9.9.9 0.0.0.0/0", "10.0.0.0/33", "fd00::/8", "10.0.0.1/24", ",", "10.0.0.0/08", "1.2.3.4/-0", "\x1b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		networks, err := ParseCIDRs("--only-cidr", []string{list})
		if err != nil {
			if line := strings.ReplaceAll(err.Error(), "\n", ""); text.Clean(line, len(line)+1) != line {
				t.Fatalf("foreign text in %q", err)
			}
			return
		}
		var written []string
		for _, p := range networks {
			if !p.Addr().Is4() || p != p.Masked() {
				t.Fatalf("%v of %q", p, list)
			}
			written = append(written, p.String())
		}
		again, err := ParseCIDRs("--only-cidr", []string{strings.Join(written, ",")})
		if err != nil || !slices.Equal(again, networks) || len(networks) == 0 {
			t.Fatalf("%v reads back as %v, %v", networks, again, err)
		}
	})
}

func TestFor(t *testing.T) {
	p := Pools{Master: netiptest.Addrs("10.0.1.1"), Core: netiptest.Addrs("10.0.1.2"), Task: netiptest.Addrs("10.0.1.3")}
	for role, want := range map[emr.Role]string{emr.Master: "10.0.1.1", emr.Core: "10.0.1.2", emr.Task: "10.0.1.3"} {
		if got := p.For(role); len(got) != 1 || got[0].String() != want {
			t.Errorf("%s: %v", role, got)
		}
	}
	if p.For("") != nil || p.Empty() || !(Pools{}).Empty() {
		t.Error("empty pools")
	}
}
