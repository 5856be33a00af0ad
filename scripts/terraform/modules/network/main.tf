# The VPC of the EMR cluster: a private subnet for the nodes, S3 by a gateway endpoint, Parameter Store and EC2 by interface endpoints.

data "aws_region" "current" {}

data "aws_availability_zones" "available" {
  state = "available"
}

locals {
  zone    = var.availability_zone != null ? var.availability_zone : data.aws_availability_zones.available.names[0]
  public  = var.nat_gateway || var.bastion
  emr_tag = { for-use-with-amazon-emr-managed-policies = "true" } # AmazonEMRServicePolicy_v2 allows what has it
  # The interface endpoints, and what needs them.
  interface_endpoints = toset(concat(["ssm", "ec2"], var.kms_endpoint ? ["kms"] : []))
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

resource "aws_route_table" "nodes" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.name}-nodes" })
}

resource "aws_route_table_association" "nodes" {
  subnet_id      = aws_subnet.nodes.id
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
  service_name        = "com.amazonaws.${data.aws_region.current.id}.${each.key}"
  private_dns_enabled = true
  subnet_ids          = [aws_subnet.endpoints.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  tags                = merge(var.tags, { Name = "${var.name}-${each.key}" })
}
