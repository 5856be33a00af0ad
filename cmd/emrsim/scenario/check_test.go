package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheck checks that everything that can be refused without a cluster is refused, all problems
// at once, with file and line.
// TestNamed checks that the addresses of all lines are found, and networks are not.
func TestNamed(t *testing.T) {
	text := "# 10.0.1.9\ncluster --subnets 10.0.1.0/24 -- --core-ips=10.0.1.10-11,10.0.1.13 --only-cidr 0.0.0.0/0\nstranger 10.0.1.300 10.0.1.40\n-- f --\n10.0.1.50\n"
	if got := fmt.Sprint(named(text)); got != "[10.0.1.9 10.0.1.10 10.0.1.11 10.0.1.13 10.0.1.40]" {
		t.Errorf("got %s", got)
	}
}

func TestCheck(t *testing.T) {
	for line, says := range map[string]string{
		"clusters -- 10.0.1.10":                  `unknown command "clusters"`,
		"exec true":                              `unknown command "exec"`,
		"cluster":                                "0 words after the command",
		"cluster --cores 1 -- 10.0.1.10":         "unknown flag: --cores",
		"cluster -- 10.0.1.300":                  "10.0.1.300",
		"cluster -- release":                     "only apply can be rehearsed",
		"cluster --masters 2 -- 10.0.1.10":       "--masters 2",
		"cluster --release seven -- 10.0.1.10":   `--release "seven"`,
		"cluster --iptables x -- 10.0.1.10":      `--iptables "x"`,
		"cluster --files few -- 10.0.1.10":       `--files "few"`,
		"cluster --core 101 -- 10.0.1.10":        "--core 101",
		"subnet 10.0.1.0/8":                      "between /17 and /28",
		"account --quotas many":                  `--quotas "many"`,
		"account --stale 2":                      "--stale 2",
		"launch --exit x":                        `--exit "x"`,
		"agent --user bob core-1":                `--user "bob"`,
		"! launch":                               "! is for expectations",
		"has core-1 10.0.1.10 &":                 "has cannot be left in the background",
		"has core-1":                             "1 word after the command",
		"has core-1 10.0.1.10-9":                 "no range of addresses",
		"grow BOSS":                              `"BOSS" is no role`,
		"grow CORE 0":                            `"0" nodes`,
		"load core-1 pf file":                    `"pf": iptables or nft`,
		"when core-1 s3:GetObject kill":          `"s3:GetObject" is no call`,
		"when core-1 ssm:PutParameter explode":   `"explode"`,
		"when core-1 log:x lose":                 "only kill",
		"when core-1 'log:(' kill":               "missing closing )",
		"when core-1 any cut s3":                 "cut what?",
		"when --nth 0 core-1 any kill":           "--nth 0",
		"cut core-1 s3":                          `"s3": one of`,
		"throttle ssm:PutParameter fast":         `"fast" calls per second`,
		"inside core-1 master other":             `"other": primary or static`,
		"said core-1 '('":                        "missing closing )",
		"said core-1 'x":                         "a quotation mark without its pair",
		"calls core-1 many":                      `"many": a number`,
		"within 5s launch":                       "within is for expectations",
		"within soon records 1":                  "invalid duration",
		"within 5s has core-1":                   "1 word after the command",
		"[windows] launch":                       "unknown condition [windows]",
		"[!nft]":                                 "no command after the condition",
		"!":                                      "no command after !",
		"record x":                               `"x" is no address`,
		"stranger --primary 10.0.1.10 10.0.1.11": "2 words after the command",
		"stranger --primary 10.0.1.10-11":        "one primary address",
		"clock late":                             "invalid duration",
		"gateway s3 gone":                        `"gone": attached or detached`,
		"gateway nat attached":                   `"nat": internet or s3`,
		"replace":                                "0 words after the command",
	} {
		err := Check("file.txtar", []byte("# comment\n\n"+line+"\nanother\n"))
		if err == nil || !strings.Contains(err.Error(), "file.txtar:3: ") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q in line 3", line, err, says)
			continue
		}
		if !strings.Contains(err.Error(), `file.txtar:4: unknown command "another"`) {
			t.Errorf("%s: the second problem is missing: %v", line, err)
		}
	}
	if err := Check("file.txtar", []byte("# nothing\n-- file --\nlaunch\n")); err == nil {
		t.Error("a scenario without a command passes")
	}
	for _, line := range []string{"cluster -- 10.0.1.10 # comment", "  launch", "said core-1 'it''s'", "has core-1 $STATIC", "[!other] skip 'needs another version'", "! has core-1 10.0.1.10"} {
		if err := Check("file.txtar", []byte(line+"\n-- any --\nunknown words\n")); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestRunRefuses checks that a faulty scenario builds nothing: it fails without namespaces, too.
func TestRunRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "faulty.txtar")
	if err := os.WriteFile(file, []byte("cluster -- 10.0.1.10\nlanch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Run(context.Background(), file, Options{})
	if err != nil || !got.Failed || !strings.Contains(got.Log, `faulty.txtar:2: unknown command "lanch"`) {
		t.Errorf("%+v, %v", got, err)
	}
}
