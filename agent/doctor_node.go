package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"

	"github.com/emr-static-ip/emr-static-ip/agent/emr"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/exit"
	"github.com/emr-static-ip/emr-static-ip/agent/internal/text"
	"github.com/emr-static-ip/emr-static-ip/agent/systemd"
	"github.com/emr-static-ip/emr-static-ip/agent/verify"
)

// This file has the checks of the node itself.

func (d *doctor) rights() Finding {
	if d.notRoot {
		return warning("root", "", "run it as root; on EMR, sudo -n works for the user hadoop",
			"not root, and sudo -n does not make it root: rules, state file and EMR's files may not be readable, and a run would end with exit code %d", ExitNotRoot)
	}
	return fine("root", "", "the process is root")
}

// lastRun reads the state file.
func (d *doctor) lastRun() Finding {
	var err error
	d.state, d.hasState, err = LoadState(d.dir, "")
	d.gateways, d.gatewaysKnown = d.state.Gateways, d.state.GatewaysKnown
	d.stateErr = err
	switch {
	case err != nil && d.notRoot:
		return unknown("state", "", "", "%v", err)
	case err != nil:
		return of(stateError(d.dir, err), "state", "")
	case !d.hasState:
		return fine("state", "", "no earlier run on this node")
	}
	text := fmt.Sprintf("the last run ended %s, with the phase %s", d.state.Written.UTC().Format("2006-01-02 15:04:05Z"), d.state.Phase)
	if d.state.Static.IsValid() {
		text += " and the static IP " + d.state.Static.String()
	}
	return fine("state", "", "%s", text)
}

// ownState forgets a state file of another instance.
func (d *doctor) ownState() []Finding {
	if !d.hasState || d.state.InstanceID == d.id.InstanceID {
		return nil
	}
	f := warning("state", "", "", "the state file is of another instance (%s), as after a start from an image of that one; a run does not use it", text.Quote(d.state.InstanceID))
	d.state, d.hasState = State{}, false
	return []Finding{f}
}

// localFiles looks at EMR's files.
func (d *doctor) localFiles() []Finding {
	d.files = emr.ReadFiles(d.env.Root)
	d.cluster, _ = d.files.ClusterID()
	if d.cluster == "" && d.hasState {
		d.cluster = d.state.ClusterID
	}
	var findings []Finding
	for _, p := range d.files.Problems() {
		findings = append(findings, warning("emr-files", "", emrFileRemedy(p), "%v", p))
	}
	if d.files.Empty() {
		if len(findings) == 0 {
			findings = append(findings, fine("emr-files", "", "none here (/mnt/var/lib/info): this is taken for an instance outside EMR, in the subnet of a cluster"))
		}
		return findings
	}
	text := "cluster " + d.cluster
	for _, role := range []Role{RoleMaster, RoleCore, RoleTask} {
		if n, from := d.files.Requested(role); from != "" {
			text += fmt.Sprintf(", %d %s requested", n, strings.ToLower(string(role)))
		}
	}
	return append(findings, fine("emr-files", "", "%s", text))
}

// roleFinding finds the role. An instance outside EMR needs none: then the pools of all roles are looked at.
func (d *doctor) roleFinding(ctx context.Context) Finding {
	tags := func(ctx context.Context) (tags map[string]string, err error) {
		why := d.unasked("ec2")
		if !d.known {
			why = "IMDS does not tell which instance this is"
		}
		if why != "" {
			return nil, errors.New("its EC2 tag cannot be read: " + why)
		}
		ctx, cancel := context.WithTimeout(ctx, doctorCall)
		defer cancel()
		return d.ec2.Tags(ctx)
	}
	decision, err := detectRole(ctx, d.cfg.Role, d.files, tags)
	switch {
	case err != nil && d.files.Empty():
		return unknown("role", "", "name one with --role to have its pool alone looked at", "nothing tells it on this instance: the pools of all roles are looked at")
	case err != nil && CodeOf(d.explain(ctx, err)) == ExitInternal:
		return of(exit.With(ExitIdentity, err, "name the role with --role"), "role", "")
	case err != nil:
		return of(d.explain(ctx, err), "role", "")
	}
	d.role = decision
	if d.ec2 != nil {
		d.ec2.Role = decision.Role
	}
	text := fmt.Sprintf("%s (from %s)", decision.Role, decision.Source)
	if len(decision.Warnings) > 0 {
		return warning("role", "", "--role tells it for certain", "%s; %s", text, strings.Join(decision.Warnings, "; "))
	}
	return fine("role", "", "%s", text)
}

// kernelFindings looks at what programs the rules.
func (d *doctor) kernelFindings(ctx context.Context) []Finding {
	if d.notRoot {
		return []Finding{unknown("nat", "", "run it as root", "not root: the rules cannot be looked at")}
	}
	d.cfg.LockWait = cmp.Or(d.cfg.LockWait, doctorLock)
	if err := d.openKernel(ctx); err != nil {
		return []Finding{of(err, "nat", "")}
	}
	if !d.known {
		return []Finding{fine("nat", "", "%s; the primary interface is not known", d.rep.Backend)}
	}
	o, err := d.kernel.Observe(ctx, d.id.MAC)
	if err != nil {
		return []Finding{of(kernelError(err), "nat", "")}
	}
	findings := []Finding{fine("nat", "", "%s, readable, no other program keeps its lock; the primary interface is %s", d.rep.Backend, o.Link.Name)}
	if o.Unusable != nil {
		findings = []Finding{of(kernelError(o.Unusable), "nat", "")}
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
func (d *doctor) unitFinding(ctx context.Context) Finding {
	const remedy = "run emr-static-ip restore at boot and every minute by other means"
	switch {
	case d.cfg.NoUnits:
		return warning("units", "", remedy, "--no-units: nothing restores address and rules after a reboot")
	case !systemd.Running(d.env):
		return warning("units", "", remedy, "systemd does not run here (no %s): nothing restores address and rules after a reboot", systemd.RunDir)
	case !d.hasState || d.state.Phase != PhaseProgrammed:
		return fine("units", "", "systemd runs; a run installs %s and %s", systemd.Service, systemd.Timer)
	}
	items, err := d.installedStates(ctx)
	if err != nil {
		return unknown("units", "", "", "%v", err)
	}
	var wrong []string
	for _, item := range items {
		if item.State != itemPresent {
			wrong = append(wrong, item.What+": "+item.State)
		}
	}
	if len(wrong) > 0 {
		return warning("units", "", "run emr-static-ip again", "%s", strings.Join(wrong, "; "))
	}
	return fine("units", "", "%s and %s are installed, enabled and active", systemd.Service, systemd.Timer)
}

// verifyFindings makes the connections of --verify: with the static IP where the node has one, and else with the primary IP, which says less.
func (d *doctor) verifyFindings(ctx context.Context) []Finding {
	static := d.state.Static
	if !d.hasState || d.state.Phase != PhaseProgrammed || !d.known {
		static = netip.Addr{}
	}
	var findings []Finding
	for _, v := range d.prober(static).Probe(ctx, d.cfg.Verify, doctorVerify) {
		text := v.String()
		switch name := v.Target.String(); {
		case v.Err == nil && static.IsValid():
			findings = append(findings, fine("verify", name, "%s", text).took(v.Took))
		case v.Err == nil:
			findings = append(findings, warning("verify", name, "run doctor again when the node has its static IP", "%s, and this node has no static IP yet: what a firewall does with that is not known", text).took(v.Took))
		case static.IsValid() || verify.FailureOf(v.Err) == verify.FailureName:
			findings = append(findings, failed(ExitVerify, "verify", name, v.Remedy(), "%s", text))
		default:
			findings = append(findings, unknown("verify", name, v.Remedy(), "%s, as it must where a firewall admits static IPs only; this node has none yet", text))
		}
	}
	return findings
}

// emrFileRemedy is what to do about one of EMR's files.
func emrFileRemedy(problem error) string {
	if errors.Is(problem, fs.ErrPermission) {
		return "root alone may read it: run doctor as root"
	}
	return "a run does without it, by the other files and by EC2's tags; the line role says what came of that"
}
