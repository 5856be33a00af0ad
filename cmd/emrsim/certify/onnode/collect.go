package onnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/bundle"
)

// Options say what is collected.
type Options struct {
	Command []string      // is run while IMDS is watched; empty: none
	Watch   time.Duration // how long IMDS is watched after the command
	Out     io.Writer     // gets the command's output
	// Node is where files and programs are read; for tests.
	Node bundle.Node
}

// collecting bounds the reading of a node, beside the command.
const collecting = 2 * time.Minute

// Collect returns what a node has, without secrets. An error of the command is returned with the
// files.
func Collect(ctx context.Context, o Options) (files []bundle.File, err error) {
	m := OpenMetadata()
	extra := []bundle.Part{{Name: "certify/imds.txt", Read: m.Tree, Wait: time.Minute}}
	if len(o.Command) > 0 {
		var watched, said []byte
		watched, said, err = watch(ctx, m, o)
		extra = append(extra, ready("certify/imds-watch.txt", watched), ready("certify/command.txt", said))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	extra = append(extra,
		bundle.Part{Name: "certify/programs.txt", Read: programs},
		bundle.Part{Name: "certify/units.txt", Read: lines(
			[]string{"systemctl", "list-unit-files", "--no-pager", "--no-legend"},
			[]string{"systemctl", "show", "--no-pager", "--property=Id,Before,After,ActiveState", "instance-controller.service"})},
		bundle.Part{Name: "certify/sudo.txt", Read: lines([]string{"id", "hadoop"}, []string{"sudo", "-n", "-l", "-U", "hadoop"}, []string{"getenforce"})},
		bundle.Part{Name: "certify/boot.txt", Read: lines([]string{"uptime", "-s"}, []string{"last", "-x", "-F", "reboot"}, []string{"date", "-u", "+%FT%TZ"})},
	)
	bounded, cancel := context.WithTimeout(ctx, collecting)
	defer cancel()
	if o.Node.StateDir == "" {
		o.Node.StateDir = agent.DefaultStateDir
	}
	files = bundle.Collect(bounded, nil, append(extra, o.Node.Parts()...))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return files, err
}

// watch runs the command and watches IMDS meanwhile. What could not be had says so.
func watch(ctx context.Context, m Metadata, o Options) (watched, said []byte, err error) {
	done := make(chan struct{})
	var both sync.WaitGroup
	var missing error
	both.Go(func() {
		if watched, missing = m.Watch(ctx, done, o.Watch); missing != nil {
			watched = append(watched, fmt.Sprintf("%s %v\n", time.Now().UTC().Format(moment), missing)...)
		}
	})
	said, err = Command{Argv: o.Command, Out: o.Out}.Run(ctx)
	if err != nil {
		said = append(said, fmt.Sprintf("%s %v\n", time.Now().UTC().Format(moment), err)...)
	}
	close(done)
	both.Wait()
	return watched, said, err
}

// ready returns a part whose content is there already.
func ready(name string, content []byte) bundle.Part {
	return bundle.Part{Name: name, Read: func(context.Context) ([]byte, error) { return content, nil }}
}

// lines returns the function that runs programs and returns what they print, below the command
// lines. A program that is missing or fails says so.
func lines(commands ...[]string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		var b strings.Builder
		for _, argv := range commands {
			fmt.Fprintf(&b, "$ %s\n", strings.Join(argv, " "))
			cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
			cmd.Env, cmd.WaitDelay = append(os.Environ(), "LC_ALL=C", "LANG=C"), time.Second
			out, err := cmd.CombinedOutput()
			b.Write(out)
			if err != nil {
				fmt.Fprintf(&b, "(%v)\n", err)
			}
		}
		return []byte(b.String()), nil
	}
}

// wanted are programs of which it is not known where EMR's images have them.
var wanted = strings.Fields("iptables iptables-legacy iptables-nft iptables-save ip6tables nft ip sysctl docker python python2 python3 jq aws curl unshare systemctl sudo rpm")

// programs returns where programs are, and the packages that bring them.
func programs(ctx context.Context) ([]byte, error) {
	var b strings.Builder
	for _, name := range wanted {
		path, err := exec.LookPath(name)
		if errors.Is(err, exec.ErrNotFound) {
			path = "not there"
		} else if err != nil {
			path = err.Error()
		}
		fmt.Fprintf(&b, "%s: %s\n", name, path)
	}
	packages, err := lines([]string{"rpm", "-q", "iptables", "iptables-nft", "iptables-services", "nftables", "docker", "amazon-ec2-net-utils", "ec2-net-utils", "sudo", "systemd", "kernel"},
		[]string{"alternatives", "--display", "iptables"})(ctx)
	return append([]byte(b.String()), packages...), err
}

// Write collects and writes an archive into a new file. It returns what is in the archive. If
// nothing could be collected, the file is removed.
func Write(ctx context.Context, file string, o Options) (lines []string, err error) {
	f, err := bundle.Create(file, os.Getenv)
	if err != nil {
		return nil, err
	}
	files, cerr := Collect(ctx, o)
	if files != nil {
		err = bundle.Write(f, "emrsim certify --node", time.Now(), files)
	}
	info, serr := f.Stat()
	if err = errors.Join(err, serr, f.Close()); err != nil || files == nil {
		return nil, errors.Join(err, cerr, bundle.Remove(file, os.Getenv))
	}
	return bundle.Contents{File: file, Bytes: info.Size(), Files: bundle.Entries(files)}.Lines(), cerr
}
