package cloud

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// FileStyle selects which of EMR's files a node has. The node's cluster decides whether the files
// show instance fleets and three masters.
type FileStyle int

// The styles.
const (
	FilesFull    FileStyle = iota // the files seen on EMR 5.23 and 5.29
	FilesMinimal                  // only instance.json and job-flow.json
	FilesNoGroup                  // FilesMinimal, with a job-flow.json that lacks the node's own group, which was added later
)

// infoDirs are directories of a node that contain the same files.
var infoDirs = [...]string{"mnt/var/lib/info", "emr/instance-controller/lib/info", "var/lib/info"}

// EMRFiles returns the files that EMR's instance controller writes on the node before bootstrap
// actions run, by their paths below the root. It returns nil for an instance outside EMR. No
// samples of clusters with instance fleets or three masters have been published. For those the
// files are a guess from the field names of the EMR API, or another one: see [Unverified].
func (n *Node) EMRFiles(style FileStyle) map[string][]byte {
	c := n.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.byID[n.InstanceID]
	if i == nil || i.cluster == nil || c.opts.Unverified.Files == FilesNone {
		return nil
	}
	guess := c.opts.Unverified.Files
	files := map[string][]byte{}
	put := func(name string, content []byte) {
		for _, dir := range infoDirs {
			files[dir+"/"+name] = content
		}
	}
	put("instance.json", i.instanceJSON(guess))
	put("job-flow.json", i.jobFlowJSON(c, style))
	if style == FilesFull {
		extra := i.extraInstanceData(c)
		put("extraInstanceData.json", extra)
		files["mnt/var/lib/instance-controller/extraInstanceData.json"] = extra
		put("job-flow-state.txt", i.jobFlowState(guess))
	}
	return files
}

type object = map[string]any

func render(v any) []byte {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // strings, numbers and maps can always be marshalled
	}
	return append(b, '\n')
}

func (i *instance) instanceJSON(guess FileGuess) []byte {
	v := object{"isMaster": i.Role == RoleMaster}
	v[i.cluster.groupKey(guess, "instanceGroupId", "instanceFleetId")] = i.GroupID
	return render(v)
}

// groupKey returns the name of a field for instance groups or for fleets.
func (cl *cluster) groupKey(guess FileGuess, groups, fleets string) string {
	if cl.spec.Fleets && guess != FilesFleetAsGroups {
		return fleets
	}
	return groups
}

func (cl *cluster) masters() []*instance {
	var out []*instance
	for _, m := range cl.members {
		if m.Role == RoleMaster && m.states[len(m.states)-1].state != StateTerminated {
			out = append(out, m)
		}
	}
	return out
}

func (cl *cluster) highlyAvailable(guess FileGuess) bool {
	return cl.spec.Masters > 1 && guess != FilesOneOfThree
}

// capacity returns the number that the files have for a group. For a fleet that looks like a group
// it counts units: an instance may have several.
func (cl *cluster) capacity(g *group, guess FileGuess) int {
	switch {
	case cl.spec.Fleets && guess == FilesFleetAsGroups:
		return unitsPerInstance * g.requested
	case g.role == RoleMaster && guess == FilesOneOfThree:
		return 1
	}
	return g.requested
}

// unitsPerInstance is the weight of an instance in the fleets of FilesFleetAsGroups.
const unitsPerInstance = 8

func (cl *cluster) requested() int {
	n := 0
	for _, g := range cl.groups {
		n += g.requested
	}
	return n
}

func (i *instance) jobFlowJSON(c *Cloud, style FileStyle) []byte {
	cl := i.cluster
	v := object{
		"jobFlowId":              cl.id,
		"jobFlowCreationInstant": cl.created.UnixMilli(),
		"instanceCount":          cl.requested(),
	}
	if m := cl.masters(); len(m) > 0 {
		v["masterInstanceId"] = m[0].InstanceID
		v["masterPrivateDnsName"] = m[0].Hostname
	}
	guess, list := c.opts.Unverified.Files, []object{}
	for _, g := range cl.groups {
		if style == FilesNoGroup && g.id == i.GroupID {
			continue
		}
		name := spelled(g.role, guess, capital(g.role))
		if cl.spec.Fleets && guess != FilesFleetAsGroups {
			list = append(list, object{"instanceFleetId": g.id, "instanceFleetName": name + " fleet", "instanceFleetType": name,
				"targetOnDemandCapacity": cl.capacity(g, guess), "targetSpotCapacity": 0})
			continue
		}
		list = append(list, object{"instanceGroupId": g.id, "instanceGroupName": name + " instance group", "instanceRole": name,
			"marketType": "OnDemand", "instanceType": cl.spec.InstanceType, "requestedInstanceCount": cl.capacity(g, guess)})
	}
	v[cl.groupKey(guess, "instanceGroups", "instanceFleets")] = list
	return render(v)
}

// capital returns a role as EMR writes it in job-flow.json: Core.
func capital(role string) string { return role[:1] + strings.ToLower(role[1:]) }

// spelled returns a role as EMR's files have it: usual, unless the guess is capitals.
func spelled(role string, guess FileGuess, usual string) string {
	if guess == FilesCapitals {
		return role
	}
	return usual
}

func (i *instance) extraInstanceData(c *Cloud) []byte {
	cl, guess := i.cluster, c.opts.Unverified.Files
	masterHost := "localhost"
	if i.Role != RoleMaster {
		if m := cl.masters(); len(m) > 0 {
			masterHost = m[0].Hostname
		}
	}
	v := object{
		"jobFlowId":              cl.id,
		"jobFlowCreationInstant": cl.created.UnixMilli(),
		"instanceCount":          cl.requested(),
		"instanceRole":           spelled(i.Role, guess, strings.ToLower(i.Role)),
		"masterHost":             masterHost,
		"marketType":             "on_demand",
		"region":                 c.opts.Region,
		"accountId":              c.opts.Account,
		"releaseLabel":           cl.spec.ReleaseLabel,
		"haEnabled":              cl.highlyAvailable(guess),
		"numCandidates":          0,
		"candidates":             []string{},
		"startupScripts":         []object{{"name": "static ip", "args": cl.spec.Args}},
		"serviceEndpoints":       object{"elasticmapreduce": "https://elasticmapreduce." + c.opts.Region + ".amazonaws.com"},
	}
	if cl.highlyAvailable(guess) {
		hosts := []string{}
		for _, m := range cl.masters() {
			hosts = append(hosts, m.Hostname)
		}
		v["numCandidates"], v["candidates"] = len(hosts), hosts
	}
	v[cl.groupKey(guess, "instanceGroupId", "instanceFleetId")] = i.GroupID
	if !cl.spec.Fleets || guess == FilesFleetAsGroups {
		groups := object{}
		for _, g := range cl.groups {
			groups[g.role] = []object{{"instanceType": cl.spec.InstanceType, "instanceCount": cl.capacity(g, guess)}}
		}
		v["instanceGroups"] = groups
	}
	return render(v)
}

func (i *instance) jobFlowState(guess FileGuess) []byte {
	cl := i.cluster
	var b strings.Builder
	fmt.Fprintf(&b, "jobFlowId: %q\n", cl.id)
	fmt.Fprintf(&b, "jobFlowCreationInstant: %d\n", cl.created.UnixMilli())
	role := fmt.Sprintf("instanceRole: %q", spelled(i.Role, guess, strings.ToLower(i.Role)))
	if guess == FilesLocalInstance {
		role = fmt.Sprintf("localInstance { %s }\n", role)
		for _, m := range cl.members {
			role += fmt.Sprintf("instances { instanceRole: %q host: %q }\n", strings.ToLower(m.Role), m.Hostname)
		}
	}
	fmt.Fprintln(&b, strings.TrimSpace(role))
	fmt.Fprintf(&b, "releaseLabel: %q\n", cl.spec.ReleaseLabel)
	fmt.Fprintf(&b, "startTime: %q\n", i.launched.UTC().Format(time.RFC3339))
	return []byte(b.String())
}
