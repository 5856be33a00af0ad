package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/record"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

// shown returns what a terminal shows: it understands what a screen sends.
func shown(sent string) (lines []string) {
	row := 0
	for i := 0; i < len(sent); i++ {
		if up := 0; sent[i] == '\x1b' {
			end := i + strings.IndexAny(sent[i:], "AJm")
			if sent[end] == 'A' {
				fmt.Sscanf(sent[i:end], "\x1b[%d", &up)
				row -= up
			} else if sent[end] == 'J' {
				lines = lines[:row]
			}
			i = end
			continue
		}
		for len(lines) <= row {
			lines = append(lines, "")
		}
		if sent[i] == '\n' {
			row++
			continue
		}
		lines[row] += sent[i : i+1]
	}
	return lines
}

func TestScreenChangesInPlace(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, start: time.Now(), live: true, colour: true, width: 40, height: 10, last: map[string]string{}}
	s.printf("the drawing\n")
	s.join("master", "is up")
	s.join("core-1", "is up")
	s.begin("all nodes at once")
	s.say("core-1", "first")
	s.say("core-1", strings.Repeat("long ", 20))
	s.problem("master", "broken\nand more")
	s.repaint(true)
	lines := shown(out.String())
	if len(lines) != 4 || lines[0] != "the drawing" || !strings.HasSuffix(lines[1], "all nodes at once") ||
		!strings.HasPrefix(lines[2], "  master    PROBLEM: broken") || !strings.HasPrefix(lines[3], "  core-1    long long") {
		t.Errorf("the screen shows %q", lines)
	}
	for _, l := range lines {
		if n := len([]rune(l)); n >= 40 {
			t.Errorf("%d columns in a terminal of 40: %q", n, l)
		}
	}
	s.printf("the table\n")
	if lines := shown(out.String()); len(lines) != 2 || lines[1] != "the table" {
		t.Errorf("in the end the screen shows %q", lines)
	}
}

func TestScreenCountsNodesThatHaveNoRoom(t *testing.T) {
	s := &screen{start: time.Now(), live: true, width: 80, height: 10, last: map[string]string{}}
	for i := range 50 {
		name := fmt.Sprintf("core-%d", i)
		s.nodes = append(s.nodes, name)
		if s.last[name] = "assigned 10.0.1.11: x"; i < 20 {
			s.last[name] = "recorded 10.0.1.11: x"
		}
	}
	lines := s.lines()
	if len(lines) != 3 || !strings.Contains(lines[1], "30 nodes: assigned") || !strings.Contains(lines[2], "20 nodes: recorded") {
		t.Errorf("%q", lines)
	}
}

// TestLogWithoutTerminal checks that nothing changes in place in a file.
func TestLogWithoutTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	s := newScreen(f, false, false, time.Now())
	s.join("master", "is up")
	s.begin("a phase")
	s.problem("master", "broken")
	text, err := os.ReadFile(f.Name())
	if err != nil || strings.Contains(string(text), "\x1b") || strings.Count(string(text), "\n") != 3 {
		t.Errorf("%v %q", err, text)
	}
	f.Close()
	s.printf("more")
	if s.err() == nil {
		t.Error("a failed write was not noticed")
	}
}

func TestBrief(t *testing.T) {
	for line, want := range map[string]string{
		`2026-11-29T23:00:43.295Z INFO identified the node {"instance": "i-07", "role": "CORE"}`: "identified the node",
		"2026-11-29T23:00:43.295Z WARN record pending":                                           "WARN record pending",
		"installed /usr/local/sbin/emr-static-ip":                                                "installed /usr/local/sbin/emr-static-ip (in the node's own files)",
		strings.Repeat("a word ", 30):                                                            strings.TrimSpace(strings.Repeat("a word ", 20)) + " ...",
	} {
		if got := brief(line); got != want {
			t.Errorf("%q:\ngot  %q\nwant %q", line, got, want)
		}
	}
}

func TestPictureFits(t *testing.T) {
	plan, err := lab.NewPlan(netip.MustParsePrefix("172.31.255.192/28"))
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr("172.31.255.200")
	for _, nodes := range []int{0, 1, 3, 96} {
		spec := lab.ClusterSpec{Masters: 3, Cores: nodes, Tasks: nodes, Static: []netip.Addr{a, a}}
		text := picture(plan, spec, &lab.Node{NodeSpec: lab.NodeSpec{Primary: lab.Port{Address: a}}})
		width := 0
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if len(line) > 80 {
				t.Errorf("%d columns: %s", len(line), line)
			}
			if strings.HasPrefix(line, "  +") || strings.HasPrefix(line, "  |") {
				if width == 0 {
					width = len(line)
				} else if len(line) != width {
					t.Errorf("%d nodes: the frame is not closed:\n%s", nodes, text)
				}
			}
		}
	}
}

func TestRenderKeepsToItsColumns(t *testing.T) {
	rows := [][]string{{"NODE", "BEFORE", "AFTER"}, {"core-1", "refused", "done"}, {"core-22", "refused", "failed"}}
	plain := (&screen{}).render(rows)
	if want := "NODE     BEFORE   AFTER\ncore-1   refused  done\ncore-22  refused  failed\n"; plain != want {
		t.Errorf("got\n%s\nwant\n%s", plain, want)
	}
	painted := (&screen{colour: true}).render(rows)
	if got := escape.ReplaceAllString(painted, ""); strings.Count(painted, "\x1b[31m") != 1 || strings.ReplaceAll(got, " \n", "\n") != strings.ReplaceAll(plain, " \n", "\n") && !strings.Contains(got, "core-22  refused  failed") {
		t.Errorf("painted %q", painted)
	}
}

func TestSize(t *testing.T) {
	for want, spec := range map[string]lab.ClusterSpec{
		"1 master":                               {Masters: 1},
		"1 master and 1 core node":               {Masters: 1, Cores: 1},
		"3 masters and 20 core nodes":            {Masters: 3, Cores: 20},
		"1 master, 2 core nodes and 1 task node": {Masters: 1, Cores: 2, Tasks: 1},
	} {
		if got := size(spec); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestDescribeProblem(t *testing.T) {
	many := []string{"a", "b", "c", "d", "e", "f", "g"}
	for _, test := range []struct {
		p     record.Problem
		nodes int
		want  string
	}{
		{record.Problem{Nodes: []string{"core-1"}, Cause: "x\ny", Remedy: "z"}, 2, " - core-1: x\n   y\n   what to do: z\n"},
		{record.Problem{Nodes: []string{"a", "b"}, Cause: "x"}, 2, " - every node: x\n"},
		{record.Problem{Nodes: many, Cause: "x"}, 20, " - a, b, c, d, e and 2 more: x\n"},
		{record.Problem{Cause: "x"}, 1, " - the rehearsal: x\n"},
	} {
		if got := describeProblem(test.p, test.nodes); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// recorded reads a report. text is its content.
func recorded(t *testing.T, path string) (r record.Recording, text []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, text
}

// TestReport rehearses with a report: what the table says is in it.
func TestReport(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.json")
	output, code := emrsim(t, "launch", "--report", path, "--", "10.0.1.10", "10.0.1.11")
	if code != 0 || !strings.HasSuffix(output, "\n"+path+"\n") {
		t.Errorf("exit code %d, and the path is not the last line\n%s", code, output)
	}
	r, text := recorded(t, path)
	if r.Outcome != record.Passed || len(r.Nodes) != 2 || len(r.Table.Rows) != 2 || len(r.Sightings) != 4 || len(r.Phases) < 4 || len(r.Calls) < 8 {
		t.Errorf("the report has not what happened: %s", text)
	}
	holders := r.Holders()
	for _, n := range r.Nodes {
		kinds := map[string]bool{}
		for _, s := range n.Steps {
			kinds[s.Kind] = true
		}
		for _, kind := range []string{record.StepIdentify, record.StepChoose, record.StepAssign, record.StepProgram, record.StepRecord} {
			if !kinds[kind] {
				t.Errorf("%s has no step %s: %+v", n.Name, kind, n.Steps)
			}
		}
		if !n.Static.IsValid() || holders[n.Static] != n.Name || !strings.Contains(n.Rules, n.Static.String()) || !strings.Contains(n.Addresses, n.Static.String()) ||
			len(n.Runs) != 2 || !strings.Contains(n.Runs[0].Report, n.Static.String()) || n.Runs[0].Calls == 0 {
			t.Errorf("what is known about %s: %+v", n.Name, n)
		}
	}
}

// TestReportOfAFailure checks the report of a launch whose list is too short, that no phase is
// announced that does not happen, and that the cause comes before the remedy.
func TestReportOfAFailure(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.html")
	output, code := emrsim(t, "launch", "--core", "3", "--report", path, "--", "10.0.1.10", "10.0.1.11")
	_, problem, _ := strings.Cut(output, "\n - ")
	problem, _, _ = strings.Cut(problem, "\n\n")
	if code != 1 || problem == "" || strings.Contains(problem, "\n - ") {
		t.Errorf("exit code %d, or not one problem\n%s", code, output)
	}
	golden.Is(t, "launch-with-too-few.txt", problem+"\n")
	for _, never := range []string{"after: the same", "a second run", "problems"} {
		if strings.Contains(output, never) {
			t.Errorf("the output has %q\n%s", never, output)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "job-flow.json") || !strings.Contains(string(text), `class="badge failed"`) {
		t.Errorf("the report: %v", err)
	}
	if output, code := emrsim(t, "launch", "--report", "r.txt", "--", "10.0.1.10"); code != 2 || !strings.Contains(output, "r.txt") {
		t.Errorf("exit code %d\n%s", code, output)
	}
}

// TestRunReport runs a scenario with a report: the node that ends and the one that takes its
// address over are in it, each with its time.
func TestRunReport(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.json")
	output, code := emrsim(t, "run", "--report", path, "core-replaced")
	if code != 0 || !strings.Contains(output, path) {
		t.Errorf("exit code %d\n%s", code, output)
	}
	r, text := recorded(t, path)
	nodes := map[string]*record.Node{}
	for _, n := range r.Nodes {
		nodes[n.Name] = n
	}
	gone, next := nodes["core-1"], nodes["core-3"]
	if r.Outcome != record.Passed || len(r.Nodes) != 4 || gone == nil || next == nil || !gone.Ended || next.Ended || gone.Until > next.Runs[0].Until || len(r.Phases) < 8 {
		t.Fatalf("the report has not what happened: %s", text)
	}
	held := map[string]netip.Addr{}
	for _, ch := range r.Ledger {
		if ch.What == record.ChangeAssigned {
			held[ch.Node] = ch.Address
		}
	}
	if held["core-1"] != held["core-3"] || next.Static != held["core-3"] || r.Holders()[next.Static] != "core-3" || !strings.Contains(next.Rules, next.Static.String()) {
		t.Errorf("addresses %v; core-3 %+v", held, next)
	}
	if output, code := emrsim(t, "run", "--report", path, "resize", "reboot"); code != 2 {
		t.Errorf("two scenarios: exit code %d\n%s", code, output)
	}
}

// TestVirtual rehearses a launch in virtual time, and one that cannot work.
func TestVirtual(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.json")
	start := time.Now()
	output, code := emrsim(t, "launch", "--virtual", "--subnet", "10.0.0.0/19", "--report", path, "--", "10.0.16.0", "10.0.16.1-119")
	if code != 0 || !strings.HasSuffix(output, "\n"+path+"\n") {
		t.Fatalf("exit code %d\n%s", code, output)
	}
	r, _ := recorded(t, path)
	if holders := r.Holders(); !r.Virtual || r.Outcome != record.Passed || len(r.Nodes) != 120 || len(holders) != 120 || len(r.Table.Rows) != 120 || r.Seconds < 20 {
		t.Errorf("%s: %d nodes, %d addresses held, %g s; the test took %s", r.Outcome, len(r.Nodes), len(holders), r.Seconds, time.Since(start))
	}
	throttled := 0
	for _, c := range r.Calls {
		if c.Throttled {
			throttled++
		}
	}
	if throttled == 0 {
		t.Error("AWS's quotas throttled no call of 120 nodes")
	}
	for _, n := range r.Nodes {
		if n.Until != r.Seconds || len(n.Runs) == 0 || len(n.Steps) < 4 || !n.Static.IsValid() {
			t.Fatalf("%+v", n)
		}
	}
	output, code = emrsim(t, "launch", "--virtual", "--core", "3", "--", "10.0.1.10", "10.0.1.11")
	if code != 1 || !strings.Contains(output, "\n - every node: emr-static-ip ended with exit code 2: Insufficient arguments") {
		t.Errorf("exit code %d\n%s", code, output)
	}
	for _, args := range [][]string{{"--shell", "core-1", "--", "10.0.1.10", "10.0.1.11"}, {"--core", "1000", "--", "10.0.1.10", "10.0.1.11"}, {"--subnet", "10.0.1.0/28", "--", "10.0.1.10", "10.0.1.11-14", "--task-ips", "10.0.1.4-9"}} {
		if output, code := emrsim(t, append([]string{"launch", "--virtual"}, args...)...); code != 2 {
			t.Errorf("%q: exit code %d\n%s", args, code, output)
		}
	}
}

// TestVirtualInterrupted ends a long rehearsal in virtual time by a signal: it ends at once.
func TestVirtualInterrupted(t *testing.T) {
	t.Parallel()
	cmd := command(t, "launch", "--virtual", "--subnet", "10.0.0.0/19", "--", "10.0.16.0", "10.0.16.1-10.0.17.243")
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); !strings.Contains(out.String(), "in virtual time"); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("it does not begin:\n%s", out.String())
		}
	}
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code, took := cmd.ProcessState.ExitCode(), time.Since(began); code != 130 || took > 3*time.Second {
		t.Errorf("exit code %d after %v, want 130 at once\n%s", code, took, out.String())
	}
}
