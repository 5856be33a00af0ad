// Command bench measures what the program costs, and writes one table with the floor and the limit
// of each figure:
//
//	go run ./scripts/bench [-count N] BENCHMARKS.md bin/emr-static-ip
//
// Each figure is the minimum of several measurements, which others on the machine disturb least.
// The output of Go's benchmarks goes to bin/bench.txt, for benchstat. The limits are for people:
// what is checked in every test is counted and not timed.
package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	count := flag.Int("count", 10, "how often each benchmark is measured")
	flag.Parse()
	if flag.NArg() != 2 {
		log.Fatal("usage: bench [-count N] TABLE PROGRAM")
	}
	if err := run(flag.Arg(0), flag.Arg(1), *count); err != nil {
		log.Fatal("bench: ", err)
	}
}

// figure is one row of the table. floor and limit are in its unit; 0 means none.
type figure struct {
	what                string
	value, floor, limit float64
	unit                string
	floorIs             string // what the floor is
}

// results has the output of Go's benchmarks.
const results = "bin/bench.txt"

func run(table, program string, count int) error {
	if err := os.Remove(results); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var all []figure
	for _, measure := range []func(string, int) ([]figure, error){weight, start, restore, firstPacket, foreignRules} {
		found, err := measure(program, count)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	text := render(all, count)
	fmt.Print(text)
	return os.WriteFile(table, []byte(text), 0o644)
}

// weight measures the program's file.
func weight(program string, _ int) ([]figure, error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return []figure{
		{what: "program, stripped", value: float64(len(data)) / 1e6, limit: 12.2, unit: "MB"},
		{what: "program, with gzip", value: float64(packed.Len()) / 1e6, limit: 4.7, unit: "MB"},
	}, nil
}

// start measures emr-static-ip version, beside a program that does nothing.
func start(program string, count int) ([]figure, error) {
	path, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	cpu, elapsed, err := least(5*count, path, "version")
	if err != nil {
		return nil, err
	}
	_, nothing, err := least(5*count, "true")
	if err != nil {
		return nil, err
	}
	return []figure{
		{what: "start: version, elapsed", value: ms(elapsed), floor: ms(nothing), floorIs: "`true`", limit: 6, unit: "ms"},
		{what: "start: version, CPU", value: ms(cpu), unit: "ms"},
	}, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// least runs a program n times, and returns the least CPU and the least elapsed time.
func least(n int, program string, args ...string) (cpu, elapsed time.Duration, err error) {
	for range n {
		cmd := exec.Command(program, args...)
		began := time.Now()
		if err := cmd.Run(); err != nil {
			return 0, 0, fmt.Errorf("running %s: %w", program, err)
		}
		took, used := time.Since(began), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
		if elapsed == 0 || took < elapsed {
			elapsed = took
		}
		if cpu == 0 || used < cpu {
			cpu = used
		}
	}
	return cpu, elapsed, nil
}

// goTest runs tests as make test does, and returns what they print.
func goTest(args ...string) (string, error) {
	cmd := exec.Command("scripts/test.sh", args...)
	cmd.Env = append(os.Environ(), "REQUIRE_NETNS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out), nil
}

// restoreLine is what TestRestoreCost logs.
var restoreLine = regexp.MustCompile(`(former )?restore of ([a-z ]+): CPU (\d+) ns`)

// restore measures a restore of a node in order. The limit is half of what the version took whose
// restore asked and looked more, which TestRestoreCost builds if the history is there.
func restore(string, int) (found []figure, err error) {
	out, err := goTest("-count=1", "-parallel=1", "-run", "^TestRestoreCost$", "-v", "./cmd/emrsim/lab")
	if err != nil {
		return nil, err
	}
	limits := map[string]float64{}
	for _, m := range restoreLine.FindAllStringSubmatch(out, -1) {
		ns, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		if what := "restore, all in order, " + m[2] + ", CPU"; m[1] != "" {
			limits[what] = ns / 2e6
		} else {
			found = append(found, figure{what: what, value: ns / 1e6, unit: "ms"})
		}
	}
	if len(found) != 3 {
		return nil, fmt.Errorf("TestRestoreCost has %d figures, not 3:\n%s", len(found), out)
	}
	for i := range found {
		found[i].limit = limits[found[i].what]
	}
	return found, nil
}

// benchmarkLine is a result of Go's benchmarks. The last number is the least of its batches, where
// there are batches.
var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark\w+/(\S+?)-\d+\s+\d+\s+([0-9.]+) ns/op(?:\s+([0-9.]+) ns/flow)?`)

// benchmark measures a benchmark of netcfg count times. It returns the minimum of each part in ns,
// and their names in order.
func benchmark(name, times string, count int) (best map[string]float64, order []string, err error) {
	// One of each after the other, so that what disturbs the machine for a while disturbs them all.
	out := ""
	for range count {
		round, err := goTest("-run", "^$", "-bench", "^Benchmark"+name+"$", "-benchtime", times, "-count=1", "./netcfg")
		if err != nil {
			return nil, nil, err
		}
		out += round
	}
	f, err := os.OpenFile(results, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, err
	}
	_, err = f.WriteString(out)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, nil, err
	}
	best = map[string]float64{}
	for _, m := range benchmarkLine.FindAllStringSubmatch(out, -1) {
		number := m[3]
		if number == "" {
			number = m[2]
		}
		ns, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return nil, nil, err
		}
		if was, ok := best[m[1]]; !ok {
			order, best[m[1]] = append(order, m[1]), ns
		} else {
			best[m[1]] = min(was, ns)
		}
	}
	return best, order, nil
}

// foreignRules measures a look at the kernel that finds all in order, beside 10,000 rules of others
// in nat and as many in filter.
func foreignRules(_ string, count int) (found []figure, err error) {
	best, order, err := benchmark("ForeignRules", "20x", count)
	if err != nil {
		return nil, err
	}
	for _, name := range order {
		f := figure{what: "a look, rules of others: " + name, value: best[name] / 1e6, unit: "ms"}
		if backend, many, _ := strings.Cut(name, "-"); many != "0" {
			f.floor, f.floorIs = best[backend+"-0"]/1e6, "no rules of others"
		}
		if name == "native-10000" {
			f.limit = 2 * f.floor // the names of a hundred chains in each table are listed
		}
		found = append(found, f)
	}
	return found, nil
}

// batches is how many batches BenchmarkFirstPacket takes the median of: its constant turns.
const batches = 200

// firstPacket measures the first packet of a flow through the rules, beside one without any and one
// through the two rules of the script that this program replaces.
func firstPacket(_ string, count int) (found []figure, err error) {
	best, order, err := benchmark("FirstPacket", "1x", count)
	if err != nil {
		return nil, err
	}
	none, ok := best["none"]
	if !ok {
		return nil, errors.New("no benchmark without rules")
	}
	for _, name := range order {
		f := figure{what: "first packet of a flow: " + name, value: best[name] / 1e3, unit: "µs"}
		if name != "none" {
			f.floor, f.floorIs = none/1e3, "no rules"
		}
		backend, _, ours := strings.Cut(name, "-only-")
		if ours {
			f.floor, f.floorIs = best[backend+"-least"]/1e3, "the fewest rules"
			script := best["script-iptables-nft"]
			if backend == "legacy" {
				script = best["script-iptables-legacy"]
			}
			f.limit = script / 1e3
		}
		found = append(found, f)
	}
	return found, nil
}

// render returns the table.
func render(all []figure, count int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks

%s, by %s on %s: %s, %d CPUs, Linux %s.
Each figure is the least of several measurements (%d or more), in namespaces of one machine. Machines differ: compare figures within
one table only.

- The floor is what the same measurement gives without the program, without its rules, or without rules of others: the cell says which.
- A figure should not exceed its limit. One that does is marked "exceeded". `+"`make bench`"+` does not fail for it. `+"`make test`"+` fails for what
  hardly depends on the machine: sizes above these limits (TestWeight), a restore above 80 %% of the CPU of the former one
  (TestRestoreCost; the limit in the table is 50 %%), and more calls, processes, system calls or allocations than today (TestSystemCalls,
  TestRestoreOfAHealthyNodeIsCheap).
- A restore, which a timer runs every minute, is measured on a node in order. Its limit is half of what it took before it was made
  cheaper (commit 65427f2), measured in the same run.
- The first packet of a flow is a UDP packet of the node itself to a new port, from the system call to the link. It is measured without
  rules ("none"), with the two rules of the Python script (DNAT to the primary IP, SNAT from it: "script"), and with this program's
  rules in iptables legacy ("legacy"), iptables nft ("nft") and nftables ("native"), for 0, 20 and 400 networks of --only-cidr; 0 is
  without the flag. All are measured in turns, and each measurement is the median of %d batches. The limit is what the script's rules
  cost in the same run: in iptables legacy for "legacy", in iptables nft for the others. The script's rules are measured twice: smaller
  differences than between the two mean nothing.
- "least" are the fewest rules that do three things which the script's do not: they serve the node itself at its static IP, leave other
  interfaces alone, and have a chain of their own. They have no exceptions, not even for the VPC. With nft and native they cost more
  than the script's two rules already, so the limit cannot be met there. Only the first packet of a connection pays for rules.
- A look at the kernel is what `+"`restore` and `status`"+` do first. It is measured with no rules of others ("0"), and with 10,000 each in nat
  and in filter. The limit of native-10000 is twice its floor.
- `+"`make bench`"+` compares its figures with those of the run before, by `+"`benchstat`"+`: bin/bench-before.txt and bin/bench.txt.

| figure | measured | floor | limit |
|---|---|---|---|
`, time.Now().UTC().Format("2006-01-02"), "`make bench`", runtime.Version(), cpuModel(), runtime.NumCPU(), firstField("/proc/sys/kernel/osrelease"), count, batches)
	number := func(v float64, unit string) string {
		if v == 0 {
			return ""
		}
		digits := 1
		if unit == "µs" || unit == "MB" { // hundredths matter
			digits = 2
		}
		return strconv.FormatFloat(v, 'f', digits, 64) + " " + unit
	}
	for _, f := range all {
		floor, mark := number(f.floor, f.unit), ""
		if floor != "" {
			floor += " (" + f.floorIs + ")"
		}
		if f.limit > 0 && f.value > f.limit {
			mark = ", exceeded"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s%s |\n", f.what, number(f.value, f.unit), floor, number(f.limit, f.unit), mark)
	}
	return b.String()
}

func firstField(file string) string {
	data, err := os.ReadFile(file)
	if fields := strings.Fields(string(data)); err == nil && len(fields) > 0 {
		return fields[0]
	}
	return "unknown"
}

func cpuModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return runtime.GOARCH
}
