package ec2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Service is a service of AWS that is called without the SDK's client of it. Its calls go through
// the SDK's stack: the same retries, signatures, tally and judgement of answers as every other
// call. The SDK's clients read every field of every answer. That of EMR would add 0.5 to 0.8 MB to
// the program, that of IAM 0.29 MB.
type Service struct {
	ID       string // the SDK's name of the service: EMR
	Name     string // in signatures, in IAM's actions and in the name of the endpoint
	Protocol Protocol
	FIPSIn   string // the partition in which the endpoint without -fips in its name is the FIPS one
	// Global returns the host of a service that a partition has once, and the region in which its
	// calls are signed. nil: each region has the service.
	Global func(partition string, fips, dualStack bool) (host, region string, err error)
}

// Protocol writes the calls of a service, and reads its answers.
type Protocol interface {
	// encode returns the body of a call, and sets what the header needs.
	encode(action string, in any, header http.Header) ([]byte, error)
	// decode reads the body of a success into out. Otherwise it returns the service's error, and
	// the request's id if the body has it.
	decode(action string, answer *http.Response, body []byte, out any) (requestID string, err error)
}

// partial is an answer that knows what is missing in it.
type partial interface {
	missing() string // the name of an element, or ""
}

// Client calls a Service.
type Client struct {
	Service
	// Retryer returns what decides about repetitions. It is called for each call.
	Retryer func() aws.Retryer
	cfg     aws.Config
	options ec2.Options  // what the SDK makes of cfg
	ahead   atomic.Int64 // by how much AWS's clock is ahead of the node's
}

// NewClient returns a client of a service in cfg's region. It calls nothing.
func NewClient(cfg aws.Config, service Service) *Client {
	c := &Client{Service: service, cfg: cfg, options: ec2.NewFromConfig(cfg).Options()}
	c.Retryer = func() aws.Retryer { return c.options.Retryer }
	return c
}

// Call makes one call. in is what the service's Protocol can write, and out a pointer to what it
// can read.
func (c *Client) Call(ctx context.Context, action string, in, out any) error {
	failed := func(err error) error {
		return &smithy.OperationError{ServiceID: c.ID, OperationName: action, Err: err}
	}
	at, region, err := c.endpoint(ctx)
	if err != nil {
		return failed(err)
	}
	stack, err := c.stack(action, at, region, out)
	if err != nil {
		return failed(err)
	}
	handler := middleware.DecorateHandler(smithyhttp.NewClientHandlerWithOptions(c.options.HTTPClient), stack)
	if _, _, err := handler.Handle(middleware.ClearStackValues(ctx), in); err != nil {
		return failed(err)
	}
	return nil
}

// stack returns the steps of one call, in the order of the SDK's own clients.
func (c *Client) stack(action string, at *url.URL, region string, out any) (*middleware.Stack, error) {
	stack := middleware.NewStack(action, smithyhttp.NewStackRequest)
	about := &awsmiddleware.RegisterServiceMetadata{ServiceID: c.ID, SigningName: c.Name, Region: region, OperationName: action}
	prepare := middleware.SerializeMiddlewareFunc("OperationSerializer", func(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (o middleware.SerializeOutput, m middleware.Metadata, err error) {
		req, ok := in.Request.(*smithyhttp.Request)
		if !ok {
			return o, m, fmt.Errorf("a request of type %T", in.Request)
		}
		req.Method, req.URL = http.MethodPost, at
		body, err := c.Protocol.encode(action, in.Parameters, req.Header)
		if err != nil {
			return o, m, &smithy.SerializationError{Err: err}
		}
		if in.Request, err = req.SetStream(bytes.NewReader(body)); err != nil {
			return o, m, err
		}
		return next.HandleSerialize(ctx, in)
	})
	answer := middleware.DeserializeMiddlewareFunc("OperationDeserializer", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (o middleware.DeserializeOutput, m middleware.Metadata, err error) {
		o, m, err = next.HandleDeserialize(ctx, in)
		response, ok := o.RawResponse.(*smithyhttp.Response)
		defer func() { smithyhttp.CloseResponseBody(ctx, response, false, err) }()
		switch {
		case err != nil:
			return o, m, err
		case !ok:
			return o, m, &smithy.DeserializationError{Err: fmt.Errorf("a response of type %T", o.RawResponse)}
		}
		body, whole, err := readBounded(response.Body, maxAnswer)
		if !whole {
			err = errors.New("the answer is too long")
		}
		requestID := ""
		if err == nil {
			requestID, err = c.Protocol.decode(action, response.Response, body, out)
		}
		if requestID != "" { // otherwise the header's
			awsmiddleware.SetRequestIDMetadata(&m, requestID)
		}
		if part, ok := out.(partial); ok && err == nil && part.missing() != "" {
			err = &oddAnswerError{c.Name, action, response.StatusCode, "has no " + part.missing()}
		}
		return o, m, err
	})
	attempts := retry.NewAttemptMiddleware(c.Retryer(), smithyhttp.RequestCloner, func(m *retry.Attempt) {
		m.ClientSkew, m.DisableClockSkewCorrection = &c.ahead, c.options.DisableClockSkewCorrection
	})
	err := errors.Join(
		stack.Initialize.Add(about, middleware.Before),
		stack.Serialize.Add(prepare, middleware.After),
		stack.Deserialize.Add(answer, middleware.After),
		awsmiddleware.AddClientRequestIDMiddleware(stack),
		awsmiddleware.AddRequestUserAgentMiddleware(stack),
		stack.Finalize.Add(attempts, middleware.After),
		stack.Finalize.Add(&v4.ComputePayloadSHA256{}, middleware.After),
		stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("Signing", c.signer(region)), middleware.After),
		awsmiddleware.AddRawResponseToMetadata(stack),
		stack.Deserialize.Add(&awsmiddleware.RecordResponseTiming{DisableClockSkewCorrection: c.options.DisableClockSkewCorrection}, middleware.After),
		awsmiddleware.AddRequestIDRetrieverMiddleware(stack),
		awshttp.AddResponseErrorMiddleware(stack),
	)
	for _, option := range c.options.APIOptions {
		err = errors.Join(err, option(stack))
	}
	if _, judged := stack.Deserialize.Get(readAnswerID); !judged {
		err = errors.Join(err, stack.Deserialize.Insert(middleware.DeserializeMiddlewareFunc(readAnswerID, readAnswer), answer.ID(), middleware.After))
	}
	return stack, err
}

// signer returns the step that signs an attempt with the time of AWS, as far as the answers before
// have shown it. The SDK's own step for this takes the node's clock.
func (c *Client) signer(region string) func(context.Context, middleware.FinalizeInput, middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	return func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (o middleware.FinalizeOutput, m middleware.Metadata, err error) {
		req, ok := in.Request.(*smithyhttp.Request)
		if !ok {
			return o, m, fmt.Errorf("a request of type %T", in.Request)
		}
		if c.cfg.Credentials == nil { // the call has its own proof
			return next.HandleFinalize(ctx, in)
		}
		credentials, err := c.cfg.Credentials.Retrieve(ctx)
		if err != nil {
			return o, m, fmt.Errorf("get identity: get credentials: %w", err) // the SDK's words
		}
		now := time.Now().Add(time.Duration(c.ahead.Load()))
		if err := v4.NewSigner().SignHTTP(ctx, credentials, req.Request, v4.GetPayloadHash(ctx), c.Name, region, now); err != nil {
			return o, m, &v4.SigningError{Err: err}
		}
		o, m, err = next.HandleFinalize(ctx, in)
		if ahead, ok := awsmiddleware.GetAttemptSkew(m); ok { // not if the correction is disabled
			c.ahead.Store(int64(ahead))
		}
		return o, m, err
	}
}

// endpoint returns where the service is called: the operator's own endpoint, as the SDK's clients
// find it, or that of the region.
func (c *Client) endpoint(ctx context.Context) (at *url.URL, region string, err error) {
	fips := c.options.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled
	dual := c.options.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled
	host, region := "", c.cfg.Region
	if c.Global != nil {
		if host, region, err = c.Global(Partition(c.cfg.Region), fips, dual); err != nil {
			return nil, "", err
		}
	}
	if own, ok := c.ownEndpoint(ctx); ok {
		u, err := url.Parse(own)
		if err == nil && u.Path == "" {
			u.Path = "/"
		}
		return u, region, err
	}
	if host == "" {
		domain, err := domainOf(ctx, c.cfg, dual)
		if err != nil {
			return nil, "", err
		}
		host = c.Name + "." + domain
		if fips && (dual || Partition(c.cfg.Region) != c.FIPSIn) {
			host = c.Name + "-fips." + domain
		}
	}
	return &url.URL{Scheme: "https", Host: host, Path: "/"}, region, nil
}

// ownEndpoint returns the endpoint that the operator's settings name. AWS_ENDPOINT_URL takes
// precedence over the shared files, and the service's own variable over that. A setting can make
// all of them count for nothing.
func (c *Client) ownEndpoint(ctx context.Context) (string, bool) {
	_, all := os.LookupEnv("AWS_ENDPOINT_URL")
	_, one := os.LookupEnv("AWS_ENDPOINT_URL_" + strings.ToUpper(c.ID))
	if (!all || one) && !c.ignoresEndpoints(ctx) {
		for _, source := range c.cfg.ConfigSources {
			s, ok := source.(interface {
				GetServiceBaseEndpoint(context.Context, string) (string, bool, error)
			})
			if !ok {
				continue
			}
			if own, found, err := s.GetServiceBaseEndpoint(ctx, c.ID); err == nil && found {
				return own, true
			}
		}
	}
	if c.cfg.BaseEndpoint != nil {
		return *c.cfg.BaseEndpoint, true
	}
	return "", false
}

// ignoresEndpoints reports whether the settings ask to ignore all endpoints in them. The first that
// says something counts.
func (c *Client) ignoresEndpoints(ctx context.Context) bool {
	for _, source := range c.cfg.ConfigSources {
		s, ok := source.(interface {
			GetIgnoreConfiguredEndpoints(context.Context) (bool, bool, error)
		})
		if !ok {
			continue
		}
		if ignored, found, err := s.GetIgnoreConfiguredEndpoints(ctx); err == nil && found {
			return ignored
		}
	}
	return false
}
