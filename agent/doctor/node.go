package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent"
	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/node"
	"github.com/emr-static-ip/emr-static-ip/agent/state"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// This file has the checks of the node itself.

func (d *examination) rights() Finding {
	if d.notRoot {
		return warning("root", "", "run it as root; on EMR, sudo -n works for the user hadoop",
			"not root, and sudo -n does not make it root: rules, state file and EMR's files may not be readable, and a run would end with exit code %d", exit.NotRoot)
	}
	return fine("root", "", "the process is root")
}

// lastRun reads the state file.
func (d *examination) lastRun() Finding {
	var err error
	d.last, d.hasState, err = state.LoadLatest(d.env.Root, d.dir, "")
	d.facts.Gateways = d.last.Gateways
	d.stateErr = err
	switch {
	case err != nil && d.notRoot:
		return unknown("state", "", "", "%v", err)
	case err != nil:
		return of(agent.StateError(d.dir, err), "state", "")
	case !d.hasState:
		return fine("state", "", "no earlier run on this node")
	}
	text := fmt.Sprintf("the last run ended %s, with the phase %s", d.last.Written.UTC().Format("2006-01-02 15:04:05Z"), d.last.Phase)
	if d.last.Static.IsValid() {
		text += " and the static IP " + d.last.Static.String()
	}
	return fine("state", "", "%s", text)
}

// writable checks that a run could save its state.
func (d *examination) writable() []Finding {
	if d.notRoot {
		return nil // said by rights
	}
	err := state.Writable(d.dir)
	if err == nil {
		return nil
	}
	return []Finding{of(agent.StateDirError(d.dir, err), "state-dir", "")}
}

// ownState forgets a state file of another instance.
func (d *examination) ownState() []Finding {
	if !d.hasState || d.last.InstanceID == d.facts.ID.InstanceID {
		return nil
	}
	f := warning("state", "", "", "the state file is from another instance (%s), probably through an image; a run does not use it", text.Quote(d.last.InstanceID))
	d.last, d.hasState = state.State{}, false
	return []Finding{f}
}

// localFiles looks at EMR's files.
func (d *examination) localFiles() []Finding {
	d.facts.ReadFiles(d.env.Root, d.last)
	var findings []Finding
	for _, p := range d.facts.Files.Problems() {
		findings = append(findings, warning("emr-files", "", emrFileRemedy(p), "%v", p))
	}
	if d.facts.Files.Empty() {
		if len(findings) == 0 {
			text := "none here (/mnt/var/lib/info): this is taken for an instance outside EMR, in the subnet of a cluster"
			if d.facts.Plain {
				text = "none here (/mnt/var/lib/info): this is an instance outside EMR"
			}
			findings = append(findings, fine("emr-files", "", "%s", text))
		}
		return findings
	}
	text := "cluster " + d.facts.Cluster
	if release := d.facts.Files.Release(); release != "" {
		text += ", release " + release
	}
	for _, role := range []emr.Role{emr.Master, emr.Core, emr.Task} {
		if n, from := d.facts.Files.Requested(role); from != "" {
			text += fmt.Sprintf(", %d %s requested", n, strings.ToLower(string(role)))
		}
	}
	findings = append(findings, fine("emr-files", "", "%s", text))
	if strings.HasPrefix(d.facts.Files.Release(), emr8) {
		findings = append(findings, fine("emr-service", "", "EMR 8 reaches its clusters in private subnets through the VPC endpoint aws.api.%s.emr-service-cell01, whose security group admits TCP 443 from the VPC; "+
			"what its nodes have in EMR's files is not verified", cmp.Or(d.facts.ID.Region, "REGION")))
	}
	return findings
}

// emr8 begins the release labels of EMR 8: emr-spark-8.1.0. There is no emr-8.0.0.
const emr8 = "emr-spark-"

// roleFinding finds the role. An instance outside EMR needs none: then the pools of all roles are
// looked at.
func (d *examination) roleFinding(ctx context.Context) Finding {
	tags := func(ctx context.Context) (tags map[string]string, err error) {
		why := d.unasked("ec2")
		if !d.known {
			why = "IMDS does not say which instance this is"
		}
		if why != "" {
			return nil, errors.New("its EC2 tag cannot be read: " + why)
		}
		ctx, cancel := context.WithTimeout(ctx, doctorCall)
		defer cancel()
		return d.session.EC2.Tags(ctx)
	}
	decision, err := node.DetectRole(ctx, d.cfg.Pools, d.cfg.Role, d.facts.Files, tags)
	switch {
	case err == nil && d.facts.Plain:
		return fine("role", "", "none: --ips is one list for instances outside EMR")
	case err != nil && d.facts.Files.Empty():
		return unknown("role", "", "use --role to check one pool only", "unknown on this instance: the pools of all roles are checked")
	case err != nil && exit.CodeOf(d.explain(ctx, err)) == exit.Internal:
		return of(exit.With(exit.Identity, err, "name the role with --role"), "role", "")
	case err != nil:
		return of(d.explain(ctx, err), "role", "")
	}
	d.facts.Role = decision
	if d.session.EC2 != nil {
		d.session.EC2.Role = decision.Role
	}
	text := fmt.Sprintf("%s (from %s)", decision.Role, decision.Source)
	if len(decision.Warnings) > 0 {
		return warning("role", "", "--role sets it for certain", "%s; %s", text, strings.Join(decision.Warnings, "; "))
	}
	return fine("role", "", "%s", text)
}

// kernelFindings looks at what programs the rules.
func (d *examination) kernelFindings(ctx context.Context) []Finding {
	if d.notRoot {
		return []Finding{unknown("nat", "", "run it as root", "not root: the rules cannot be read")}
	}
	if err := d.session.OpenKernel(ctx, d.env, d.cfg.Backend, cmp.Or(d.cfg.LockWait, doctorLock)); err != nil {
		return []Finding{of(err, "nat", "")}
	}
	if !d.known {
		return []Finding{fine("nat", "", "%s; the primary interface is not known", d.session.Kernel.Backend())}
	}
	o, err := d.session.Kernel.Observe(ctx, d.facts.ID.MAC)
	if err != nil {
		return []Finding{of(node.KernelError(err), "nat", "")}
	}
	findings := []Finding{fine("nat", "", "%s, readable, no other program holds its lock; the primary interface is %s", d.session.Kernel.Backend(), o.Link.Name)}
	if o.Unusable != nil {
		findings = []Finding{of(node.KernelError(o.Unusable), "nat", "")}
	}
	if c := o.Conntrack; c.Max > 0 {
		text := fmt.Sprintf("%d of %d connections tracked; the rules track all of the node's traffic", c.Count, c.Max)
		finding := fine("conntrack", "", "%s", text)
		if c.Count > c.Max/10*9 {
			finding = warning("conntrack", "", fmt.Sprintf("raise it: sysctl -w net.netfilter.nf_conntrack_max=%d", 2*c.Max), "%s: beyond that, packets of new connections are dropped", text)
		}
		findings = append(findings, finding)
	}
	for _, note := range o.Notes {
		findings = append(findings, warning("nat", "", "", "%s", note))
	}
	d.kernelOK = true
	return findings
}

// unitFinding looks at what restores the static IP after a reboot.
func (d *examination) unitFinding(ctx context.Context) Finding {
	const remedy = "run emr-static-ip restore at boot and every minute by other means"
	units := systemd.Service + " and " + systemd.Timer
	if d.facts.Plain && !d.cfg.NoShutdownAction {
		units = systemd.Service + ", " + systemd.Timer + " and " + systemd.ReleaseService
	}
	switch {
	case d.cfg.NoUnits:
		return warning("units", "", remedy, "--no-units: nothing restores address and rules after a reboot")
	case !systemd.Running(d.env):
		return warning("units", "", remedy, "systemd does not run here (no %s): nothing restores address and rules after a reboot", systemd.RunDir)
	case !d.hasState || d.last.Phase != state.Programmed:
		return fine("units", "", "systemd runs; a run installs %s", units)
	}
	parts, err := agent.InspectInstalled(ctx, d.cfg, d.env)
	if err != nil {
		return unknown("units", "", "", "%v", err)
	}
	var wrong []string
	for _, part := range parts {
		if part.State != systemd.Present {
			wrong = append(wrong, part.What+": "+string(part.State))
		}
	}
	if len(wrong) > 0 {
		return warning("units", "", "run emr-static-ip again", "%s", strings.Join(wrong, "; "))
	}
	return fine("units", "", "%s are installed, enabled and active", units)
}

// verifyFindings makes the connections of --verify: with the static IP if the node has one.
// Otherwise it uses the primary IP, which proves less.
func (d *examination) verifyFindings(ctx context.Context) []Finding {
	static := d.last.Static
	if !d.hasState || d.last.Phase != state.Programmed || !d.known {
		static = netip.Addr{}
	}
	var findings []Finding
	for _, v := range verify.NewProber(d.env, d.session.Kernel, d.wanted(static, nil)).Probe(ctx, d.cfg.Verify, doctorVerify) {
		text := v.String()
		switch name := v.Target.String(); {
		case v.Err == nil && static.IsValid():
			findings = append(findings, fine("verify", name, "%s", text).took(v.Took))
		case v.Err == nil:
			findings = append(findings, warning("verify", name, "run doctor again when the node has its static IP", "%s, and this node has no static IP yet: a firewall may treat the static IP differently", text).took(v.Took))
		case static.IsValid() || verify.FailureOf(v.Err) == verify.FailureName:
			findings = append(findings, failed(exit.Verify, "verify", name, v.Remedy(), "%s", text))
		default:
			findings = append(findings, unknown("verify", name, v.Remedy(), "%s. That is right if a firewall admits static IPs only: this node has none yet", text))
		}
	}
	return findings
}

// emrFileRemedy returns what to do about one of EMR's files.
func emrFileRemedy(problem error) string {
	if errors.Is(problem, fs.ErrPermission) {
		return "root alone may read it: run doctor as root"
	}
	return "a run uses the other files and EC2's tags instead; see the line role"
}
