package boot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// packages are the packages that the machine needs in addition to the base system.
const packages = "systemd,systemd-sysv,dbus,iptables,nftables,iproute2"

// treeWait is the time limit for making the tree, which fetches about a hundred packages.
const treeWait = 12 * time.Minute

// baseTree returns a minimal Debian with systemd. It is made once and kept in the user's cache
// directory, outside of any checkout.
func baseTree(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	release, mirror, env := debian(t)
	tree := filepath.Join(cache, "emr-static-ip", "boot-"+release)
	if _, err := os.Stat(tree); err == nil {
		return tree
	}
	began := time.Now()
	scratch := tree + fmt.Sprintf(".%d.tmp", os.Getpid())
	defer os.RemoveAll(scratch)
	if err := os.MkdirAll(filepath.Dir(tree), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), treeWait)
	defer cancel()
	args := []string{"--variant=minbase", "--include=" + packages, release, scratch}
	if mirror != "" {
		args = append(args, mirror)
	}
	cmd := exec.CommandContext(ctx, "debootstrap", args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debootstrap %s: %v\n%s", strings.Join(args, " "), err, tail(string(out)))
	}
	for _, dir := range []string{"var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"} {
		if err := os.RemoveAll(filepath.Join(scratch, dir)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(scratch, tree); err != nil && !os.IsExist(err) {
		if _, there := os.Stat(tree); there != nil { // another run has made it meanwhile
			t.Fatal(err)
		}
	}
	t.Logf("made %s in %v", tree, time.Since(began).Round(time.Second))
	return tree
}

// debian returns this machine's release and mirror if it runs a kind of Debian, and the environment
// for fetching packages.
func debian(t *testing.T) (release, mirror string, env []string) {
	release = "bookworm"
	text, err := os.ReadFile("/etc/os-release")
	if m := regexp.MustCompile(`(?m)^VERSION_CODENAME="?(\w+)"?$`).FindSubmatch(text); err == nil && m != nil {
		if _, err := os.Stat("/usr/share/debootstrap/scripts/" + string(m[1])); err == nil {
			release = string(m[1])
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == release && f[2] == "main" && strings.HasPrefix(f[0], "http") {
			mirror = f[0]
			break
		}
	}
	out, _ = exec.CommandContext(ctx, "apt-config", "shell", "proxy", "Acquire::http::Proxy").Output()
	if m := regexp.MustCompile(`^proxy='(http[^']*)'`).FindSubmatch(out); m != nil {
		env = append(env, "http_proxy="+string(m[1]))
	}
	return release, mirror, env
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
