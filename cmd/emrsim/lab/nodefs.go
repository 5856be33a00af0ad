package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Iptables is the variant of the iptables program that a node has.
type Iptables string

// The variants. Amazon Linux 2 (EMR 5.30 to 6) has legacy. Amazon Linux 2023 (EMR 7) has nft if the
// program is installed at all.
const (
	IptablesLegacy Iptables = "legacy"
	IptablesNFT    Iptables = "nft"
	IptablesNone   Iptables = "none"
)

// fileSystem describes a node's root. The programs and libraries are the machine's own, read-only.
// All else is in memory and belongs to the node: /etc, /var, /run, /mnt, /emr, /home, /root, /tmp
// and /usr/local/sbin.
type fileSystem struct {
	iptables Iptables
	release  string            // EMR release label, for /etc/os-release
	hostname string            // for /etc/hosts
	address  string            // address of the host name
	plain    bool              // outside EMR: without the directories of EMR
	files    map[string][]byte // EMR's files, readable by root only, by their paths below /
}

// controllerPublic is the directory of EMR's instance controller in which hadoop may write. Scripts
// in its shutdown-actions are run at the end of the node.
const controllerPublic = "/mnt/var/lib/instance-controller/public"

// stage is where a node's root is assembled: a directory that every Linux has and that contains no
// programs.
const stage = "/sys"

// mount makes f the root of the calling thread's mount namespace, which must be new.
func (f fileSystem) mount() error {
	if err := unix.Mount("tmpfs", stage, "tmpfs", unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mounting the node's root: %w", err)
	}
	for _, dir := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if err := borrow(dir); err != nil {
			return err
		}
	}
	if err := ownSbin(); err != nil {
		return err
	}
	if err := f.populate(); err != nil {
		return err
	}
	for _, dir := range []string{"/dev", "/proc"} {
		if err := bind(dir, dir); err != nil {
			return err
		}
	}
	// Show the node's own links, if the kernel allows it.
	_ = unix.Mount("sysfs", stage+"/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "")
	if err := f.choosePrograms(); err != nil {
		return err
	}
	// pivot_root(".", ".") mounts the old root on top of the new one, from where it is unmounted.
	if err := os.Chdir(stage); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("making the node's root its root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the machine's root: %w", err)
	}
	return os.Chdir("/")
}

// borrow shows a directory of the machine to the node, read-only. It copies a symbolic link such as
// /bin -> usr/bin, and ignores a missing directory.
func borrow(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(dir)
		if err != nil {
			return err
		}
		return os.Symlink(target, stage+dir)
	}
	if err := bind(dir, dir); err != nil {
		return err
	}
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, stage+dir, unix.AT_RECURSIVE, &readOnly); err != nil {
		return fmt.Errorf("making %s read-only for the node (Linux 5.12 or later is needed): %w", dir, err)
	}
	return nil
}

// bind mounts a directory of the machine, with all mounts below it, into the node's root.
func bind(from, to string) error {
	if err := os.MkdirAll(stage+to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, stage+to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("showing %s to the node: %w", from, err)
	}
	return nil
}

// ownSbin makes /usr/local/sbin the node's own, with copies of the machine's programs. The agent
// installs itself there, so a program of its name that the machine has is left out: a node begins
// without it, whatever is installed on the machine.
func ownSbin() error {
	const dir = "/usr/local/sbin"
	if _, err := os.Stat(dir); err != nil {
		return nil // the agent reports that it cannot install itself
	}
	if err := unix.Mount("tmpfs", stage+dir, "tmpfs", unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mounting the node's %s: %w", dir, err)
	}
	if err := copyTree(dir, stage+dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(stage+dir, agentProgram)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("leaving the machine's %s out of the node's %s: %w", agentProgram, dir, err)
	}
	return nil
}

// agentProgram is the name under which the agent installs itself on a node.
const agentProgram = "emr-static-ip"

// populate writes the node's own directories and files.
func (f fileSystem) populate() error {
	dirs := map[string]fs.FileMode{
		"/etc": 0o755, "/run/lock": 0o755, "/var/lib": 0o755, "/var/log": 0o755, "/opt": 0o755,
		"/sys": 0o755, "/root": 0o700, "/tmp": 0o777 | fs.ModeSticky, "/var/tmp": 0o777 | fs.ModeSticky,
	}
	if !f.plain {
		dirs["/mnt/var/lib"], dirs[controllerPublic], dirs["/emr"], dirs["/home/hadoop"] = 0o755, 0o755, 0o755, 0o755
	}
	for dir, mode := range dirs {
		if err := os.MkdirAll(stage+dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(stage+dir, mode); err != nil {
			return err
		}
	}
	if !OneUser() && !f.plain {
		if err := os.Chown(stage+controllerPublic, hadoopID, hadoopID); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", stage+"/var/run"); err != nil {
		return err
	}
	// Programs of the machine need these files to start.
	for _, name := range []string{"ld.so.cache", "ld.so.conf", "alternatives", "iproute2", "protocols", "services", "ethertypes", "xtables.conf"} {
		if err := copyTree("/etc/"+name, stage+"/etc/"+name); err != nil {
			return fmt.Errorf("copying /etc/%s for the node: %w", name, err)
		}
	}
	osRelease := "NAME=\"Amazon Linux\"\nVERSION=\"2023\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\n"
	if !modern(f.release) {
		osRelease = "NAME=\"Amazon Linux\"\nVERSION=\"2\"\nID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\nVERSION_ID=\"2\"\n"
	}
	for path, content := range map[string]string{
		"/etc/os-release":    osRelease,
		"/etc/hostname":      f.hostname + "\n",
		"/etc/hosts":         "127.0.0.1 localhost\n" + f.address + " " + f.hostname + "\n",
		"/etc/resolv.conf":   "",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
		"/etc/passwd":        "root:x:0:0:root:/root:/bin/bash\nhadoop:x:498:498::/home/hadoop:/bin/bash\nnobody:x:65534:65534::/:/sbin/nologin\n",
		"/etc/group":         "root:x:0:\nhadoop:x:498:\nnobody:x:65534:\n",
	} {
		if err := os.WriteFile(stage+path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	for path, content := range f.files {
		path = filepath.Join(stage, filepath.Clean("/"+path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// nothingFile is not executable, so a search of PATH does not find it. It hides programs.
const nothingFile = "/run/nothing"

// choosePrograms hides sudo and the unwanted variant of iptables from the node. Each variant is one
// program with many names, so hiding one file hides all of its names.
//
// If the machine has the names without a variant (iptables, iptables-save, ...) under
// /etc/alternatives, as Debian does, they are made to lead to the wanted variant. On other machines
// they must lead there already.
func (f fileSystem) choosePrograms() error {
	nothing := stage + nothingFile
	if err := os.WriteFile(nothing, nil, 0o444); err != nil {
		return err
	}
	hide := func(name string) error {
		path, err := program(name)
		if err != nil {
			return nil // not installed on this machine
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return fmt.Errorf("looking for %s: %w", name, err)
		}
		if err := unix.Mount(nothing, stage+path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hiding %s from the node: %w", name, err)
		}
		return nil
	}
	hidden := []string{"sudo", "nft"} // Amazon Linux does not have the nft program
	for _, variant := range []Iptables{IptablesLegacy, IptablesNFT} {
		name := "iptables-" + string(variant)
		if variant != f.iptables {
			hidden = append(hidden, name)
			continue
		}
		chosen, err := program(name)
		if err != nil {
			return err
		}
		for _, suffix := range []string{"", "-save", "-restore"} {
			link := stage + "/etc/alternatives/iptables" + suffix
			if _, err := os.Lstat(link); err != nil {
				continue
			}
			if err := errors.Join(os.Remove(link), os.Symlink(chosen+suffix, link)); err != nil {
				return err
			}
		}
	}
	var failed error
	for _, name := range hidden {
		failed = errors.Join(failed, hide(name))
	}
	return failed
}

// verifyPrograms is run inside the node. It checks that the name iptables leads to the wanted
// variant.
func (f fileSystem) verifyPrograms() error {
	path, err := program("iptables")
	if f.iptables == IptablesNone {
		if err == nil {
			return fmt.Errorf("the node still finds %s", path)
		}
		return nil
	}
	if err != nil {
		return err
	}
	out, err := exec.Command(path, "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s --version: %w: %s", path, err, bytes.TrimSpace(out))
	}
	if isNFT := strings.Contains(string(out), "nf_tables"); isNFT != (f.iptables == IptablesNFT) {
		return fmt.Errorf("the node's iptables is not the %s variant: %s", f.iptables, bytes.TrimSpace(out))
	}
	return nil
}

// copyTree copies files, directories and symbolic links. It ignores a missing source.
func copyTree(from, to string) error {
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(path, from)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case entry.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case entry.Type().IsRegular():
			info, err := entry.Info()
			if err != nil {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(target, content, info.Mode().Perm())
		}
		return nil
	})
}
