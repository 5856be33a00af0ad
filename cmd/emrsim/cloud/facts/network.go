package facts

func metadata() []Fact {
	return []Fact{
		unverified("imds-lag", "IMDS lists a new secondary address up to about 30 s late", "observed by others", "`ssmcoord.DescribeLag`; five absent checks before a withdrawal: `state.AbsentChecks`. `cloud.Options.IMDSDelay`"),
		unverified("imds-boot", "IMDS of a new instance may refuse, hang, fail or be empty for some seconds", "observed by others", "`agent.DefaultIMDSTimeout`. `cloud.Options.IMDSBoot`, `cloud.Options.IMDSBootMode`"),
		unverified("imds-credentials", "IMDS has the role's credentials when the instance boots", "", "`ec2.profileTimeout`, 5 s of waiting. `cloud.Unverified.CredentialsDelay`"),
		documented("imds-no-role", "IMDS has 404 for the credentials of an instance without a role", "Exit code 4: `ec2.isEmptyRoleList`", ec2UG+"instancedata-data-retrieval.html"),
		unverified("imds-assume-role", "IMDS answers HTTP 200 with the code AssumeRoleUnauthorizedAccess if EC2 may not assume the role; whether it passes by itself is not known", "[aws-cli 2060]("+github+"aws/aws-cli/issues/2060)",
			"Exit code 4 at once, with the trust policy as the remedy; a further run works: `ec2.imdsCode`", "agent/ec2.TestNoCredentials"),
		documented("imds-public", "IMDS has network/interfaces/macs/MAC/public-ipv4s, and 404 where there is none", "A node with a public address has scope private: `agent.Report`. 404 alone is taken for none: `ec2.IMDS`. `cloud.Cloud.MapPublicIP`", ec2UG+"instancedata-data-categories.html"),
	}
}

func network() []Fact {
	return []Fact{
		documented("public-primary", "A public IPv4 address is mapped to the primary private address", "A static IP has no way through an Internet gateway: `cloud.Cloud.Gateway`", ec2UG+"using-instance-addressing.html"),
		unverified("gateway-drops", "The Internet gateway drops packets from an address that no public one is mapped to", "it follows from public-primary", "`--snat-scope` external and all are refused there. The lab's router drops them: `cloud.Cloud.Gateway`", "cmd/emrsim/lab.TestPublicSubnet"),
		unverified("public-second-eni", "EMR attaches its second interface to masters in private subnets only", "", "The second interface is never touched: the primary one is found by its MAC: `ec2.Identity`. `cloud.Unverified.PublicSecondENI`"),
		documented("gateway-endpoints", "Addresses behind a gateway endpoint (S3, DynamoDB) are public ones", "Scope external leaves them alone; a run asks DescribePrefixLists once: `ec2.Node.GatewayNetworks`", vpcUG+"gateway-endpoints.html"),
		documented("vpc-source-ip", "aws:VpcSourceIp in a policy is compared with aws:Ec2InstanceSourcePrivateIPv4, the primary IP. AWS's sample policy for buckets denies where they differ",
			"Scope external excepts S3 and DynamoDB; `--exclude-cidr`. `cloud.SourceIPBucketPolicy`: the model's S3 behind a gateway endpoint sees the packet's source", iamUG+"reference_policies_condition-keys.html"),
		documented("namenode-addresses", "The NameNode takes a DataNode's address from its connection, and by default rejects one that has no name", "Traffic inside the VPC keeps the primary IP: scope external, `netcfg.Config.Desired`", "https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-hdfs/hdfs-default.xml"),
		documented("flow-logs", "Flow logs: srcaddr has the primary address, pkt-srcaddr the packet's own", "Told in the guide to deploying: `scripts/README.md`", vpcUG+"flow-logs.html"),
		documented("subnet-arn", "The condition key ec2:Subnet of a network interface is an ARN", "The policies have an ARN: `agent/iam/instance-profile-policy.json`", ec2UG+"ExamplePolicies_EC2.html"),
		unverified("shared-subnet-arn", "In a shared subnet that ARN has the owner's account, also for Assign", "inferred from RunInstances", "The policies allow any account in it: `agent/iam/instance-profile-policy.json`. `cloud.Unverified.ShareARNOwn`"),
		documented("shared-unseen", "Participants of a shared VPC see neither the tags of the owner's resources nor other participants' interfaces", "An address of theirs is refused by EC2, and the node takes the next: `ssmcoord.RefusedError`. `cloud.Cloud.ShareVPC`, `cloud.Cloud.AddForeignENI`", vpcUG+"vpc-sharing.html"),
		unverified("shared-assign", "A participant can assign secondary addresses to its own interfaces in a shared subnet", "", "If not, the run ends with exit code 4: `ec2.IsPermission`. `cloud.Unverified.ShareRefuses`"),
		documented("dhcp-secondary", "On Amazon Linux 2 a DHCP renewal removes secondary addresses that IMDS does not list; on 2023 a timer rewrites them each minute", "Restore each minute: `agent.Restore`. An entry is kept whatever its prefix length: `netcfg.Config`", github+"amazonlinux/amazon-ec2-net-utils"),
	}
}
