// Package mototest runs the emulator moto (https://docs.getmoto.org) in tests.
package mototest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Start starts moto_server on a free port of the loopback interface, and returns its address. It
// stops with the test. The test is skipped if moto_server is not installed.
func Start(t *testing.T) (address string) {
	t.Helper()
	program, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed (pip install 'moto[server]'): nothing to compare with")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-H", "127.0.0.1", "-p", fmt.Sprint(at.Port))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(t.TempDir() + "/moto.log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Skipf("moto_server does not start: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the process group also has the child of a wrapper script
		<-ended
		_ = log.Close()
	})
	address = "http://" + at.String()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			b, _ := os.ReadFile(log.Name())
			t.Skipf("moto_server ended at once: %v\n%.500s", err, b)
		default:
		}
		if res, err := http.Get(address + "/moto-api/"); err == nil {
			_ = res.Body.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal("moto_server does not answer within 60 s")
		}
	}
}
