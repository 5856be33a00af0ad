// Command manpage writes the manual pages of emr-static-ip, one for each command, into a directory:
//
//	go run ./scripts/manpage VERSION DIR
//
// The date of the pages is SOURCE_DATE_EPOCH. See make man.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/emr-static-ip/emr-static-ip/agent/cli"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: manpage VERSION DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "writing the manual pages:", err)
		os.Exit(1)
	}
}

func write(version, dir string) error {
	root := cli.Manual()
	prepare(root)
	time.Local = time.UTC // cobra writes the month of here: at its end, another one than elsewhere
	header := &doc.GenManHeader{
		Section: "8",
		Source:  "emr-static-ip " + version,
		Manual:  "System Administration",
	}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return err
	}
	return switches(dir)
}

// switches removes the values that cobra shows for flags without a value: --yes[=false] reads as if
// the flag had to be given one.
func switches(dir string) error {
	pages, err := filepath.Glob(filepath.Join(dir, "*.8"))
	if err != nil {
		return err
	}
	for _, name := range pages {
		page, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(name, bytes.ReplaceAll(page, []byte("[=false]"), nil), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the pages reproducible, and shows the type of each flag that has no default.
func prepare(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.Flags().VisitAll(name)
	cmd.PersistentFlags().VisitAll(name)
	for _, below := range cmd.Commands() {
		prepare(below)
	}
}

// name sets the value that a page shows for a flag.
func name(flag *pflag.Flag) {
	if flag.DefValue == "" && flag.NoOptDefVal == "" {
		flag.DefValue = flag.Value.Type()
	}
	if flag.DefValue == "" {
		flag.DefValue = "false"
	}
}
