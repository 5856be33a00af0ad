package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"github.com/emr-static-ip/emr-static-ip/agent/ec2"
	"github.com/emr-static-ip/emr-static-ip/agent/ec2/settings"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/certify"
	"github.com/emr-static-ip/emr-static-ip/cmd/emrsim/certify/onnode"
	"github.com/emr-static-ip/emr-static-ip/internal/identifier"
)

// certifyOptions are the flags of certify.
type certifyOptions struct {
	endpoint, region, subnet, prefix, name string
	aws, yes, gentle, cleanup, verbose     bool
	out, judged, policy                    string
	node                                   string
	timeout, watch                         time.Duration
}

const certifyText = `Compares the model of AWS with a judge, by the same calls to both, and says which facts about AWS the judge confirms and contradicts.
The judge is an emulator at --endpoint, or AWS itself with --aws and your credentials. Without one it is the model, served over HTTP.

On AWS it makes two network interfaces of its own in the subnet, without instances, with the tag emr-static-ip:certify; up to 24 unused
and unreserved addresses of the subnet on them; and about a dozen standard parameters below PREFIX/certify-ID. It changes nothing else: each
call is checked for that before it is sent. Everything is removed at the end, also after Ctrl-C, a deadline or an error. What a run
leaves that was killed, --cleanup removes.

It says all this first, and needs --yes on AWS. --policy writes the IAM policy that it needs.

The recording (--out) has all requests and answers. Identifiers, addresses, account numbers, principals, keys, request ids and times are
replaced in it. Add it to cmd/emrsim/cloud/recordings: the model is tested against every recording there.

With --node FILE it collects on a node of a cluster what no source says: EMR's files, programs, units, sudo, IMDS. It writes an archive
without secrets, and changes nothing. A COMMAND is run by itself, and IMDS is watched meanwhile and for --watch after it.

Exit codes: 0 the same outcomes, or differences that --judged explains; 1 other differences, or a failure, or something is left;
2 wrong usage, nothing was made; 130 interrupted, everything was removed.`

func certifyCommand() *cobra.Command {
	var o certifyOptions
	cmd := &cobra.Command{
		Use:   "certify [flags] [--node FILE [-- COMMAND...]]",
		Short: "Compare the model with an emulator or with AWS itself",
		Long:  certifyText,
		Example: "  emrsim certify --endpoint http://127.0.0.1:5000 --name 'moto 5.2.1' --judged cmd/emrsim/cloud/recordings/moto.judged.json\n" +
			"  emrsim certify --aws --region us-east-1 --subnet subnet-0a1b2c3d --prefix /certify --policy policy.json\n" +
			"  emrsim certify --aws --region us-east-1 --subnet subnet-0a1b2c3d --prefix /certify --out aws.json --yes\n" +
			"  emrsim certify --aws --region us-east-1 --subnet subnet-0a1b2c3d --prefix /certify --cleanup --yes\n" +
			"  sudo emrsim certify --node facts.tar.gz --watch 90s -- emr-static-ip release",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.node != "" {
				return o.collect(cmd.Context(), cmd.OutOrStdout(), args)
			}
			if err := none(cmd, args); err != nil {
				return err
			}
			return o.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.endpoint, "endpoint", "", "an emulator: http://HOST:PORT")
	f.BoolVar(&o.aws, "aws", false, "AWS itself, with the credentials of the environment")
	f.StringVar(&o.region, "region", "", "region (default of an emulator: us-east-1)")
	f.StringVar(&o.subnet, "subnet", "", "subnet of the interfaces (default of an emulator: its first one)")
	f.StringVar(&o.prefix, "prefix", "", "path of the parameters: /certify (default of an emulator)")
	f.StringVar(&o.name, "name", "", "name and version of the judge, for the recording")
	f.StringVar(&o.out, "out", "", "file for the recording (on AWS by default: certify-REGION-ID.json)")
	f.StringVar(&o.judged, "judged", "", "file with judgements of known differences")
	f.StringVar(&o.policy, "policy", "", "write the IAM policy that a run needs to this file (-: stdout), and make nothing")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "end the steps after this time; what was made is removed all the same")
	f.BoolVar(&o.gentle, "gentle", false, "do not use up the quota of PutParameter, which takes 2 s")
	f.BoolVar(&o.cleanup, "cleanup", false, "remove what earlier runs have left in the subnet and below the prefix")
	f.StringVar(&o.node, "node", "", "collect on this node, into this new file: NAME.tar.gz")
	f.DurationVar(&o.watch, "watch", time.Minute, "with --node and a command: how long IMDS is watched after it")
	f.BoolVar(&o.yes, "yes", false, "make it: needed on AWS")
	f.BoolVar(&o.verbose, "verbose", false, "print each step")
	return cmd
}

var (
	prefixForm = regexp.MustCompile(`^(/[a-zA-Z0-9_.-]+){1,8}$`)
	regionForm = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]+$`)
)

// check returns all problems of the flags.
func (o *certifyOptions) check() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, usageError{fmt.Errorf(format, args...)}) }
	if o.aws && o.endpoint != "" {
		add("--aws and --endpoint: name one judge")
	}
	if u, err := url.Parse(o.endpoint); o.endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Contains(u.Hostname(), ".amazonaws.")) {
		add("--endpoint %q: the address of an emulator, http://HOST:PORT; --aws is for AWS", o.endpoint)
	}
	if o.aws {
		for _, needed := range [][2]string{{"--region", o.region}, {"--subnet", o.subnet}, {"--prefix", o.prefix}} {
			if needed[1] == "" {
				add("%s is missing: on AWS you choose where it works", needed[0])
			}
		}
	} else if o.endpoint == "" && (o.region != "" || o.subnet != "" || o.prefix != "" || o.cleanup) {
		add("--region, --subnet, --prefix and --cleanup are about a judge: name one with --endpoint or --aws")
	}
	if o.region != "" && !regionForm.MatchString(o.region) {
		add("--region %q: a region such as us-east-1", o.region)
	}
	if o.prefix != "" && (!prefixForm.MatchString(o.prefix) || strings.HasPrefix(o.prefix, "/aws") || strings.HasPrefix(o.prefix, "/ssm")) {
		add("--prefix %q: a path such as /certify, of at most 8 levels of letters, digits, _ . and -, not below /aws or /ssm", o.prefix)
	}
	if o.subnet != "" && !identifier.EC2(o.subnet, "subnet-") {
		add("--subnet %q: the id of a subnet, subnet-...", o.subnet)
	}
	if err := positive("--timeout", o.timeout); err != nil {
		problems = append(problems, usageError{err})
	}
	return errors.Join(problems...)
}

func (o *certifyOptions) run(ctx context.Context, out io.Writer) error {
	if err := o.check(); err != nil {
		return usageError{err}
	}
	var known []certify.Judgement
	if o.judged != "" {
		_, err := os.Stat(o.judged)
		if err == nil {
			known, err = certify.ReadJudgements(o.judged)
		}
		if err != nil {
			return usageError{fmt.Errorf("--judged: %w", err)}
		}
	}
	j, stop, err := o.judge(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if o.policy != "" {
		return o.writePolicy(out, j)
	}
	if o.aws && o.out == "" && !o.cleanup {
		o.out = "certify-" + o.region + "-" + j.Run + ".json"
	}
	o.announce(out, j)
	if o.aws && !o.yes {
		return usageError{errors.New("nothing was made: repeat the command with --yes")}
	}
	if o.verbose {
		j.Progress = out
	}
	limited, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the time of --timeout %s is over", o.timeout))
	defer cancel()
	if o.cleanup {
		return o.ended(ctx, o.clean(limited, out, j))
	}
	return o.ended(ctx, o.compare(limited, out, j, known))
}

// judge returns the judge that the flags name. stop ends what was started for it.
func (o *certifyOptions) judge(ctx context.Context) (j certify.Judge, stop func(), err error) {
	switch {
	case o.aws:
		cfg, err := settings.Load(os.Getenv, settings.Options{Region: o.region, AssumeRole: ec2.AssumeRole})
		if err != nil {
			return j, nil, fmt.Errorf("reading the settings of the AWS SDK: %w", err)
		}
		if at := certify.OwnEndpoint(cfg); at != "" {
			return j, nil, usageError{fmt.Errorf("the settings of the AWS SDK name the endpoint %q: that is not AWS. Unset AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EC2 and AWS_ENDPOINT_URL_SSM, "+
				"remove endpoint_url from the shared files, or give it as --endpoint", at)}
		}
		j = certify.Judge{Name: "AWS " + o.region, Config: cfg, Pause: 400 * time.Millisecond, Lag: 40 * time.Second}
	case o.endpoint != "":
		j = certify.Judge{Name: "an emulator", Emulator: true, Pause: certify.EmulatorPause, Lag: 10 * time.Second}
		j.Config = sdk.Config{Region: "us-east-1", BaseEndpoint: &o.endpoint, Credentials: sdk.CredentialsProviderFunc(emulatorCredentials)}
		if o.region != "" {
			j.Config.Region = o.region
		}
	default:
		j, stop, err = certify.Serve(ctx, certify.ModelOptions())
		if err != nil {
			return j, nil, err
		}
		j.Gentle = o.gentle
		return j, stop, nil
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return j, nil, err
	}
	j.Run, j.Subnet, j.Prefix, j.Gentle = hex.EncodeToString(id[:]), o.subnet, o.prefix, o.gentle
	if j.Prefix == "" {
		j.Prefix = "/certify"
	}
	if o.name != "" {
		j.Name = o.name
	}
	return j, func() {}, nil
}

// emulatorCredentials returns the credentials of the environment, which emrsim serve prints, or
// such that mean nothing.
func emulatorCredentials(context.Context) (sdk.Credentials, error) {
	c := sdk.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN")}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		c = sdk.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}
	}
	return c, nil
}

func (o *certifyOptions) writePolicy(out io.Writer, j certify.Judge) error {
	subnet := j.Subnet
	if subnet == "" {
		subnet = "*"
	}
	text := certify.Policy(ec2.Partition(j.Config.Region), j.Config.Region, subnet, j.Prefix)
	if o.policy == "-" {
		_, err := io.WriteString(out, text)
		return err
	}
	if err := os.WriteFile(o.policy, []byte(text), 0o644); err != nil {
		return usageError{fmt.Errorf("--policy: %w", err)}
	}
	_, err := fmt.Fprintf(out, "%s has the policy for a run. Nothing was made.\n", o.policy)
	return err
}

// announce says what a run makes, what it needs and what it costs, before it makes anything.
func (o *certifyOptions) announce(out io.Writer, j certify.Judge) {
	where := "the first subnet of the judge"
	if j.Subnet != "" {
		where = j.Subnet
	}
	if o.cleanup {
		fmt.Fprintf(out, "%s: removes the network interfaces with the tag %s in %s that no instance has,\nand the parameters %s/certify-*.\n", j.Name, certify.Tag, where, j.Prefix)
		return
	}
	fmt.Fprintf(out, `%s
  makes    2 network interfaces in %s, without instances, tag %s=%s
           up to 24 secondary addresses on them: unused ones of the subnet that no reservation covers
           about a dozen standard parameters %s/certify-%s/*
  removes  all of this, also after Ctrl-C; after a kill: the same command with --cleanup
  calls    about 100, in 1 to 3 minutes; at most %s
`, j.Name, where, certify.Tag, j.Run, j.Prefix, j.Run, o.timeout)
	if !o.aws {
		return
	}
	fmt.Fprintf(out, `  costs    nothing by the price lists of EC2 and Systems Manager: interfaces without instances, private addresses and standard
           parameters are free. With Parameter Store's higher throughput each call has a price:
           https://aws.amazon.com/systems-manager/pricing/
  needs    the policy that --policy FILE writes
  records  requests and answers in %s
`, o.out)
	if !o.gentle {
		fmt.Fprintf(out, "  disturbs for about 2 s PutParameter of others in this account and region is throttled, too (--gentle: not)\n")
	}
}

func (o *certifyOptions) compare(ctx context.Context, out io.Writer, j certify.Judge, known []certify.Judgement) error {
	rec, err := certify.Run(ctx, j)
	if o.out != "" && len(rec.Steps) > 0 {
		if werr := os.WriteFile(o.out, rec.Render(), 0o644); werr != nil {
			err = errors.Join(err, fmt.Errorf("--out: %w", werr))
		} else {
			fmt.Fprintf(out, "recorded %d steps in %s\n", len(rec.Steps), o.out)
		}
	}
	if err != nil {
		return err
	}
	model := rec
	if o.aws || o.endpoint != "" {
		if model, err = certify.RunModel(ctx); err != nil {
			return fmt.Errorf("running the steps against the model: %w", err)
		}
	}
	if !certify.Report(out, model, rec, known) {
		return exitError(1)
	}
	return nil
}

func (o *certifyOptions) clean(ctx context.Context, out io.Writer, j certify.Judge) error {
	done, err := certify.Cleanup(ctx, j)
	for _, name := range append(done.Interfaces, done.Parameters...) {
		fmt.Fprintf(out, "removed %s\n", name)
	}
	if err == nil && len(done.Interfaces)+len(done.Parameters) == 0 {
		fmt.Fprintln(out, "nothing is left of earlier runs")
	}
	return err
}

// ended returns the error of a run that may have left something behind.
func (o *certifyOptions) ended(ctx context.Context, err error) error {
	left := (*certify.LeftError)(nil)
	if !errors.As(err, &left) {
		return err
	}
	fmt.Fprintf(os.Stderr, "emrsim: %v\nTo remove it: the same command with --cleanup\n", err)
	return exitError(1)
}

// collect collects on this node, and lists what it has collected.
func (o *certifyOptions) collect(ctx context.Context, out io.Writer, command []string) error {
	if o.aws || o.endpoint != "" || o.cleanup || o.policy != "" || o.out != "" {
		return usageError{errors.New("--node collects on this machine: it has no judge, and none of --aws, --endpoint, --cleanup, --policy and --out")}
	}
	if o.watch < 0 || o.watch > maxWatch {
		return usageError{fmt.Errorf("--watch %s: from 0s to %s", o.watch, maxWatch)}
	}
	lines, err := onnode.Write(ctx, o.node, onnode.Options{Command: command, Watch: o.watch, Out: out})
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
	return err
}

// maxWatch bounds --watch.
const maxWatch = 10 * time.Minute
