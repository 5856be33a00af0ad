package scenario

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/lab"
)

// A Command is a word that begins a line of a scenario.
type Command struct {
	Usage string // the line's form
	About string // one sentence
	// Negatable is set for expectations: "! seen core-1" holds where "seen core-1" does not.
	Negatable bool
	// Prints is set for commands that run programs: stdout and stderr look at their output. The
	// line may end with &: the scenario goes on, and await waits.
	Prints bool

	// patient is set for expectations of connections: a busy machine may be too slow for one of
	// them, so the expectation is tried up to three times before it counts as not met.
	patient     bool
	least, most int // number of words behind the flags; a negative most means any number
	// parse checks the words without a cluster. A command with flags has flags in its place, which
	// defines them.
	parse reader
	flags func(*pflag.FlagSet) reader
}

// A reader checks the words of a line and returns what the line does.
type reader func(words []string) (step, error)

// A step is a parsed line. It returns a mismatch if an expectation is not met.
type step func(p *play) error

// mismatch is the error of an expectation that is not met, as opposed to one that cannot be looked
// at.
type mismatch struct{ text string }

func (m mismatch) Error() string { return m.text }

func mismatched(format string, args ...any) error { return mismatch{fmt.Sprintf(format, args...)} }

// builtin are the commands of testscript that scenarios may use. The others would run programs of
// the machine, or change its files.
var builtin = []string{"stdout", "stderr", "cmp", "grep", "exists", "env", "skip", "stop"}

// Commands returns all commands of scenarios by name, without those of testscript.
func Commands() map[string]Command { return commands }

// commands is filled by init, because within refers to it.
var commands map[string]Command

func init() { //nolint:gochecknoinits // the table refers to itself by within
	commands = map[string]Command{}
	for _, table := range []map[string]Command{buildCommands(), programCommands(), eventCommands(), faultCommands(), expectations(), networkExpectations()} {
		for name, c := range table {
			commands[name] = c
		}
	}
}

// bound returns the commands in the form of testscript.
func bound() map[string]func(*testscript.TestScript, bool, []string) {
	all := map[string]func(*testscript.TestScript, bool, []string){}
	for name, c := range commands {
		all[name] = func(ts *testscript.TestScript, negative bool, words []string) {
			p := &play{ts.Value(playKey{}).(*play).world, &output{}}
			if p.options.Step != nil {
				line := name + " " + strings.Join(words, " ")
				if negative {
					line = "! " + line
				}
				p.options.Step(strings.TrimSpace(line))
			}
			p.script = ts
			do, err := c.prepare(name, negative, words)
			if err == nil {
				err = p.do(do)
			}
			if c.Prints {
				ts.Stdout().Write(p.out.stdout)
				ts.Stderr().Write(p.out.stderr)
			}
			ts.Check(err)
		}
	}
	return all
}

// prepare parses a line.
func (c Command) prepare(name string, negative bool, words []string) (step, error) {
	if negative && !c.Negatable {
		return nil, fmt.Errorf("! is for expectations, and %s is none", name)
	}
	background := len(words) > 0 && words[len(words)-1] == "&"
	if background {
		if !c.Prints {
			return nil, fmt.Errorf("%s cannot be left in the background", name)
		}
		words = words[:len(words)-1]
	}
	words, read, err := c.words(words)
	var do step
	if err == nil {
		do, err = read(words)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w (usage: %s)", name, err, c.Usage)
	}
	switch {
	case negative:
		return inverted(name, words, do), nil
	case background:
		return func(p *play) error { return p.background(do) }, nil
	case c.patient:
		return patient(do), nil
	}
	return do, nil
}

// patient tries an expectation up to three times.
func patient(do step) step {
	return func(p *play) (err error) {
		for range 3 {
			if err = do(p); err == nil || p.ctx.Err() != nil {
				break
			}
		}
		return err
	}
}

// inverted returns the opposite of an expectation. Only a mismatch counts as "not": an expectation
// that could not be looked at fails either way.
func inverted(name string, words []string, do step) step {
	return func(p *play) error {
		err := do(p)
		var m mismatch
		switch {
		case errors.As(err, &m):
			return nil
		case err != nil:
			return err
		}
		return mismatched("%s %s: this is so, and must not be", name, strings.Join(words, " "))
	}
}

// words returns the words of a line behind its flags, which end at the first other word, and a
// reader for them.
func (c Command) words(line []string) ([]string, reader, error) {
	words, read := slices.Clone(line), c.parse
	if c.flags != nil {
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.SetOutput(io.Discard)
		f.SetInterspersed(false)
		f.Usage = func() {}
		read = c.flags(f)
		if err := f.Parse(line); err != nil {
			return nil, nil, err
		}
		words = f.Args()
	}
	if len(words) < c.least || (c.most >= 0 && len(words) > c.most) {
		return nil, nil, fmt.Errorf("%s after the command", lab.Count(len(words), "word"))
	}
	return words, read, nil
}
