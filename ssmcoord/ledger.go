package ssmcoord

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/emr-static-ip/emr-static-ip/internal/tag"
)

// NamesPerRead is how many parameters one GetParameters call may ask for.
const NamesPerRead = 10

// API has the calls of Parameter Store that the ledger uses.
type API interface {
	GetParameters(context.Context, *ssm.GetParametersInput, ...func(*ssm.Options)) (*ssm.GetParametersOutput, error)
	GetParametersByPath(context.Context, *ssm.GetParametersByPathInput, ...func(*ssm.Options)) (*ssm.GetParametersByPathOutput, error)
	PutParameter(context.Context, *ssm.PutParameterInput, ...func(*ssm.Options)) (*ssm.PutParameterOutput, error)
	DeleteParameter(context.Context, *ssm.DeleteParameterInput, ...func(*ssm.Options)) (*ssm.DeleteParameterOutput, error)
	AddTagsToResource(context.Context, *ssm.AddTagsToResourceInput, ...func(*ssm.Options)) (*ssm.AddTagsToResourceOutput, error)
}

// Ledger has the records of one subnet. The SDK's client retries, so an error here is final.
type Ledger struct {
	api    API
	prefix string
	subnet string
	tags   []tag.Tag // of the records that are written
	Clock            // as of the last read
}

// OpenLedger returns the ledger of a subnet below a prefix such as /emr-static-ip. It makes no
// call.
func OpenLedger(api API, prefix, subnet string) *Ledger {
	return &Ledger{api: api, prefix: prefix, subnet: subnet}
}

// NewLedger is OpenLedger with the SDK's client for cfg.
func NewLedger(cfg aws.Config, prefix, subnet string) *Ledger {
	return OpenLedger(ssm.NewFromConfig(cfg), prefix, subnet)
}

// Name returns the name of an address's parameter: <prefix>/<subnet-id>/<ip>.
func (l *Ledger) Name(a netip.Addr) string { return l.prefix + "/" + l.subnet + "/" + a.String() }

// Read reads the entries of the given addresses, ten with one call. Every address gets an entry. An
// entry may be older than the last write, since AWS does not document read-after-write.
func (l *Ledger) Read(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]Entry, error) {
	entries := make(map[netip.Addr]Entry, len(addrs))
	for chunk := range slices.Chunk(addrs, NamesPerRead) {
		names := make([]string, len(chunk))
		byName := make(map[string]netip.Addr, len(chunk))
		for i, a := range chunk {
			names[i] = l.Name(a)
			byName[names[i]] = a
		}
		out, err := l.api.GetParameters(ctx, &ssm.GetParametersInput{Names: names})
		if err != nil {
			what := "record " + names[0]
			if len(chunk) > 1 {
				what = fmt.Sprintf("records of %s to %s in %s/%s", chunk[0], chunk[len(chunk)-1], l.prefix, l.subnet)
			}
			return nil, fmt.Errorf("reading the %s: %w", what, err)
		}
		l.Observe(out.ResultMetadata)
		for _, p := range out.Parameters {
			if a, ok := byName[aws.ToString(p.Name)]; ok {
				entries[a] = entryOf(p)
			}
		}
		// Only a name that Parameter Store calls invalid is absent. A name that the answer does not
		// mention is unknown.
		for _, n := range out.InvalidParameters {
			if a, ok := byName[n]; ok {
				if _, both := entries[a]; !both {
					entries[a] = Entry{State: Absent}
				}
			}
		}
		for name, a := range byName {
			if _, ok := entries[a]; !ok {
				return nil, fmt.Errorf("reading the record %s: the answer of GetParameters does not mention it", name)
			}
		}
	}
	return entries, nil
}

func entryOf(p types.Parameter) Entry {
	e := Entry{State: Claimed, Modified: aws.ToTime(p.LastModifiedDate)}
	if e.Record, e.Problem = ParseRecord(aws.ToString(p.Value)); e.Problem != nil {
		e.State, e.Record, e.Problem = Unreadable, Record{}, bounded(e.Problem)
	}
	return e
}

// maxProblem is the greatest length, in bytes, of the reason why a record cannot be read. The text
// of a JSON decoder may quote the whole record.
const maxProblem = 300

func bounded(err error) error {
	text := err.Error()
	if len(text) <= maxProblem {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:maxProblem], "") + "...")
}

// Write sets the record of a to r, whatever it was.
func (l *Ledger) Write(ctx context.Context, a netip.Addr, r Record) error {
	return l.put(ctx, a, r, true)
}

func (l *Ledger) put(ctx context.Context, a netip.Addr, r Record, overwrite bool) error {
	var err error
	if overwrite && len(l.tags) > 0 {
		err = l.writeTagged(ctx, a, r)
	} else {
		in := l.putInput(a, r, overwrite)
		in.Tags = ForSDK(l.tags)
		_, err = l.api.PutParameter(ctx, in)
		err = OfTags(err, l.tags)
	}
	if err != nil {
		return fmt.Errorf("writing the record %s: %w", l.Name(a), err)
	}
	return nil
}

// ReadOne is Read for one address.
func (l *Ledger) ReadOne(ctx context.Context, a netip.Addr) (Entry, error) {
	entries, err := l.Read(ctx, []netip.Addr{a})
	return entries[a], err
}

// Claims returns the addresses whose records name the instance. It reads the whole ledger, ten
// records with one call. It is for a node that has lost its state file. A record that cannot be
// read belongs to nobody.
func (l *Ledger) Claims(ctx context.Context, instance string) ([]netip.Addr, error) {
	root := l.prefix + "/" + l.subnet + "/"
	var found []netip.Addr
	pages := ssm.NewGetParametersByPathPaginator(l.api, &ssm.GetParametersByPathInput{Path: aws.String(root), MaxResults: aws.Int32(NamesPerRead)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the ledger %s: %w", root, err)
		}
		for _, p := range page.Parameters {
			a, err := netip.ParseAddr(strings.TrimPrefix(aws.ToString(p.Name), root))
			if e := entryOf(p); err == nil && a.Is4() && e.State == Claimed && e.Record.Instance == instance {
				found = append(found, a)
			}
		}
	}
	return found, nil
}

// Create writes a record if there is none, for an operator. It returns false if there is one.
func (l *Ledger) Create(ctx context.Context, a netip.Addr, r Record) (bool, error) {
	err := l.put(ctx, a, r, false)
	if exists := (*types.ParameterAlreadyExists)(nil); errors.As(err, &exists) {
		return false, nil
	}
	return err == nil, err
}

// Repair returns the command that repairs the record of an address.
func (l *Ledger) Repair(a netip.Addr) string {
	return "emr-static-ip ledger repair --prefix " + l.prefix + " --subnet " + l.subnet + " " + a.String()
}

// Endpoint returns the URL at which the SDK calls Parameter Store with cfg.
func Endpoint(ctx context.Context, cfg aws.Config) (*url.URL, error) {
	o := ssm.NewFromConfig(cfg).Options()
	e, err := o.EndpointResolverV2.ResolveEndpoint(ctx, ssm.EndpointParameters{
		Region:       aws.String(o.Region),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		Endpoint:     o.BaseEndpoint,
	})
	if err != nil {
		return nil, fmt.Errorf("finding the endpoint of Parameter Store: %w", err)
	}
	return &e.URI, nil
}
