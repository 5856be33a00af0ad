package cloud

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func emrActions() []*action {
	return []*action{
		{service: "elasticmapreduce", name: "DescribeCluster", prepare: prepareDescribeCluster},
		{service: "elasticmapreduce", name: "ListInstanceGroups", prepare: prepareListInstanceGroups},
		{service: "elasticmapreduce", name: "ListInstanceFleets", prepare: prepareListInstanceFleets},
		{service: "elasticmapreduce", name: "ListInstances", prepare: prepareListInstances},
		{service: "elasticmapreduce", name: "ListBootstrapActions", prepare: prepareListBootstrapActions},
	}
}

func invalidEMR(message string) *Error {
	return &Error{Code: "InvalidRequestException", Message: message, Status: http.StatusBadRequest}
}

// emrOperation returns an operation that looks up the cluster when it runs.
func emrOperation(r *request, clusterID string, run func(*cluster, time.Time) (any, *Error)) *operation {
	c := r.cloud
	op := &operation{params: printable(clusterID)}
	if c.opts.Authorize != nil {
		op.resources = []string{"arn:aws:elasticmapreduce:" + c.opts.Region + ":" + c.opts.Account + ":cluster/" + clusterID}
	}
	op.run = func(now time.Time) ([]byte, bool, *Error) {
		cl := c.clusters[clusterID]
		if cl == nil {
			return nil, false, invalidEMR("Cluster id '" + printable(clusterID) + "' is not valid.")
		}
		v, err := run(cl, now)
		if err != nil {
			return nil, false, err
		}
		return encode(v), false, nil
	}
	return op
}

// status returns the State, StateChangeReason and Timeline of EMR's objects. A time that is zero is
// left out.
func status(state string, why reason, created, ready, ended time.Time) object {
	line := object{}
	for name, t := range map[string]time.Time{"CreationDateTime": created, "ReadyDateTime": ready, "EndDateTime": ended} {
		if !t.IsZero() {
			line[name] = epoch(t)
		}
	}
	because := object{}
	if why != (reason{}) {
		because = object{"Code": why.code, "Message": why.message}
	}
	return object{"State": state, "StateChangeReason": because, "Timeline": line}
}

// reason is why EMR changed the state of a cluster or an instance.
type reason struct{ code, message string }

func prepareDescribeCluster(r *request) (*operation, *Error) {
	var in struct{ ClusterId string }
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	return emrOperation(r, in.ClusterId, func(cl *cluster, now time.Time) (any, *Error) {
		c := r.cloud
		v := object{
			"Id": cl.id, "Name": cl.spec.Name, "ReleaseLabel": cl.spec.ReleaseLabel,
			"ClusterArn":             "arn:aws:elasticmapreduce:" + c.opts.Region + ":" + c.opts.Account + ":cluster/" + cl.id,
			"Status":                 status(cl.state(now), cl.reason, cl.created, cl.ready(now), cl.ended(now)),
			"InstanceCollectionType": cl.groupKey(FilesByAPI, "INSTANCE_GROUP", "INSTANCE_FLEET"),
			"AutoTerminate":          false, "TerminationProtected": cl.highlyAvailable(FilesByAPI), "VisibleToAllUsers": true,
			"NormalizedInstanceHours": 0, "ServiceRole": "EMR_DefaultRole",
			"Applications": []object{}, "Tags": []object{}, "Configurations": []object{},
		}
		attributes := object{"IamInstanceProfile": roleName}
		if s := c.findSubnet(cl.spec.Subnet); s != nil {
			attributes["Ec2SubnetId"], attributes["Ec2AvailabilityZone"] = s.id, s.az
		}
		v["Ec2InstanceAttributes"] = attributes
		if m := cl.masters(); len(m) > 0 {
			v["MasterPublicDnsName"] = m[0].Hostname
		}
		return object{"Cluster": v}, nil
	}), nil
}

// running counts the group's pending and running nodes.
func (cl *cluster) running(g *group, now time.Time) int {
	n := 0
	for _, i := range cl.members {
		if s := i.state(now); i.GroupID == g.id && (s == StateRunning || s == StatePending) {
			n++
		}
	}
	return n
}

// emrPage returns one page and the next token, which EMR calls Marker.
func emrPage[T any](list []T, marker string, size int) ([]T, string, *Error) {
	from := 0
	if marker != "" {
		var err error
		if from, err = strconv.Atoi(marker); err != nil || from < 0 || from > len(list) {
			return nil, "", invalidEMR("Invalid marker")
		}
	}
	to := min(from+size, len(list))
	if to < len(list) {
		return list[from:to], strconv.Itoa(to), nil
	}
	return list[from:to], "", nil
}

func prepareListInstanceGroups(r *request) (*operation, *Error) {
	var in struct{ ClusterId, Marker string }
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	return emrOperation(r, in.ClusterId, func(cl *cluster, now time.Time) (any, *Error) {
		if cl.spec.Fleets {
			return nil, invalidEMR("Instance fleets and instance groups are mutually exclusive. The EMR cluster specified in the request uses instance fleets. The ListInstanceGroups request does not support clusters that use instance fleets. Use the ListInstanceFleets request instead.")
		}
		list := []object{}
		for _, g := range cl.groups {
			list = append(list, object{"Id": g.id, "Name": capital(g.role) + " instance group", "InstanceGroupType": g.role, "Market": "ON_DEMAND",
				"InstanceType": cl.spec.InstanceType, "RequestedInstanceCount": g.requested, "RunningInstanceCount": cl.running(g, now),
				"Status": status(cl.groupState(g, now), reason{}, cl.created, cl.ready(now), cl.ended(now))})
		}
		page, marker, err := emrPage(list, in.Marker, 50)
		if err != nil {
			return nil, err
		}
		return withMarker(object{"InstanceGroups": page}, marker), nil
	}), nil
}

func withMarker(v object, marker string) object {
	if marker != "" {
		v["Marker"] = marker
	}
	return v
}

func prepareListInstanceFleets(r *request) (*operation, *Error) {
	var in struct{ ClusterId, Marker string }
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	return emrOperation(r, in.ClusterId, func(cl *cluster, now time.Time) (any, *Error) {
		if !cl.spec.Fleets {
			return nil, invalidEMR("Instance fleets and instance groups are mutually exclusive. The EMR cluster specified in the request uses instance groups. The ListInstanceFleets request does not support clusters that use instance groups. Use the ListInstanceGroups request instead.")
		}
		list := []object{}
		for _, g := range cl.groups {
			weight := cl.spec.FleetWeight
			list = append(list, object{"Id": g.id, "Name": capital(g.role) + " fleet", "InstanceFleetType": g.role,
				"TargetOnDemandCapacity": g.requested * weight, "TargetSpotCapacity": 0,
				"ProvisionedOnDemandCapacity": cl.running(g, now) * weight, "ProvisionedSpotCapacity": 0,
				"InstanceTypeSpecifications": []object{{"InstanceType": cl.spec.InstanceType, "WeightedCapacity": weight}},
				"Status":                     status(cl.groupState(g, now), reason{}, cl.created, cl.ready(now), cl.ended(now))})
		}
		page, marker, err := emrPage(list, in.Marker, 50)
		if err != nil {
			return nil, err
		}
		return withMarker(object{"InstanceFleets": page}, marker), nil
	}), nil
}

func prepareListInstances(r *request) (*operation, *Error) {
	var in struct {
		ClusterId, Marker, InstanceGroupId, InstanceFleetId, InstanceFleetType string
		InstanceGroupTypes, InstanceStates                                     []string
	}
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	return emrOperation(r, in.ClusterId, func(cl *cluster, now time.Time) (any, *Error) {
		wanted := func(g *group, state string) bool {
			return !(in.InstanceGroupId != "" && (in.InstanceGroupId != g.id || cl.spec.Fleets) ||
				in.InstanceFleetId != "" && (in.InstanceFleetId != g.id || !cl.spec.Fleets) ||
				in.InstanceFleetType != "" && in.InstanceFleetType != g.role ||
				len(in.InstanceGroupTypes) > 0 && !slices.Contains(in.InstanceGroupTypes, g.role) ||
				len(in.InstanceStates) > 0 && !slices.Contains(in.InstanceStates, state))
		}
		list := []object{}
		for _, i := range cl.members {
			state, ended := i.emrState(now)
			if !wanted(cl.group(i.Role), state) {
				continue
			}
			v := object{"Id": "ci-" + i.InstanceID[len("i-"):], "Ec2InstanceId": i.InstanceID, "PrivateIpAddress": i.PrimaryIP.String(), "PrivateDnsName": i.Hostname,
				"PublicDnsName": "", "InstanceType": i.InstanceType, "Market": "ON_DEMAND", "EbsVolumes": []object{},
				"Status": status(state, i.reason, i.launched, i.ready(now), ended)}
			v[cl.groupKey(FilesByAPI, "InstanceGroupId", "InstanceFleetId")] = i.GroupID
			list = append(list, v)
		}
		for _, g := range cl.groups {
			for n := range g.awaiting {
				if cl.ending.IsZero() && wanted(g, emrAwaiting) {
					v := object{"Id": "ci-" + strings.ToLower(g.id[len("ig-"):]) + strconv.Itoa(n), "InstanceType": cl.spec.InstanceType, "Market": "ON_DEMAND",
						"EbsVolumes": []object{}, "Status": status(emrAwaiting, reason{}, g.asked, time.Time{}, time.Time{})}
					v[cl.groupKey(FilesByAPI, "InstanceGroupId", "InstanceFleetId")] = g.id
					list = append(list, v)
				}
			}
		}
		page, marker, err := emrPage(list, in.Marker, cl.spec.InstancePage)
		if err != nil {
			return nil, err
		}
		return withMarker(object{"Instances": page}, marker), nil
	}), nil
}

// mostBootstrapActions is how many actions one page has. AWS documents the paging, but no size.
const mostBootstrapActions = 10

func prepareListBootstrapActions(r *request) (*operation, *Error) {
	var in struct{ ClusterId, Marker string }
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	return emrOperation(r, in.ClusterId, func(cl *cluster, _ time.Time) (any, *Error) {
		list := []object{}
		for _, a := range cl.spec.actions() {
			list = append(list, object{"Name": a.Name, "ScriptPath": a.Path, "Args": slices.Clone(a.Args)})
		}
		page, marker, err := emrPage(list, in.Marker, mostBootstrapActions)
		if err != nil {
			return nil, err
		}
		return withMarker(object{"BootstrapActions": page}, marker), nil
	}), nil
}
