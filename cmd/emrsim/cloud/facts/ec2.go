package facts

func addresses() []Fact {
	return []Fact{
		documented("assign-one-holder", "In a subnet an address belongs to one network interface at most. Without reassignment EC2 refuses an address of another interface",
			"The lock of the protocol: `ec2.Node.Assign`. `cloud.Options.NoArbiter` breaks it, to show that tests fail then", ec2API+"API_AssignPrivateIpAddresses.html"),
		unverified("assign-held-words", "The refusal of another interface's secondary address is InvalidParameterValue, \"[10.0.1.21] assigned, but move is not allowed.\"", "error texts in public issue threads",
			"`ec2.isHeldElsewhere`. With other words the node asks EC2 who holds the address. Words that are not known are a refusal, never a grant: `ec2.isUnknownRefusal`. `cloud.Unverified.Refusals`"),
		unverified("assign-primary-words", "The refusal of another interface's primary address is InvalidParameterValue, \"secondary-addresses\"", "[aws-sdk-go 2864]("+github+"aws/aws-sdk-go/issues/2864), [fog-aws 115]("+github+"fog/fog-aws/issues/115)", "The same: `ec2.isHeldElsewhere`"),
		unverified("assign-outside-words", "An address outside the subnet, and one that AWS reserves, are refused with InvalidParameterValue and the texts \"does not fall within\" and \"reserved range\"", "error texts in public issue threads",
			"`ec2.isBadAddress` ends the run with exit code 2. The run refuses such addresses before it asks EC2: `check.Pools`", "agent/ec2.TestRefusals", "agent/ec2.TestUnknownRefusal", "agent/ec2.TestRefusedAddress"),
		documented("assign-codes", "The codes InvalidParameterValue, PrivateIpAddressLimitExceeded, InvalidNetworkInterfaceID.NotFound, UnauthorizedOperation and RequestLimitExceeded",
			"`ec2.isENIFull`, `ec2.IsPermission`, `ec2.isThrottleCode`", ec2API+"errors-overview.html"),
		unverified("assign-in-prefix", "An address inside a prefix that is delegated to another interface is refused, with a code that is not known. No filter for addresses finds the interface", "[amazon-vpc-cni-k8s 1836]("+github+"aws/amazon-vpc-cni-k8s/issues/1836)",
			"A refusal in unknown words leads to the next address. If EC2 refuses that one too, the run ends: `ssmcoord.RefusedError.Every`"),
		unverified("assign-again", "Assigning an address that the same interface has already is a success", "two emulators", "`ec2.Node.Assign` takes the success, and looks at the interface after an error: `ec2.Node.whose`. The doctor takes a success for a proof of the permission: `doctor.examination.try`. `cloud.Options.AssignSameENI`"),
		unverified("assign-permission-first", "EC2 looks at the permission before it looks at the address", "", "The doctor says that the call was not refused, and not that it is allowed, after a refusal for the address. A run without the permission ends with exit code 4 either way: `ec2.IsPermission`. `cloud.Unverified.AddressFirst`"),
		documented("assign-async", "The assignment takes effect asynchronously: the first packets may go nowhere", "`--verify` goes on trying: `verify.Prober.Probe`. `cloud.Options.RemapDelay`", ec2API+"API_AssignPrivateIpAddresses.html"),
		unverified("assign-after-unassign", "An address can be assigned as soon as the call that unassigned it was answered", "", "A refusal leads to the next address: `ssmcoord.RefusedError`. `cloud.Unverified.FreeDelay`"),
		unverified("unassign-absent", "Unassigning an address that the interface does not have is refused", "moto: a success", "`ec2.Node.Unassign` looks at the interface after an error. `cloud.Unverified.UnassignAbsent`"),
		documented("addresses-for-each-type", "How many addresses an interface takes depends on the instance type (m5.xlarge: 15)", "The doctor asks DescribeInstanceTypes, only if there is more than the primary address. `ec2.isENIFull`", ec2UG+"AvailableIpPerENI.html"),
		unverified("addresses-unattached", "An interface that is not attached to an instance takes more addresses than a small instance allows", "", "Nothing in the program: a node's interface is attached. The command certify of emrsim works with interfaces that are not: `cloud.eni.instance`",
			"cmd/emrsim/cloud.TestConformance"),
		documented("freed-address", "A freed address may go to any new instance of the subnet, unless an explicit subnet CIDR reservation covers it", "The doctor's check `doctor.examination.reservation`. The templates make reservations: `scripts/cloudformation/network.yaml`", vpcUG+"subnet-cidr-reservation.html"),
		documented("reserved-addresses", "The first four addresses and the last of a subnet are AWS's", "Refused before anything is changed: `check.Reserved`", vpcUG+"subnet-sizing.html"),
		documented("filter-addresses", "The filter addresses.private-ip-address of DescribeNetworkInterfaces finds secondary addresses, too", "Who holds an address is asked by it: `ec2.Node.Holders`", ec2API+"API_DescribeNetworkInterfaces.html"),
		documented("describe-late", "Describe calls are eventually consistent. AWS's advice is to retry for some time", "`ssmcoord.DescribeLag`, 30 s; the bound is a choice. `cloud.Options.StaleEC2`", ec2Dev+"eventual-consistency.html"),
	}
}

func instances() []Fact {
	return []Fact{
		documented("rate-assign", "Assign and Unassign: 100 calls at once, then 5 a second, for each account and region", "`ssmcoord.assignBurst`, `ssmcoord.assignRate`. `cloud.Options.Quotas`, `cloud.DefaultQuotas`", ec2Dev+"ec2-api-throttling.html"),
		documented("rate-describe", "Describe calls with ids or filters: 100 at once, then 20 a second; without: 50, then 10. CreateTags: 100, then 10", "One DescribeInstances with a filter for each run: `ec2.Node.Survey`. `cloud.DefaultQuotas`", ec2Dev+"ec2-api-throttling.html"),
		documented("terminated-hour", "Terminated instances are described for about an hour, then not at all", "`ssmcoord.Terminated` and `ssmcoord.Unseen` both mean that the owner is gone, the latter after `ssmcoord.DescribeLag`. `cloud.Options.TerminatedVisible`", ec2UG+"terminating-instances.html"),
		documented("shutdown-keeps", "An instance keeps its addresses while it is shutting down", "A node waits for them: `ssmcoord.Living`", ec2UG+"ec2-instance-lifecycle.html"),
		unverified("shutdown-time", "An instance is shutting down for about 30 s", "", "The wait has the run's deadline only: `agent.DefaultTimeout`. `cloud.Options.ShutdownTime`"),
		documented("pending", "A new instance is pending before it is running, and has its addresses then", "`ssmcoord.Living` includes pending. `cloud.Options.BootTime`", ec2UG+"ec2-instance-lifecycle.html"),
		documented("scaling-tag", "Auto Scaling tags each instance that it launches with the name of its group, aws:autoscaling:groupName", "Outside EMR the members of a launch are found by this tag: `ec2.Node.Survey`", asUG+"ec2-auto-scaling-tagging.html"),
		documented("reservation", "Instances that one call launched have one reservation", "Outside EMR and Auto Scaling they are the members of a launch: `ec2.Node.Survey`", ec2API+"API_Reservation.html"),
		documented("stopped-keeps", "Stopped instances keep their interface and its addresses", "`ssmcoord.Living` includes stopped", ec2UG+"Stop_Start.html"),
		documented("tags-reserved", "Tag keys that begin with aws: are AWS's own", "Refused in `--claim-tag`: `tag.Parse`", ec2UG+"Using_Tags.html"),
		documented("iam-interfaces", "Policies can narrow Assign and Unassign to network interfaces, with conditions such as ec2:Subnet. Describe calls know no resources", "`agent/iam/instance-profile-policy.json`", docs+"service-authorization/latest/reference/list_amazonec2.html"),
		documented("throttle-codes", "Above its quota EC2 answers RequestLimitExceeded, Parameter Store ThrottlingException", "`ec2.isThrottleCode`. `cloud.throttled`", ec2Dev+"ec2-api-throttling.html", ssmAPI+"CommonErrors.html"),
		documented("response-forms", "EC2 answers each call with the element OPERATIONResponse, and errors with Response. Parameter Store answers with a JSON object", "Anything else is said to be something else's answer: `ec2.judgeAnswer`", github+"aws/aws-sdk-go-v2/tree/main/codegen/sdk-codegen/aws-models"),
		unverified("no-redirects", "AWS's endpoints send no redirects", "", "None is followed: `ec2.HTTPClient`", "agent/ec2.TestOddAnswers", "agent/ec2.TestOddAnswer"),
		documented("partitions", "A region has a partition, which its ARNs name", "`ec2.Partition`", github+"aws/aws-sdk-go-v2/tree/main/internal/endpoints/awsrulesfn"),
		documented("china-endpoints", "The VPC endpoint service of EC2 and STS is cn.com.amazonaws.REGION.ec2 (.sts) in China, that of Parameter Store com.amazonaws.REGION.ssm", "`ec2.EndpointService`; the templates: `scripts/cloudformation/network.yaml`", github+"aws/aws-cdk/blob/main/packages/aws-cdk-lib/aws-ec2/lib/vpc-endpoint.ts"),
		unverified("iso-endpoints", "In aws-iso and aws-iso-b the service of EC2 is gov.ic.c2s.REGION.ec2 and gov.sgov.sc2s.REGION.ec2", "", "Only the words of remedies and the templates: `ec2.EndpointService`", "agent/ec2.TestEndpointService"),
		documented("endpoint-policy-principal", "A statement in the policy of a VPC endpoint needs a Principal", "Remedies about such a policy have one: `ec2.ExplainAt`", iamUG+"reference_policies_elements_principal.html"),
		documented("clock-bound", "A request whose date is more than 5 minutes off is refused", "Exit code 4 with the clock as the remedy: `ec2.ClockError`. `cloud.Options.ClockSkew`. The services' own lists of errors say 15 minutes", iamUG+"reference_sigv.html"),
		unverified("clock-codes", "The codes of such a refusal: EC2 RequestExpired or AuthFailure, Parameter Store InvalidSignatureException", "public issue threads", "`ec2.isCredentialError`, `ec2.ClockError`", "agent/doctor.TestDoctorClock", "agent/doctor.TestWrongClock", "cmd/emrsim/lab.TestWrongClock"),
		unverified("authfailure-clock", "AuthFailure says nothing about the clock, unless its text or the date of the answer does", "public issue threads", "The clock is blamed only then: `ec2.ClockError`", "agent/ec2.TestClockThatAgrees", "agent/doctor.TestWrongClock"),
	}
}
