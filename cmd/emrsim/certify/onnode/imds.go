// Package onnode collects on a node of an EMR cluster what the table of facts has no source for:
// EMR's files of fleets and three masters, iptables in the image, the names of units, sudo, and how
// late IMDS is. It changes nothing by itself.
package onnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/emr-static-ip/emr-static-ip/internal/pause"
)

// Metadata is a node's IMDS.
type Metadata struct{ client *imds.Client }

// imdsWait bounds an attempt to read from IMDS.
const imdsWait = 3 * time.Second

// OpenMetadata returns this node's IMDS, or the one that the SDK's variable names.
func OpenMetadata() Metadata {
	return Metadata{imds.New(imds.Options{
		Endpoint:   os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
		HTTPClient: &http.Client{Timeout: imdsWait, Transport: &http.Transport{Proxy: nil}},
		Retryer:    retry.AddWithMaxAttempts(aws.NopRetryer{}, 1),
	})}
}

// get returns the text of a path below latest/meta-data. It returns false for HTTP 404.
func (m Metadata) get(ctx context.Context, path string) (text string, found bool, err error) {
	out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if r := (*smithyhttp.ResponseError)(nil); errors.As(err, &r) && r.HTTPStatusCode() == http.StatusNotFound {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer out.Content.Close()
	data, err := io.ReadAll(io.LimitReader(out.Content, maxText))
	return string(data), true, err
}

const (
	maxText  = 64 << 10
	maxPaths = 400
)

// private are the paths whose texts are secrets, or an operator's own. Only their names are
// collected.
var private = []string{"iam/security-credentials/", "identity-credentials/", "public-keys/", "managed-ssh-keys/", "spot/", "tags/"}

// Tree returns all paths of IMDS with their texts, a line each.
func (m Metadata) Tree(ctx context.Context) ([]byte, error) {
	var b strings.Builder
	left := maxPaths
	var walk func(dir string) error
	walk = func(dir string) error {
		text, found, err := m.get(ctx, dir)
		if err != nil || !found {
			fmt.Fprintf(&b, "%s: %s\n", dir, absent(err))
			return err
		}
		for name := range strings.FieldsSeq(text) {
			if left--; left < 0 {
				return fmt.Errorf("IMDS has more than %d paths", maxPaths)
			}
			name, _, _ = strings.Cut(name, "=") // public-keys/0=NAME
			path := dir + name
			if strings.HasSuffix(path, "/") {
				if err := walk(path); err != nil {
					return err
				}
				continue
			}
			if slices.ContainsFunc(private, func(p string) bool { return strings.HasPrefix(path, p) }) {
				fmt.Fprintf(&b, "%s: (not read)\n", strings.Join(strings.Split(path, "/")[:2], "/"))
				continue
			}
			value, found, err := m.get(ctx, path)
			if err != nil {
				return err
			}
			if !found {
				value = "404"
			}
			fmt.Fprintf(&b, "%s: %s\n", path, strings.Join(strings.Fields(value), " "))
		}
		return nil
	}
	err := walk("")
	return []byte(b.String()), err
}

func absent(err error) string {
	if err != nil {
		return err.Error()
	}
	return "404"
}

// between is the time between two looks of Watch.
const between = 500 * time.Millisecond

// moment is the form of all times that are collected, so that files can be compared.
const moment = "15:04:05.000"

// Watch looks at the addresses of the primary interface until done is closed and then for so long
// as after says. It returns a line for each change, with its time.
func (m Metadata) Watch(ctx context.Context, done <-chan struct{}, after time.Duration) ([]byte, error) {
	mac, _, err := m.get(ctx, "mac")
	if err != nil {
		return nil, fmt.Errorf("reading the MAC of the primary interface: %w", err)
	}
	path := "network/interfaces/macs/" + strings.TrimSpace(mac) + "/local-ipv4s"
	var b strings.Builder
	last, end := "", time.Time{}
	for {
		text, found, err := m.get(ctx, path)
		now := strings.Join(strings.Fields(text), " ")
		switch {
		case ctx.Err() != nil:
			return []byte(b.String()), context.Cause(ctx)
		case err != nil:
			now = "error: " + err.Error()
		case !found:
			now = "404"
		}
		if now != last {
			fmt.Fprintf(&b, "%s %s\n", time.Now().UTC().Format(moment), now)
			last = now
		}
		select {
		case <-done:
			if end.IsZero() {
				end = time.Now().Add(after)
				fmt.Fprintf(&b, "%s the command has ended\n", time.Now().UTC().Format(moment))
			}
		default:
		}
		if !end.IsZero() && !time.Now().Before(end) {
			return []byte(b.String()), nil
		}
		if err := pause.Sleep(ctx, between); err != nil {
			return []byte(b.String()), err
		}
	}
}
