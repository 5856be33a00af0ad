package ec2

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
)

// JSONService is a service of AWS with the protocol AWS JSON 1.1, called without a client of its
// own. It goes through the SDK's stack: the same retries, signatures, tally and judgement of
// answers as every other call. The SDK's client of EMR would add 0.5 to 0.8 MB to the program, for
// five calls that only an operator makes.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
type JSONService struct {
	ID     string // the SDK's name of the service: EMR
	Name   string // in signatures, in IAM's actions and in the name of the endpoint
	Target string // in the header X-Amz-Target, before the action
	FIPSIn string // the partition in which the endpoint without -fips in its name is the FIPS one
}

// JSONClient calls a JSONService.
type JSONClient struct {
	JSONService
	// Retryer returns what decides about repetitions, anew for each call. nil means the session's.
	Retryer func() aws.Retryer
	cfg     aws.Config
}

// JSON returns a client of a service in the session's region.
func (s *Session) JSON(service JSONService) *JSONClient {
	c := &JSONClient{JSONService: service, cfg: s.Config}
	if c.Retryer = s.Config.Retryer; c.Retryer == nil {
		c.Retryer = func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				if n := s.Config.RetryMaxAttempts; n > 0 {
					o.MaxAttempts = n
				}
			})
		}
	}
	return c
}

// Call makes one call. in becomes the JSON object of the request, and the answer's is read into
// out, which is a pointer to a struct.
func (c *JSONClient) Call(ctx context.Context, action string, in, out any) error {
	failed := func(err error) error {
		return &smithy.OperationError{ServiceID: c.ID, OperationName: action, Err: err}
	}
	body, err := json.Marshal(in)
	if err != nil {
		return failed(err)
	}
	at, err := c.endpoint(ctx)
	if err != nil {
		return failed(err)
	}
	stack, err := c.stack(action, at, body, out)
	if err != nil {
		return failed(err)
	}
	handler := middleware.DecorateHandler(smithyhttp.NewClientHandlerWithOptions(c.cfg.HTTPClient), stack)
	if _, _, err := handler.Handle(ctx, in); err != nil {
		return failed(err)
	}
	return nil
}

// stack returns the steps of one call, in the order of the SDK's own clients.
func (c *JSONClient) stack(action string, at *url.URL, body []byte, out any) (*middleware.Stack, error) {
	stack := middleware.NewStack(action, smithyhttp.NewStackRequest)
	about := &awsmiddleware.RegisterServiceMetadata{ServiceID: c.ID, SigningName: c.Name, Region: c.cfg.Region, OperationName: action}
	prepare := middleware.SerializeMiddlewareFunc("OperationSerializer", func(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (o middleware.SerializeOutput, m middleware.Metadata, err error) {
		req, ok := in.Request.(*smithyhttp.Request)
		if !ok {
			return o, m, fmt.Errorf("a request of type %T", in.Request)
		}
		req.Method, req.URL = http.MethodPost, at
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		req.Header.Set("X-Amz-Target", c.Target+"."+action)
		if in.Request, err = req.SetStream(bytes.NewReader(body)); err != nil {
			return o, m, err
		}
		return next.HandleSerialize(awsmiddleware.SetSigningRegion(ctx, c.cfg.Region), in)
	})
	answer := middleware.DeserializeMiddlewareFunc("OperationDeserializer", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (o middleware.DeserializeOutput, m middleware.Metadata, err error) {
		if o, m, err = next.HandleDeserialize(ctx, in); err != nil {
			return o, m, err
		}
		response, ok := o.RawResponse.(*smithyhttp.Response)
		if !ok {
			return o, m, &smithy.DeserializationError{Err: fmt.Errorf("a response of type %T", o.RawResponse)}
		}
		return o, m, readJSON(response, out)
	})
	sign := v4.NewSignHTTPRequestMiddleware(v4.SignHTTPRequestMiddlewareOptions{CredentialsProvider: c.cfg.Credentials, Signer: v4.NewSigner()})
	err := errors.Join(
		stack.Initialize.Add(about, middleware.Before),
		stack.Serialize.Add(prepare, middleware.After),
		stack.Deserialize.Add(answer, middleware.After),
		smithyhttp.AddComputeContentLengthMiddleware(stack),
		awsmiddleware.AddClientRequestIDMiddleware(stack),
		awsmiddleware.AddRequestUserAgentMiddleware(stack),
		stack.Finalize.Add(retry.NewAttemptMiddleware(c.Retryer(), smithyhttp.RequestCloner), middleware.After),
		stack.Finalize.Add(&v4.ComputePayloadSHA256{}, middleware.After),
		stack.Finalize.Add(sign, middleware.After),
		awsmiddleware.AddRawResponseToMetadata(stack),
		awsmiddleware.AddRecordResponseTiming(stack),
		awsmiddleware.AddRequestIDRetrieverMiddleware(stack),
		awshttp.AddResponseErrorMiddleware(stack),
		smithyhttp.AddErrorCloseResponseBodyMiddleware(stack),
		smithyhttp.AddCloseResponseBodyMiddleware(stack),
	)
	for _, option := range c.cfg.APIOptions {
		err = errors.Join(err, option(stack))
	}
	return stack, err
}

// readJSON reads the answer's object into out, or returns the service's error.
func readJSON(response *smithyhttp.Response, out any) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return &smithy.DeserializationError{Err: err}
	}
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		if err := json.Unmarshal(body, out); err != nil {
			return &smithy.DeserializationError{Err: text.JSONError(err)}
		}
		return nil
	}
	var e struct {
		Type    string `json:"__type"`
		Message string // also in lower case
	}
	if err := json.Unmarshal(body, &e); err != nil && response.Header.Get("X-Amzn-ErrorType") == "" {
		return &smithy.DeserializationError{Err: text.JSONError(err)}
	}
	code := response.Header.Get("X-Amzn-ErrorType")
	if code == "" {
		code = e.Type
	}
	return &smithy.GenericAPIError{Code: bareCode(code), Message: e.Message}
}

// bareCode returns the name in an error's type, which may have a namespace before it and an address
// behind it: com.amazon.coral.service#ThrottlingException:http://...
func bareCode(code string) string {
	code, _, _ = strings.Cut(code, ":")
	if _, name, ok := strings.Cut(code, "#"); ok {
		code = name
	}
	if code == "" {
		return noMessage
	}
	return code
}

// endpoint returns where the service is called: the operator's own endpoint, as the SDK's clients
// find it, or that of the region.
func (c *JSONClient) endpoint(ctx context.Context) (*url.URL, error) {
	if own, ok := c.ownEndpoint(ctx); ok {
		u, err := url.Parse(own)
		if err == nil && u.Path == "" {
			u.Path = "/"
		}
		return u, err
	}
	o := ec2.NewFromConfig(c.cfg).Options().EndpointOptions
	dual := o.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled
	domain, err := domainOf(ctx, c.cfg, dual)
	name := c.Name
	if o.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled && (dual || Partition(c.cfg.Region) != c.FIPSIn) {
		name += "-fips"
	}
	return &url.URL{Scheme: "https", Host: name + "." + domain, Path: "/"}, err
}

// ownEndpoint returns the endpoint that the operator's settings name. AWS_ENDPOINT_URL takes
// precedence over the shared files, and the service's own variable over that.
func (c *JSONClient) ownEndpoint(ctx context.Context) (string, bool) {
	_, all := os.LookupEnv("AWS_ENDPOINT_URL")
	_, one := os.LookupEnv("AWS_ENDPOINT_URL_" + strings.ToUpper(c.ID))
	if !all || one {
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
