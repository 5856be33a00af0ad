# The VPC of the EMR cluster: a private subnet for the nodes, S3 by a gateway endpoint, Parameter Store and EC2 by interface endpoints.

data "aws_region" "current" {}

data "aws_partition" "current" {}

data "aws_availability_zones" "available" {
  state = "available"
}

locals {
  zone   = var.availability_zone != null ? var.availability_zone : data.aws_availability_zones.available.names[0]
  public = var.nat_gateway || var.bastion
  # Of each more subnet of the nodes: the next zone of the region, where none is given.
  zones   = [for i, s in var.more_node_subnets : s.availability_zone != null ? s.availability_zone : data.aws_availability_zones.available.names[i + 1]]
  emr_tag = { for-use-with-amazon-emr-managed-policies = "true" } # AmazonEMRServicePolicy_v2 allows what has it
  # The interface endpoints, and what needs them.
  interface_endpoints = toset(concat(["ssm", "ec2"], var.kms_endpoint ? ["kms"] : []))
  # How the name of EC2's endpoint service begins, where not as elsewhere. In aws-cn documented; in the iso partitions as the AWS CDK has it, not verified.
  ec2_prefixes = { aws-cn = "cn.com.amazonaws", aws-iso = "gov.ic.c2s", aws-iso-b = "gov.sgov.sc2s" }
  prefixes     = { ec2 = lookup(local.ec2_prefixes, data.aws_partition.current.partition, "com.amazonaws") }
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true # the interface endpoints' private names need both
  enable_dns_hostnames = true
  tags                 = merge(var.tags, local.emr_tag, { Name = var.name })
}

resource "aws_subnet" "nodes" {
  vpc_id            = aws_vpc.this.id
  cidr_block        = var.node_subnet_cidr
  availability_zone = local.zone
  tags              = merge(var.tags, local.emr_tag, { Name = "${var.name}-nodes" })
}

resource "aws_subnet" "more_nodes" {
  count             = length(var.more_node_subnets)
  vpc_id            = aws_vpc.this.id
  cidr_block        = var.more_node_subnets[count.index].cidr
  availability_zone = local.zones[count.index]
  tags              = merge(var.tags, local.emr_tag, { Name = "${var.name}-nodes-${count.index + 2}" })
  lifecycle {
    precondition {
      condition     = length(distinct(concat([local.zone], local.zones))) == length(local.zones) + 1
      error_message = "EMR takes one subnet of each zone: give each of the more subnets an availability_zone of its own."
    }
  }
}

resource "aws_route_table" "nodes" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.name}-nodes" })
}

resource "aws_route_table_association" "nodes" {
  subnet_id      = aws_subnet.nodes.id
  route_table_id = aws_route_table.nodes.id
}

resource "aws_route_table_association" "more_nodes" {
  count          = length(var.more_node_subnets)
  subnet_id      = aws_subnet.more_nodes[count.index].id
  route_table_id = aws_route_table.nodes.id
}

# The interface endpoints are in a subnet of their own, so that none of them takes an address of the pool.
resource "aws_subnet" "endpoints" {
  vpc_id            = aws_vpc.this.id
  cidr_block        = var.endpoint_subnet_cidr
  availability_zone = local.zone # traffic between zones is charged
  tags              = merge(var.tags, { Name = "${var.name}-endpoints" })
}

resource "aws_route_table" "endpoints" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.name}-endpoints" })
}

resource "aws_route_table_association" "endpoints" {
  subnet_id      = aws_subnet.endpoints.id
  route_table_id = aws_route_table.endpoints.id
}

resource "aws_security_group" "endpoints" {
  name_prefix = "${var.name}-endpoints-"
  description = "Interface endpoints - HTTPS from the subnet of the nodes"
  vpc_id      = aws_vpc.this.id
  tags        = merge(var.tags, { Name = "${var.name}-endpoints" })
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id = aws_security_group.endpoints.id
  description       = "HTTPS from the nodes"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.node_subnet_cidr
  tags              = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "more_endpoints" {
  count             = length(var.more_node_subnets)
  security_group_id = aws_security_group.endpoints.id
  description       = "HTTPS from the nodes"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.more_node_subnets[count.index].cidr
  tags              = var.tags
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${data.aws_region.current.id}.s3"
  route_table_ids   = [aws_route_table.nodes.id]
  tags              = merge(var.tags, { Name = "${var.name}-s3" })
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = local.interface_endpoints
  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = "${lookup(local.prefixes, each.key, "com.amazonaws")}.${data.aws_region.current.id}.${each.key}"
  private_dns_enabled = true
  subnet_ids          = [aws_subnet.endpoints.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  tags                = merge(var.tags, { Name = "${var.name}-${each.key}" })
}
