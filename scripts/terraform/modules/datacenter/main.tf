# A VPC that plays the data centre. Its security group is the firewall: it admits the static IPs, and nothing else, to the HDFS ports.

data "aws_region" "current" {}

data "aws_availability_zones" "available" {
  state = "available"
}

locals {
  zone = var.availability_zone != null ? var.availability_zone : data.aws_availability_zones.available.names[0]
  pools = merge([for i, s in concat([{ master_ips = var.master_ips, core_ips = var.core_ips, task_ips = var.task_ips }], var.more_subnets) : {
    for role, cidr in { masters = s.master_ips, core = s.core_ips, task = s.task_ips } : join("", [role, i == 0 ? "" : " ${i + 1}"]) => cidr if cidr != null
  }]...)
  ports = { NameNode = 8020, DataNode = 9866 }
  admitted = merge([for role, cidr in local.pools : {
    for name, port in local.ports : "${role} to ${name}" => { cidr = cidr, port = port }
  }]...)
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(var.tags, { Name = var.name })
}

resource "aws_subnet" "this" {
  vpc_id            = aws_vpc.this.id
  cidr_block        = var.subnet_cidr
  availability_zone = local.zone
  tags              = merge(var.tags, { Name = var.name })
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.name })
}

resource "aws_route_table_association" "this" {
  subnet_id      = aws_subnet.this.id
  route_table_id = aws_route_table.this.id
}

resource "aws_security_group" "firewall" {
  name_prefix = "${var.name}-"
  description = "Data centre - HDFS from the static IPs and from nobody else"
  vpc_id      = aws_vpc.this.id
  tags        = merge(var.tags, { Name = var.name })
}

resource "aws_vpc_security_group_ingress_rule" "firewall" {
  for_each          = local.admitted
  security_group_id = aws_security_group.firewall.id
  description       = "EMR ${each.key}"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "firewall" {
  security_group_id = aws_security_group.firewall.id
  description       = "S3 - the route table leads nowhere else"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
  tags              = var.tags
}
