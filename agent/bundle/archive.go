package bundle

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// directory is the directory of all files of an archive.
const directory = "bundle/"

// Manifest is the name of the file that lists the others.
const Manifest = "MANIFEST"

// maxCompressed limits an archive that is read.
const maxCompressed = 32 << 20

// Write writes the files to w as a tar.gz archive, after a manifest that begins with title.
func Write(w io.Writer, title string, at time.Time, files []File) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, f := range append([]File{{Name: Manifest, Content: manifest(title, at, files)}}, files...) {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: directory + f.Name, Size: int64(len(f.Content)), Mode: 0o600, ModTime: at.UTC().Truncate(time.Second)}
		if err := t.WriteHeader(header); err != nil {
			return fmt.Errorf("writing %s: %w", f.Name, err)
		}
		if _, err := t.Write(f.Content); err != nil {
			return fmt.Errorf("writing %s: %w", f.Name, err)
		}
	}
	return errors.Join(t.Close(), z.Close())
}

func manifest(title string, at time.Time, files []File) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, at %s\n", text.Clean(title, text.MaxLine), at.UTC().Format(time.RFC3339))
	b.WriteString("Secrets, account numbers and ARNs are hidden. Look through it before you send it.\n\n")
	for _, e := range Entries(files) {
		b.WriteString(e.line() + "\n")
	}
	return []byte(b.String())
}

// Read reads an archive that Write wrote, or that somebody made by hand. It is strict: regular
// files and directories only, below one directory, each name once, no name that leads elsewhere,
// and nothing beyond the limits of a bundle.
func Read(r io.Reader) ([]File, error) {
	in := &bounded{r: r, left: maxCompressed}
	z, err := gzip.NewReader(bufio.NewReader(in))
	if err != nil {
		return nil, fmt.Errorf("it is no tar.gz archive: %w", err)
	}
	// The bytes of the headers count too: each file has 512 and at most some more.
	t := tar.NewReader(&bounded{r: z, left: MaxTotal + (MaxFiles+1)*4096})
	var files []File
	seen, total := map[string]bool{}, 0
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the archive: %w", err)
		}
		name, err := entryName(h)
		switch {
		case err != nil:
			return nil, err
		case h.Typeflag == tar.TypeDir || name == Manifest:
			continue
		case seen[name]:
			return nil, fmt.Errorf("it has %s twice", text.Quote(name))
		case len(files) == MaxFiles:
			return nil, fmt.Errorf("it has more than %d files", MaxFiles)
		case h.Size > MaxFile:
			return nil, fmt.Errorf("%s is longer than %d bytes", text.Quote(name), MaxFile)
		}
		content, err := io.ReadAll(io.LimitReader(t, MaxFile+1))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", text.Quote(name), err)
		}
		if total += len(content); total > MaxTotal {
			return nil, fmt.Errorf("its files have more than %d bytes together", MaxTotal)
		}
		seen[name] = true
		files = append(files, File{Name: name, Content: content})
	}
	if len(files) == 0 {
		return nil, errors.New("it has no files")
	}
	// The checksum of the gzip stream is behind what tar reads.
	if _, err := io.Copy(io.Discard, &bounded{r: z, left: MaxFile}); err != nil {
		return nil, fmt.Errorf("reading the archive to its end: %w", err)
	}
	return files, nil
}

// entryName returns the name of an archive's entry without the directory of the bundle.
func entryName(h *tar.Header) (string, error) {
	problem := func(why string) (string, error) {
		return "", fmt.Errorf("the entry %s %s", text.Quote(h.Name), why)
	}
	name := strings.TrimSuffix(h.Name, "/")
	switch {
	case h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir:
		return problem("is neither a file nor a directory")
	case len(name) > 300 || text.Clean(name, len(name)) != name || strings.Contains(name, `\`):
		return problem("has a name that no bundle has")
	case !filepath.IsLocal(name) || path.Clean(name) != name:
		return problem("has a name that may lead out of the bundle")
	case name+"/" == directory && h.Typeflag == tar.TypeDir:
		return name, nil
	}
	below, ok := strings.CutPrefix(name, directory)
	if !ok {
		return problem("is not below " + directory)
	}
	return below, nil
}

// bounded is a reader that fails when more than left bytes are read.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("it is larger than a bundle can be")
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
