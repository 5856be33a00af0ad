package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// bucket is a stand-in for S3 on the loopback interface of a node: objects by their path
// /BUCKET/KEY, and faults for the next GET requests.
type bucket struct {
	URL string

	mu      sync.Mutex
	objects map[string][]byte
	faults  []func(http.ResponseWriter, *http.Request) // one for each request, in order; nil: no fault
	asked   []string                                   // method, path and region
}

// openBucket serves a bucket on the node until the test ends.
func openBucket(t *testing.T, n *Node) *bucket {
	t.Helper()
	l, err := n.ns.listen(t.Context(), "127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	b := &bucket{URL: "http://" + l.Addr().String(), objects: map[string][]byte{}}
	server := serveHTTP(l, b)
	t.Cleanup(func() { server.Close() })
	return b
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.asked = append(b.asked, r.Method+" "+r.URL.Path+" "+r.Header.Get(regionHeader))
	content, found := b.objects[r.URL.Path]
	var fault func(http.ResponseWriter, *http.Request)
	if len(b.faults) > 0 {
		fault, b.faults = b.faults[0], b.faults[1:]
	}
	b.mu.Unlock()
	switch {
	case fault != nil:
		fault(w, r)
	case !found:
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Write(content)
	}
}

// put replaces the objects in the bucket.
func (b *bucket) put(objects map[string][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects, b.asked, b.faults = objects, nil, nil
}

// fail sets the faults for the next requests.
func (b *bucket) fail(faults ...func(http.ResponseWriter, *http.Request)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = faults
}

// requests returns the requests since the last call.
func (b *bucket) requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	asked := b.asked
	b.asked = nil
	return asked
}

// answer returns a fault: a status without content.
func answer(status int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// hang is a fault: the server does not answer, so that the client has to give up.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// garbled is a fault: the content is wrong.
func garbled(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "garbled") }

// regionHeader is the header in which the stand-in for the AWS CLI sends its region.
const regionHeader = "X-Region"

// actAsAWS is run when this test program was copied to a node as aws. It implements `aws s3 cp`
// from a bucket to a file, as scripts/bootstrap.sh calls it, with the CLI's error texts and exit
// codes. A test in scripts runs bootstrap.sh with the real CLI if that is installed.
func actAsAWS(args []string) int {
	if err := copyFromS3(args); err != nil {
		fmt.Fprintf(os.Stderr, "fatal error: %v\n", err)
		return 1
	}
	return 0
}

func copyFromS3(args []string) error {
	want := []string{"s3", "cp", "--only-show-errors", "--cli-connect-timeout", "10", "--cli-read-timeout", "20"}
	if len(args) != len(want)+2 || strings.Join(args[:len(want)], " ") != strings.Join(want, " ") {
		return fmt.Errorf("unknown options %q", args)
	}
	object, isS3 := strings.CutPrefix(args[len(want)], "s3://")
	if !isS3 {
		return fmt.Errorf("%s is not in S3", args[len(want)])
	}
	url := os.Getenv("AWS_ENDPOINT_URL_S3") + "/" + object
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set(regionHeader, os.Getenv("AWS_DEFAULT_REGION"))
	resp, err := http.DefaultClient.Do(req)
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return fmt.Errorf("Could not connect to the endpoint URL: %q", url)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusForbidden, http.StatusNotFound:
		return fmt.Errorf("An error occurred (%d) when calling the HeadObject operation: %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	default:
		return fmt.Errorf("An error occurred (%d) when calling the HeadObject operation (reached max retries: 4): %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(args[len(want)+1], content, 0o644)
}
