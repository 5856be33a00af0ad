package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/output"
)

// printing makes document what a command prints if it fails before its work begins. It returns cmd.
func (c *commandLine) printing(cmd *cobra.Command, document output.Document) *cobra.Command {
	if c.documents == nil {
		c.documents = map[*cobra.Command]output.Document{}
	}
	c.documents[cmd] = document
	return cmd
}

// wantsJSON reports whether the command line asks for JSON. It is right also for a command line
// with errors, whose values nobody has looked at.
func (c *commandLine) wantsJSON() bool {
	if c.command == nil {
		return false
	}
	w := c.flags.get(c.command, flagOutput)
	return len(w.texts) > 0 && w.texts[0] == formatJSON
}

// print writes the command's document to stdout, and returns the exit code of the process. In JSON
// it is written whatever happened. Its text is written only if the command did its work, or a part
// that is worth reading.
func (c *commandLine) print(code exit.Code, failure *output.Failure) exit.Code {
	if c.document == nil {
		return code
	}
	c.document.Heading().Set(agent.Version(), code, failure)
	err := error(nil)
	switch {
	case c.wantsJSON():
		var line []byte
		if line, err = output.JSON(c.document, c.env.Redactor.Text); err == nil {
			_, err = c.stdout.Write(line)
		}
	case failure == nil || c.partial:
		err = c.document.Render(c.env.Stdout, formatText)
	}
	if err == nil || failure != nil {
		return code
	}
	if c.done {
		// A bootstrap action must not end the node because nobody reads the report.
		c.log().Warn("the report could not be written", zap.Error(err))
		return code
	}
	renderFailure(c.env.Stderr, c.logFormat, exit.Internal, fmt.Errorf("writing to stdout: %w", err), c.report)
	return exit.Internal
}

// emit writes an object that a command prints while it works.
func (c *commandLine) emit(d output.Document, format string) error {
	if format != formatJSON {
		return d.Render(c.env.Stdout, formatText)
	}
	d.Heading().Set(agent.Version(), exit.OK, nil)
	line, err := output.JSON(d, c.env.Redactor.Text)
	if err == nil {
		_, err = c.stdout.Write(line)
	}
	return err
}

// log returns the log of a command that is over.
func (c *commandLine) log() *zap.Logger {
	if c.env.Log != nil {
		return c.env.Log
	}
	return NewLogger(c.env.Stderr, c.logFormat, c.cfg.Verbose)
}
