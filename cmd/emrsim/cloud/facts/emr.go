package facts

func clusters() []Fact {
	return []Fact{
		documented("bootstrap-user", "A bootstrap action runs as hadoop, with sudo, before applications are installed, also on nodes that come later", "It runs itself again through sudo: `cli.Elevate`. Spare addresses", emrMG+"emr-plan-bootstrap.html"),
		unverified("bootstrap-reboot", "A bootstrap action does not run again at a reboot", "", "The units restore the address at boot: `agent.Restore`. A run changes nothing where all is in order: `agent.Apply`", "cmd/emrsim/simulation.TestSwitches", "cmd/emrsim/simulation.TestBootAfterAListChangeIsKilled"),
		unverified("bootstrap-time", "A bootstrap action may take about an hour", "observed by others", "`agent.DefaultTimeout`, 10 minutes", "cmd/emrsim/simulation.TestWaitingForTheLiving"),
		documented("bootstrap-exit", "A non-zero exit ends the instance", "`--on-error`", emrMG+"emr-plan-bootstrap.html"),
		documented("no-order", "Nodes start in no order: EMR promises none", "No node waits for another node: `ssmcoord.Coordinator.Acquire`", emrMG+"emr-plan-bootstrap.html"),
		documented("shutdown-actions", "Shutdown actions run at termination, side by side, for 60 s, and may not run; at scale-in they are not promised", "Release within 45 s: `agent/systemd/emr-static-ip-release.sh`. Addresses of the dead are taken over: `ssmcoord.Terminated`", emrMG+"emr-plan-bootstrap.html"),
		documented("emr-tags", "EMR tags its instances with cluster and role", "Members of the cluster are found by tag: `ec2.Node.Survey`. `emr.RoleTag`", emrMG+"emr-plan-tags.html"),
		documented("replaced-master", "A replaced master of three keeps its primary private IP, so an interface may come with the static IP already there", "A node keeps what its interface carries: `ssmcoord.Plan.Kept`. `cloud.Cloud.ReplaceMaster`", emrMG+"emr-plan-ha.html"),
		documented("fleet-subnets", "Instance fleets get several subnets, and EMR picks one; fleets reach 4,000 instances", "One ledger for each subnet; a node uses its own subnet's addresses: `pool.Placement`. `cloud.ClusterSpec.Subnets`", emrMG+"emr-instance-fleet.html"),
		documented("three-masters-fleets", "Three masters with instance fleets: from 5.36.1, 6.8.1, 6.9.1, 6.10.1, 6.11.1 and 6.12.0 on", "Templates and module refuse earlier releases: `scripts/cloudformation/cluster.yaml`", emrMG+"emr-plan-ha.html"),
		documented("three-masters-public", "Three masters in a public subnet need public addresses that the subnet assigns by itself", "They have scope private as every node with a public address: `cloud.Cloud.MapPublicIP`", emrMG+"emr-plan-ha-launch.html"),
		documented("instance-states", "EMR lists an instance as AWAITING_FULFILLMENT, PROVISIONING, BOOTSTRAPPING, RUNNING or TERMINATED", "A node without an address is starting until EMR says RUNNING: `cluster.Starting`. `cloud.Cloud.BeginBootstrap`", emrAPI+"API_InstanceStatus.html"),
		documented("list-instances", "ListInstances lists active instances, and terminated ones of 30 days, 2,000 at most", "The command cluster check asks for active ones, page by page: `cluster.Check`. `cloud.ClusterSpec.InstancePage`", emrAPI+"API_ListInstances.html"),
		unverified("instance-awaited", "An instance that EC2 has not started is listed as AWAITING_FULFILLMENT, without the id of an EC2 instance", "", "Nodes that EC2 has started are counted against what the group requests, whatever else is listed: `cluster.Check`. `cloud.Cloud.Await`", "agent/cluster.TestCheck"),
		documented("fleet-start", "A fleet has 5 minutes at least to start its Spot Instances, before EMR gives up", "Members that were started further apart make no room for each other: `ssmcoord.launchSpan`", emrAPI+"API_SpotProvisioningSpecification.html"),
		documented("fleet-units", "The capacity of a fleet is counted in units, of which an instance type has a number, not in nodes", "`cluster.Group`. `cloud.ClusterSpec.FleetWeight`", emrMG+"emr-instance-fleet.html"),
		documented("all-regions", "DescribeRegions with AllRegions lists regions that are not enabled for the account too, and says which these are", "The command ledger list names them: `ec2.Census.Regions`. `cloud.Cloud.OtherRegion`", ec2API+"API_DescribeRegions.html"),
		documented("emr-rates", "Calls to EMR's API: DescribeCluster, ListInstanceGroups and ListBootstrapActions 10 at once, then 1 a second; ListInstances 10, then 0.5; ListInstanceFleets 5, then 0.5", "No node's run calls EMR. The command cluster check waits 15 s between two looks, and asks for bootstrap actions once: `cluster.Check`. `cloud.DefaultQuotas`", docs+"general/latest/gr/emr.html"),
		documented("managed-scaling", "Managed scaling adds and ends core and task nodes", "Spare addresses; task nodes need `--task-ips`, or are left as they are", emrMG+"emr-managed-scaling.html"),
		documented("imdsv2-releases", "Clusters without IMDSv1 need 5.32.0 or 6.2.0 at least", "The least release of the templates: `scripts/cloudformation/cluster.yaml`", emrMG+"emr-create-security-configuration.html"),
		documented("default-role", "The default role of EMR's nodes has ec2:Describe*, and neither Parameter Store nor Assign, Unassign and CreateTags", "The policy that is attached: `agent/iam/instance-profile-policy.json`", policy+"AmazonElasticMapReduceforEC2Role.html"),
		documented("service-policy-endpoint", "AmazonEMRServicePolicy_v2 lets EMR make an endpoint emr-service-vpce, and not delete it", "A step of cleaning up: `scripts/README.md`. The templates make the endpoint themselves", policy+"AmazonEMRServicePolicy_v2.html"),
		documented("service-policy-spot", "The same policy lacks the service-linked role for Spot Instances, which the former policy had", "The service role of templates and module has that statement: `scripts/cloudformation/roles.yaml`", policy+"AmazonEMRServicePolicy_v2.html", policy+"AmazonElasticMapReduceRole.html"),
		documented("emr8-labels", "EMR 8's labels are emr-spark-8.0.0 and emr-spark-8.1.0; there is no emr-8.0.0", "`lab.ReleaseLabel`. The doctor names the endpoint emr-service-cell01", emrRG+"emr-spark-8.0.0.html"),
		documented("support-ends", "7.5.0 is supported until 2026-11-21; 7.13 exists", "`cloud.DefaultRelease`", emrRG+"emr-standard-support.html"),
	}
}

func systems() []Fact {
	return []Fact{
		unverified("files-names", "EMR's files on a node have the names and fields that the samples have", "files of masters of EMR 5.12, 5.21, 5.23, 5.29 and 7.2 in public repositories", "The role has six sources: `emr.DetectRole`. Unknown and missing fields are tolerated: `emr.Files`", "agent/emr.TestSamples", "agent/emr.TestParseEMRFileTolerates", "agent/emr.TestFilesDisagree"),
		unverified("files-readable", "EMR's files may be readable by root only", "public scripts", "The program runs as root, and says which file it may not read: `emr.Files.Problems`", "agent/emr.TestReadFilesUnreadable"),
		unverified("files-fleet", "The files of a fleet's nodes have the fields of the EMR API, not those of groups with counts of units, and no roles in capitals", "a public user's scripts have MASTER", "A count that the files only suggest refuses nothing: `emr.Files.Requested`. Roles are compared without regard to case: `emr.ParseRole`. `cloud.Unverified.Files`"),
		unverified("files-three-masters", "The files of three masters say that there are three", "", "The number of masters is a hint: `emr.Files`. `cloud.FilesOneOfThree`"),
		unverified("files-several-entries", "Several entries of a role in the files are a fleet's instance types, since a cluster with groups has one master and one core group", "the [management guide]("+emrMG+"emr-instance-group-configuration.html) says so of clusters, not of the files", "Such counts are unknown: `emr.repeated`", "agent/emr.TestRequested"),
		unverified("files-group-added", "A group that was added later may be missing in job-flow.json", "", "The role is then CORE or TASK by the other sources: `emr.DetectRole`. `cloud.FilesNoGroup`", "agent/emr.TestDetectRole"),
		unverified("files-local-instance", "localInstance of job-flow-state.txt is about the node itself", "public scripts", "The role there counts: `emr.localInstance`. `cloud.FilesLocalInstance`"),
		unverified("files-emr8", "EMR 8 has the same files on its nodes", "", "The role comes from the EC2 tag then: `emr.RoleTag`. `cloud.FilesNone`. More: `scripts/README.md`"),
		unverified("emr8-shutdown", "EMR 8 runs shutdown actions", "", "Addresses of the dead are taken over: `ssmcoord.Terminated`", "cmd/emrsim/simulation.TestReplacedCoreNode"),
		documented("systems", "EMR 7 is Amazon Linux 2023; EMR 5.30 to 6 is Amazon Linux 2", "The interface is found by MAC: `ec2.Identity`. Three backends: `netcfg.Options`", emrMG+"emr-default-ami.html"),
		unverified("system-iptables", "EMR 7 may lack iptables, and docker, which brings it, is on core and task nodes only", "", "The native backend needs no program: `netcfg.Options`", "cmd/emrsim/lab.TestNodeWithoutIptables"),
		unverified("system-interface", "The primary interface is ens5 on EMR 7 and eth0 before", "", "The interface is found by MAC, never by name: `ec2.Identity`", "cmd/emrsim/lab.TestFirstLaunchAndRerun"),
		documented("secret-agent", "EMR's secret agent has NAT rules of its own in OUTPUT, and asks to preserve the NAT table", "Chains of the program's own; nothing of others is flushed: `netcfg.Config.Desired`", emrMG+"emr-ranger-components.html", github+"aws-samples/aws-emr-apache-ranger"),
		unverified("unit-names", "instance-controller.service, and the names of Hadoop's units: 18 of 23 are in AWS's documents or samples", "AWS's documents and samples for most", "The line Before= of the unit for boot: `agent/systemd/emr-static-ip-restore.service`. systemd ignores names that do not exist", "cmd/emrsim/boot.TestBoot"),
	}
}
