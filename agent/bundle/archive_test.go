package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/internal/golden"
)

func TestArchive(t *testing.T) {
	files := []File{{Name: "a/b.json", Content: []byte("{}\n")}, {Name: "c.failed", Content: []byte("why\n"), Note: "why"}, {Name: "empty", Content: []byte{}}}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	var b bytes.Buffer
	if err := Write(&b, "a title", at, files); err != nil {
		t.Fatal(err)
	}
	got, err := Read(bytes.NewReader(b.Bytes()))
	if err != nil || len(got) != len(files) {
		t.Fatal(got, err)
	}
	for i := range files {
		if got[i].Name != files[i].Name || !bytes.Equal(got[i].Content, files[i].Content) {
			t.Errorf("%+v, want %+v", got[i], files[i])
		}
	}
	z, _ := gzip.NewReader(bytes.NewReader(b.Bytes()))
	first := tar.NewReader(z)
	h, err := first.Next()
	if err != nil || h.Name != "bundle/MANIFEST" || h.Mode != 0o600 {
		t.Fatal(h, err)
	}
	text, _ := io.ReadAll(first)
	golden.Is(t, "manifest.txt", string(text))
	for cut := range b.Len() {
		if files, err := Read(bytes.NewReader(b.Bytes()[:cut])); err == nil {
			t.Fatalf("the first %d of %d bytes are read as %v", cut, b.Len(), files)
		}
	}
}

type entry struct {
	tar.Header
	content string
}

// archive returns a tar.gz archive of any entries.
func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if e.Typeflag == 0 {
			e.Typeflag = tar.TypeReg
		}
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func named(name string) entry { return entry{Header: tar.Header{Name: name}, content: "x"} }

// A foreign archive is read strictly.
func TestHostileArchives(t *testing.T) {
	many := []entry{}
	for i := range MaxFiles + 1 {
		many = append(many, named(fmt.Sprint("bundle/", i)))
	}
	big := []entry{}
	for i := range MaxTotal/MaxFile + 1 {
		big = append(big, entry{Header: tar.Header{Name: fmt.Sprint("bundle/", i)}, content: strings.Repeat("x", MaxFile)})
	}
	messages := golden.Open(t, "hostile.txt")
	for _, test := range []struct {
		title string
		data  []byte
	}{
		{"no archive", []byte("x")},
		{"nothing in it", archive(t)},
		{"a path upwards", archive(t, named("bundle/../../etc/passwd"))},
		{"an absolute path", archive(t, named("/etc/passwd"))},
		{"another directory", archive(t, named("x/y"))},
		{"without a directory", archive(t, named("y"))},
		{"a path that is not the shortest", archive(t, named("bundle//y"))},
		{"a link", archive(t, entry{Header: tar.Header{Name: "bundle/x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}})},
		{"a hard link", archive(t, entry{Header: tar.Header{Name: "bundle/x", Typeflag: tar.TypeLink, Linkname: "bundle/y"}})},
		{"a device", archive(t, entry{Header: tar.Header{Name: "bundle/x", Typeflag: tar.TypeChar}})},
		{"a name twice", archive(t, named("bundle/x"), named("bundle/x"))},
		{"a name for a terminal", archive(t, named("bundle/\x1b[2Jx"))},
		{"a long name", archive(t, named("bundle/"+strings.Repeat("x", 400)))},
		{"backslashes", archive(t, named(`bundle/..\..\x`))},
		{"many files", archive(t, many...)},
		{"a large file", archive(t, entry{Header: tar.Header{Name: "bundle/x"}, content: strings.Repeat("x", MaxFile+1)})},
		{"large files together", archive(t, big...)},
		{"a large manifest", archive(t, entry{Header: tar.Header{Name: "bundle/MANIFEST"}, content: strings.Repeat("x", 2*MaxTotal)}, named("bundle/x"))},
	} {
		files, err := Read(bytes.NewReader(test.data))
		if err == nil {
			t.Fatalf("%s is read as %v", test.title, files)
		}
		messages.Is(t, test.title, err.Error())
	}
	ok := archive(t, entry{Header: tar.Header{Name: "bundle/", Typeflag: tar.TypeDir}}, entry{Header: tar.Header{Name: "bundle/a/", Typeflag: tar.TypeDir}}, named("bundle/a/x"))
	if files, err := Read(bytes.NewReader(ok)); err != nil || len(files) != 1 || files[0].Name != "a/x" {
		t.Error(files, err)
	}
}

// FuzzRead checks that no archive makes Read panic or exceed its limits, and that what it accepts
// can be written and read again.
func FuzzRead(f *testing.F) {
	f.Add(archive(f, named("bundle/x"), named("bundle/a/y")))
	f.Add(archive(f, named("../x")))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		total := 0
		for _, file := range files {
			total += len(file.Content)
			if !filepath.IsLocal(file.Name) || len(file.Content) > MaxFile {
				t.Errorf("%q of %d bytes", file.Name, len(file.Content))
			}
		}
		var b bytes.Buffer
		if err := Write(&b, "", time.Now(), files); err != nil || len(files) > MaxFiles || total > MaxTotal {
			t.Fatal(len(files), total, err)
		}
		again, err := Read(&b)
		if err != nil || !reflect.DeepEqual(again, files) {
			t.Errorf("%v becomes %v, %v", files, again, err)
		}
	})
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	nobody := func(string) string { return "" }
	p := filepath.Join(dir, "b.tar.gz")
	f, err := Create(p, nobody)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if info, err := os.Stat(p); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	messages := golden.Open(t, "create.txt")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	for title, name := range map[string]string{"a file that exists": p, "a dangling link": link, "no such directory": filepath.Join(dir, "x", "y"), "below a file": filepath.Join(p, "y")} {
		_, err := Create(name, nobody)
		if exit.CodeOf(err) != exit.Usage || len(exit.Remedies(err)) != 1 {
			t.Errorf("%s: %v", title, err)
			continue
		}
		messages.Is(t, title, strings.ReplaceAll(err.Error()+"\n"+exit.Remedies(err)[0], dir, "DIR"))
	}
	if left, err := filepath.Glob(dir + "/*"); err != nil || !slices.Equal(left, []string{p, link}) {
		t.Errorf("left %q, %v", left, err)
	}
}

// Behind sudo the file belongs to the user, and is made only where the user may make one.
func TestCreateForUser(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("REQUIRE_NETNS") == "1" {
			t.Fatal("REQUIRE_NETNS=1, and this needs root")
		}
		t.Skip("needs root")
	}
	user := func(name string) string { return map[string]string{"SUDO_UID": "65534", "SUDO_GID": "65533"}[name] }
	dir, err := os.MkdirTemp("/tmp", "bundle")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, d := range []struct {
		name  string
		owner int
	}{{"theirs", 65534}, {"roots", 0}} {
		if err := os.Mkdir(filepath.Join(dir, d.name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, d.name), d.owner, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(dir, "theirs", "b.tar.gz")
	f, err := Create(p, user)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Uid != 65534 || s.Gid != 65533 || info.Mode().Perm() != 0o600 {
		t.Errorf("%+v", info.Sys())
	}
	if _, err := Create(filepath.Join(dir, "roots", "b.tar.gz"), user); exit.CodeOf(err) != exit.Usage {
		t.Errorf("made where the user may not: %v", err)
	}
	if err := Remove(p, user); err != nil {
		t.Error(err)
	}
	own, err := Create(filepath.Join(dir, "roots", "b.tar.gz"), func(string) string { return "" })
	if err != nil {
		t.Fatal("root cannot make a file any more: ", err)
	}
	own.Close()
}
