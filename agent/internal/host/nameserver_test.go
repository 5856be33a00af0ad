package host

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestNameServers reads resolv.conf as a resolver does.
func TestNameServers(t *testing.T) {
	root := t.TempDir()
	env := Environment{Root: root}
	if got := env.NameServers(); got != nil {
		t.Errorf("without a file: %v", got)
	}
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "# nameserver 9.9.9.9\nsearch x\nnameserver 10.0.0.2\nnameserver\nnameserver bad\n nameserver\tfd00::1 \nnameserver 10.0.0.3\nnameserver 10.0.0.4\n"
	if err := os.WriteFile(filepath.Join(root, resolvConf), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(env.NameServers()), "[10.0.0.2 fd00::1 10.0.0.3]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestSilentNameServers asks servers that answer, that say that they fail, and that are silent.
func TestSilentNameServers(t *testing.T) {
	serve := func(address string, code byte) int {
		c, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		go func() {
			b := make([]byte, 512)
			for {
				n, from, err := c.ReadFrom(b)
				if err != nil {
					return
				}
				if code == silentCode {
					continue
				}
				b[2], b[3] = 0x81, 0x80|code
				c.WriteTo(b[:n], from)
			}
		}()
		return c.LocalAddr().(*net.UDPAddr).Port
	}
	const fails, unknown = 2, 3
	port := serve("127.0.0.1:0", unknown)
	for address, code := range map[string]byte{"127.0.0.2": fails, "127.0.0.3": silentCode} {
		serve(fmt.Sprintf("%s:%d", address, port), code)
	}
	var servers []netip.Addr
	for _, a := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		servers = append(servers, netip.MustParseAddr(a))
	}
	began := time.Now()
	if got := fmt.Sprint(silentOf(t.Context(), servers, dnsOn(port), "ec2.example.test")); got != "[127.0.0.3]" {
		t.Errorf("silent are %s, want 127.0.0.3", got)
	}
	if took := time.Since(began); took > nameServerWait+time.Second {
		t.Errorf("it took %s", took)
	}
}

// silentCode is of a server that does not answer.
const silentCode = 0xff
