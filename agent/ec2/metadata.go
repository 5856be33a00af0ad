package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// imdsAtOnce limits the requests of one process that are under way at IMDS. IMDS throttles a node
// that asks too much.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html#instancedata-throttling
const imdsAtOnce = 4

// optional stands before a path that IMDS has for some nodes only.
const optional = "?"

// read asks IMDS for the paths that known does not have, imdsAtOnce at a time, and adds the answers
// to known. A path without an answer that is optional is not an error. After an error, read begins
// no further request. It returns the error of the first path that has one, whatever the order of
// the answers.
func (m IMDS) read(ctx context.Context, known map[string]string, paths ...string) error {
	values, errs := make([]string, len(paths)), make([]error, len(paths))
	places := make(chan struct{}, imdsAtOnce)
	failed := make(chan struct{}, len(paths)) // not empty after an error
	var all sync.WaitGroup
	for i, path := range paths {
		path, optional := strings.CutPrefix(path, optional)
		if _, ok := known[path]; ok {
			continue
		}
		places <- struct{}{}
		if len(failed) > 0 {
			break
		}
		// The SDK's client holds a mutex while it gets a token. So the requests pass that step one
		// by one, and the first of them gets the token for all.
		sent := make(chan struct{})
		onSent := sync.OnceFunc(func() { close(sent) })
		all.Go(func() {
			defer func() { <-places }()
			defer onSent()
			values[i], errs[i] = m.getWith(ctx, path, onSent)
			if optional && HasStatus(errs[i], http.StatusNotFound) && !isTokenError(errs[i]) {
				errs[i] = nil
			}
			if errs[i] != nil {
				failed <- struct{}{}
			}
		})
		<-sent
	}
	all.Wait()
	for i, path := range paths {
		if values[i] != "" {
			known[strings.TrimPrefix(path, optional)] = values[i]
		}
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// get asks IMDS for one path.
func (m IMDS) get(ctx context.Context, path string) (string, error) {
	return m.getWith(ctx, path, nil)
}

// getWith is get. It calls sent, if not nil, when it has a token and sends the request for path.
func (m IMDS) getWith(ctx context.Context, path string, sent func()) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, IMDSAttempt)
	defer cancel()
	a := &attempt{sent: sent}
	out, err := m.client.GetMetadata(context.WithValue(ctx, attemptKey{}, a), &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "", a.refusal(path, err)
	}
	defer out.Content.Close()
	b, err := io.ReadAll(io.LimitReader(out.Content, MaxMetadata+1))
	if err != nil {
		return "", fmt.Errorf("reading %s from IMDS: %w", path, err)
	}
	if len(b) > MaxMetadata {
		return "", &oddMetadata{fmt.Errorf("reading %s from IMDS: more than %d bytes", path, MaxMetadata)}
	}
	v := strings.TrimSpace(string(b))
	if v == "" {
		return "", &oddMetadata{fmt.Errorf("reading %s from IMDS: the answer is empty", path)}
	}
	return v, nil
}

// attempt is what became of the last HTTP request for one path.
type attempt struct {
	status int    // of HTTP; 0 for none
	token  bool   // it was the request for a token
	sent   func() // called before the request for the path itself; may be nil
}

type attemptKey struct{}

// refusal returns the error of a request for path. It is a refusedMetadata if IMDS answered.
func (a *attempt) refusal(path string, err error) error {
	if a.status != 0 {
		return &refusedMetadata{path: path, status: a.status, token: a.token, err: err}
	}
	return Plain(fmt.Errorf("reading %s from IMDS: %w", path, err))
}

// isTokenError reports whether IMDS refused the request for a token.
func isTokenError(err error) bool {
	refused := (*refusedMetadata)(nil)
	return errors.As(err, &refused) && refused.token
}
