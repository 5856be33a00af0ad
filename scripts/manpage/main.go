// Command manpage prints the manual page of emr-static-ip, from the source of its --help. See make man.
package main

import (
	"fmt"
	"os"

	"github.com/emr-static-ip/emr-static-ip/agent"
)

func main() {
	if err := agent.WriteManual(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "writing the manual page:", err)
		os.Exit(1)
	}
}
