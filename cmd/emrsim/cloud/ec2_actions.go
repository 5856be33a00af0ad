package cloud

func ec2Actions() []*action {
	return []*action{
		{service: "ec2", name: "AssignPrivateIpAddresses", prepare: prepareAssign},
		{service: "ec2", name: "UnassignPrivateIpAddresses", prepare: prepareUnassign},
		{service: "ec2", name: "CreateNetworkInterface", prepare: prepareCreateNetworkInterface},
		{service: "ec2", name: "DeleteNetworkInterface", prepare: prepareDeleteNetworkInterface},
		{service: "ec2", name: "CreateTags", prepare: prepareCreateTags},
		{service: "ec2", name: "DeleteTags", prepare: prepareDeleteTags},
		{service: "ec2", name: "DescribeInstances", prepare: prepareDescribeInstances},
		{service: "ec2", name: "DescribeNetworkInterfaces", prepare: prepareDescribeNetworkInterfaces},
		{service: "ec2", name: "DescribeTags", prepare: prepareDescribeTags},
		{service: "ec2", name: "DescribeInstanceTypes", prepare: prepareDescribeInstanceTypes},
		{service: "ec2", name: "DescribeSubnets", prepare: prepareDescribeSubnets},
		{service: "ec2", name: "DescribeRegions", prepare: prepareDescribeRegions},
		{service: "ec2", name: "DescribePrefixLists", prepare: prepareDescribePrefixLists},
		{service: "ec2", name: "DescribeVpcs", prepare: prepareDescribeVpcs},
		{service: "ec2", name: "DescribeVpcEndpoints", prepare: prepareDescribeVpcEndpoints},
		{service: "ec2", name: "DescribeRouteTables", prepare: prepareDescribeRouteTables},
		{service: "ec2", name: "DescribeSecurityGroups", prepare: prepareDescribeSecurityGroups},
		{service: "ec2", name: "GetSubnetCidrReservations", prepare: prepareGetSubnetCidrReservations},
	}
}

func (c *Cloud) ec2ARN(kind, id string) string {
	return "arn:aws:ec2:" + c.opts.Region + ":" + c.opts.Account + ":" + kind + "/" + id
}

func stsActions() []*action {
	return []*action{{service: "sts", name: "GetCallerIdentity", prepare: prepareGetCallerIdentity}}
}
