package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/bundle"
	"github.com/emr-static-ip/emr-static-ip/agent/doctor"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
	"github.com/emr-static-ip/emr-static-ip/agent/ledger"
)

// The bounds of a bundle, beside the checks of doctor.
const (
	bundleWait  = 90 * time.Second
	commandWait = 45 * time.Second // for status, and for ledger list
)

// writeBundle writes the bundle of a node into file, and what is in it into d. Nothing is left of a
// bundle that could not be finished.
func (c *commandLine) writeBundle(ctx context.Context, cfg agent.Config, env agent.Environment, file *os.File, d *doctor.Diagnosis) error {
	contents, err := c.bundle(ctx, cfg, env, file, *d)
	if err = errors.Join(err, file.Close()); err == nil {
		d.Bundle = contents
		return nil
	}
	return errors.Join(exit.With(exit.Internal, err, "name a file on another file system, or run it again"), bundle.Remove(cfg.Bundle, env.Getenv))
}

func (c *commandLine) bundle(ctx context.Context, cfg agent.Config, env agent.Environment, file *os.File, d doctor.Diagnosis) (*bundle.Contents, error) {
	bounded, cancel := context.WithTimeout(ctx, bundleWait)
	defer cancel()
	files := bundle.Collect(bounded, env.Redactor, c.parts(cfg, env, d))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	title := "emr-static-ip " + agent.Version() + ": doctor --bundle"
	if d.Instance != "" {
		title += " of " + d.Instance
	}
	if err := bundle.Write(file, title, time.Now(), files); err != nil {
		return nil, fmt.Errorf("writing the bundle: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("writing the bundle: %w", err)
	}
	return &bundle.Contents{File: cfg.Bundle, Bytes: info.Size(), Files: bundle.Entries(files)}, nil
}

// parts returns what goes into a bundle: what the commands that look print, and the node's own.
func (c *commandLine) parts(cfg agent.Config, env agent.Environment, d doctor.Diagnosis) []bundle.Part {
	parts := []bundle.Part{
		printed("version.json", func(context.Context) (output.Document, exit.Code, error) { return versions(), exit.OK, nil }),
		printed("doctor.json", func(context.Context) (output.Document, exit.Code, error) { return &d, d.ExitCode(), nil }),
		printed("status.json", func(ctx context.Context) (output.Document, exit.Code, error) {
			s, err := c.program.Status(ctx, cfg, env)
			if err != nil {
				s.Verdict = agent.VerdictUnknown
			}
			return &s, s.ExitCode(), err
		}),
		printed("ledger.json", func(ctx context.Context) (output.Document, exit.Code, error) {
			own := cfg
			own.Pools, own.Region, own.Subnet, own.Yes = agent.Pools{}, d.Region, d.Subnet, false
			l, err := c.program.Ledger(ctx, ledger.List, own, env)
			return &l, l.ExitCode(), err
		}),
	}
	if c.program.Parts != nil {
		return append(parts, c.program.Parts(cfg, env)...)
	}
	return append(parts, bundle.Node{Env: env, StateDir: cfg.StateDir}.Parts()...)
}

// printed returns a part that is what a command prints with -o json, also if it fails.
func printed(name string, run func(context.Context) (output.Document, exit.Code, error)) bundle.Part {
	return bundle.Part{Name: name, Kind: bundle.JSON, Wait: commandWait, Read: func(ctx context.Context) ([]byte, error) {
		document, code, err := run(ctx)
		var failure *output.Failure
		if err != nil {
			code = exit.CodeOf(err)
			failure = output.Fail(code, err)
		}
		document.Heading().Set(agent.Version(), code, failure)
		return output.JSON(document, nil)
	}}
}
