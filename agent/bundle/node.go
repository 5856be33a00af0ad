package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/host"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/netcfg"
)

// EMRFiles is the directory of a bundle that has EMR's files, by their paths on the node.
const EMRFiles = "emr/files"

// bootstrapLogs has a directory for each bootstrap action of a node.
const bootstrapLogs = "/mnt/var/log/bootstrap-actions"

// Node is a node that parts are read from.
type Node struct {
	Env      host.Environment
	StateDir string
	// Run runs a program and returns its output. nil means the program itself, without a shell.
	Run func(ctx context.Context, argv []string) ([]byte, error)
}

// Parts returns what every node has: versions, state, EMR's files and logs, addresses, routes,
// rules, units and their journal. They are read as they are, not through this program's own code,
// which may be what is wrong.
func (n Node) Parts() []Part {
	return slices.Concat(n.versions(), n.state(), n.emr(), n.network(), n.units())
}

func (n Node) versions() []Part {
	parts := []Part{
		n.file("versions/os-release.txt", "/etc/os-release"),
		n.file("versions/kernel.txt", "/proc/version"),
		{Name: "versions/environment.txt", Read: n.environment},
	}
	for _, argv := range [][]string{
		{"iptables", "--version"}, {"iptables-legacy", "--version"}, {"iptables-nft", "--version"}, {"nft", "--version"}, {"ip", "-V"},
		{"systemctl", "--version"}, {"sudo", "--version"}, {"aws", "--version"},
	} {
		parts = append(parts, n.optional("versions/"+argv[0]+".txt", argv...))
	}
	return parts
}

// environment returns the settings in the environment, and of other variables that a run depends
// on only that they are set.
func (n Node) environment(context.Context) ([]byte, error) {
	if n.Env.Environ == nil {
		return nil, ErrAbsent
	}
	var lines []string
	for _, variable := range n.Env.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		switch upper := strings.ToUpper(name); {
		case strings.HasPrefix(name, "EMR_STATIC_IP_"):
			lines = append(lines, name+"="+value)
		case strings.HasPrefix(upper, "AWS_"), strings.HasSuffix(upper, "_PROXY"), strings.HasPrefix(upper, "SSL_CERT_"), upper == "PATH":
			lines = append(lines, name+" is set")
		}
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, "\n") + "\n"), nil
}

func (n Node) state() []Part {
	parts := []Part{n.listing("state/files.txt", n.StateDir, "/run/emr-static-ip")}
	for _, name := range []string{"state.json", "failed.json", "absent.json"} {
		part := n.file("state/"+name, filepath.Join(n.StateDir, name))
		part.Kind = JSON
		parts = append(parts, part)
	}
	return parts
}

// emr returns EMR's files, all of them: nobody has seen those of every kind of cluster. Of the logs
// of bootstrap actions it returns those that this program wrote.
func (n Node) emr() []Part {
	parts := []Part{n.listing("emr/files.txt", append(emr.Dirs(), systemd.ShutdownDir, bootstrapLogs)...)}
	for _, dir := range emr.Dirs() {
		entries, err := os.ReadDir(n.Env.Path(dir))
		if err != nil {
			continue // the listing says why
		}
		for _, entry := range entries {
			part := n.file(EMRFiles+path.Join(dir, entry.Name()), path.Join(dir, entry.Name()))
			switch path.Ext(entry.Name()) {
			case ".json":
				part.Kind = EMR
			case ".txt":
				part.Kind = State
			default:
				continue // unknown content: only its name is shown
			}
			if len(parts) < MaxFiles/4 {
				parts = append(parts, part)
			}
		}
	}
	for _, name := range []string{"controller", "stdout", "stderr"} {
		parts = append(parts, Part{Name: "emr/bootstrap-actions/" + name + ".txt", Read: func(context.Context) ([]byte, error) { return n.bootstrapLog(name) }})
	}
	return parts
}

// bootstrapLog returns the logs of one name of those bootstrap actions that ran this program. The
// others may be somebody's else.
func (n Node) bootstrapLog(name string) ([]byte, error) {
	// A user of the node may own the directories below. A link must not lead out of them.
	root, err := os.OpenRoot(n.Env.Path(bootstrapLogs))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	} else if err != nil {
		return nil, unread(bootstrapLogs, err)
	}
	defer root.Close()
	actions, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, unread(bootstrapLogs, err)
	}
	var all bytes.Buffer
	var problems []error
	for _, action := range actions {
		ours := false
		for _, log := range []string{"controller", "stdout", "stderr"} {
			content, _ := tail(root, path.Join(action.Name(), log))
			ours = ours || bytes.Contains(content, []byte("emr-static-ip"))
		}
		if !ours {
			continue
		}
		content, err := tail(root, path.Join(action.Name(), name))
		if err != nil {
			problems = append(problems, unread(path.Join(bootstrapLogs, action.Name(), name), err))
		}
		fmt.Fprintf(&all, "== %s/%s\n%s\n", text.Clean(action.Name(), text.MaxQuoted), name, content)
	}
	if all.Len() == 0 && len(problems) == 0 {
		return nil, ErrAbsent
	}
	return all.Bytes(), errors.Join(problems...)
}

// unread says why a file of the node, or a directory, could not be read.
func unread(p string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing", text.Clean(p, text.MaxLine))
	}
	return fmt.Errorf("reading %s: %w", text.Clean(p, text.MaxLine), text.WithoutPath(err))
}

// maxLog limits the log of one bootstrap action.
const maxLog = 128 << 10

// tail returns the last whole lines of a log.
func tail(root *os.Root, name string) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file (%s)", info.Mode().Type())
	}
	from := max(0, info.Size()-maxLog)
	content, err := io.ReadAll(io.NewSectionReader(f, from, maxLog))
	if from > 0 {
		_, content, _ = bytes.Cut(content, []byte("\n"))
	}
	return content, err
}

func (n Node) network() []Part {
	return []Part{
		n.command("network/addresses.txt", "ip", "-details", "address", "show"),
		n.command("network/routes.txt", "ip", "route", "show", "table", "all"),
		n.command("network/rules.txt", "ip", "rule", "show"),
		{Name: "network/own-rules.txt", Read: n.ownRules},
		n.command("network/iptables.txt", "iptables-save"),
		n.optional("network/iptables-legacy.txt", "iptables-legacy-save"),
		n.optional("network/iptables-nft.txt", "iptables-nft-save"),
		n.optional("network/nftables.txt", "nft", "list", "ruleset"),
		n.file("network/resolv.conf", "/etc/resolv.conf"),
		n.file("network/proc-route.txt", "/proc/net/route"),
		n.file("network/ip_forward.txt", "/proc/sys/net/ipv4/ip_forward"),
		n.file("network/conntrack-count.txt", "/proc/sys/net/netfilter/nf_conntrack_count"),
		n.file("network/conntrack-max.txt", "/proc/sys/net/netfilter/nf_conntrack_max"),
		n.file("network/modules.txt", "/proc/modules"),
	}
}

// ownRules returns this program's rules as it sees them itself: those of nftables cannot be seen
// otherwise where there is no program nft.
func (n Node) ownRules(ctx context.Context) ([]byte, error) {
	last, found, err := state.LoadLatest(n.Env.Root, n.Env.Path(n.StateDir), "")
	if err != nil {
		return nil, err
	}
	mac, err := net.ParseMAC(last.MAC)
	if !found || err != nil {
		return nil, ErrAbsent // no run has programmed anything
	}
	open := n.Env.OpenKernel
	if open == nil {
		open = netcfg.Open
	}
	kernel, err := open(ctx, netcfg.Options{Backend: last.Settings.Backend, LockWait: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	o, err := kernel.Observe(ctx, mac)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s on %s\n%s\n", kernel.Backend(), o.Link.Name, netcfg.SetRules{Backend: o.Backend, Want: o.Rules})
	for backend, rules := range o.Strays {
		fmt.Fprintf(&b, "# left in another backend\n%s\n", netcfg.SetRules{Backend: backend, Want: rules})
	}
	for _, chain := range o.Before {
		fmt.Fprintf(&b, "# before: %s\n", chain)
	}
	return []byte(b.String()), errors.Join(o.Unusable, o.Unread)
}

// ownUnits are the units of this program.
var ownUnits = []string{systemd.Service, systemd.Timer, systemd.RetryService, systemd.RetryTimer, systemd.ReleaseService}

func (n Node) units() []Part {
	var parts []Part
	for _, unit := range ownUnits {
		parts = append(parts, n.file("units/"+unit, filepath.Join(systemd.Dir, unit)))
	}
	journal := []string{"journalctl", "--no-pager", "--utc", "--output=short-iso", "--lines=3000"}
	for _, unit := range ownUnits {
		journal = append(journal, "--unit="+unit)
	}
	return append(parts,
		n.file("units/shutdown-action.sh", systemd.ShutdownAction),
		n.command("units/status.txt", append([]string{"systemctl", "status", "--no-pager", "--lines=0", "--full"}, ownUnits...)...),
		n.command("units/timers.txt", "systemctl", "list-timers", "--all", "--no-pager"),
		n.command("units/all.txt", "systemctl", "list-units", "--all", "--plain", "--no-pager", "--no-legend"),
		n.command("journal/emr-static-ip.txt", journal...),
	)
}

// file returns a part that is the node's file p.
func (n Node) file(name, p string) Part {
	return Part{Name: name, Read: func(context.Context) ([]byte, error) {
		content, err := text.ReadFile(n.Env.Path(p), MaxFile)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return nil, ErrAbsent
		case err != nil:
			return nil, unread(p, err)
		}
		return content, nil
	}}
}

// listing returns a part that lists directories, without what is in the files.
func (n Node) listing(name string, dirs ...string) Part {
	return Part{Name: name, Read: func(context.Context) ([]byte, error) {
		var b strings.Builder
		for _, dir := range dirs {
			entries, err := os.ReadDir(n.Env.Path(dir))
			if err != nil {
				fmt.Fprintln(&b, unread(dir, err))
				continue
			}
			fmt.Fprintf(&b, "%s:\n", dir)
			for _, entry := range entries[:min(len(entries), 200)] {
				info, err := entry.Info()
				if err != nil {
					continue // it has just gone
				}
				owner := -1
				if stat, ok := info.Sys().(*syscall.Stat_t); ok {
					owner = int(stat.Uid)
				}
				fmt.Fprintf(&b, "  %s uid %d %9d %s %s\n", info.Mode(), owner, info.Size(), info.ModTime().UTC().Format(time.RFC3339), text.Clean(entry.Name(), text.MaxQuoted))
			}
		}
		return []byte(b.String()), nil
	}}
}

// missingProgram is the error of a command whose program the node does not have.
type missingProgram struct{ name string }

func (e *missingProgram) Error() string { return "this node has no program " + e.name }

// command returns a part that is the output of a program.
func (n Node) command(name string, argv ...string) Part {
	run := n.Run
	if run == nil {
		run = output
	}
	return Part{Name: name, Read: func(ctx context.Context) ([]byte, error) {
		content, err := run(ctx, argv)
		switch {
		case errors.Is(err, exec.ErrNotFound):
			err = &missingProgram{argv[0]}
		case err != nil:
			err = fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
		}
		return content, err
	}}
}

// optional is command for a program that a node need not have.
func (n Node) optional(name string, argv ...string) Part {
	part := n.command(name, argv...)
	read := part.Read
	part.Read = func(ctx context.Context) ([]byte, error) {
		content, err := read(ctx)
		if missing := (*missingProgram)(nil); errors.As(err, &missing) {
			return nil, ErrAbsent
		}
		return content, err
	}
	return part
}

// maxOutput limits what is kept of a program's output before it is redacted and shortened.
const maxOutput = 4 * MaxFile

// output runs a program in English. It returns what the program has printed also with an error, and
// what it has said on stderr in the error.
func output(ctx context.Context, argv []string) ([]byte, error) {
	var out, errOut kept
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errOut, time.Second
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LANG=C")
	err := cmd.Run()
	if said := text.Line(errOut.buf.String()); err != nil && said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	if errOut.buf.Len() > 0 && out.buf.Len() == 0 && err == nil {
		return errOut.buf.Bytes(), nil // some print their version there
	}
	if out.dropped > 0 {
		err = errors.Join(err, fmt.Errorf("%d bytes of its output are left out", out.dropped))
	}
	return out.buf.Bytes(), err
}

// kept keeps the beginning of a program's output, and counts the rest.
type kept struct {
	buf     bytes.Buffer
	dropped int
}

func (k *kept) Write(p []byte) (int, error) {
	n := min(len(p), maxOutput-k.buf.Len())
	k.buf.Write(p[:n])
	k.dropped += len(p) - n
	return len(p), nil
}
