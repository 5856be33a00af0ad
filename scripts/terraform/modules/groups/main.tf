# The security groups of EMR clusters in a private subnet, with the rules that EMR's documentation names.

data "aws_region" "current" {}

locals {
  emr8    = startswith(var.release_label, "emr-spark-8.")
  emr_tag = { for-use-with-amazon-emr-managed-policies = "true" } # AmazonEMRServicePolicy_v2 allows what has it
  groups = {
    master  = "EMR masters, managed by EMR"
    core    = "EMR core and task nodes, managed by EMR"
    service = "EMR service access to a private subnet, managed by EMR"
  }
  nodes = ["master", "core"]
  # All of TCP, UDP and ICMP between the nodes.
  between = merge([for to in local.nodes : merge([for from in local.nodes : {
    "${to} from ${from} tcp"  = { to = to, from = from, protocol = "tcp", first = 0, last = 65535 }
    "${to} from ${from} udp"  = { to = to, from = from, protocol = "udp", first = 0, last = 65535 }
    "${to} from ${from} icmp" = { to = to, from = from, protocol = "icmp", first = -1, last = -1 }
  }]...)]...)
  service = { for name, rule in {
    "master from service" = { to = "master", from = "service", protocol = "tcp", first = 8443, last = 8443 }
    "core from service"   = { to = "core", from = "service", protocol = "tcp", first = 8443, last = 8443 }
    "service from master" = { to = "service", from = "master", protocol = "tcp", first = 9443, last = 9443 } # since emr-5.30.0
  } : name => rule if !local.emr8 }
}

resource "aws_security_group" "emr" {
  for_each               = local.groups
  name_prefix            = "${var.name}-${each.key}-"
  description            = each.value
  vpc_id                 = var.vpc_id
  revoke_rules_on_delete = true # EMR leaves its rules behind, which name the other groups
  tags                   = merge(var.tags, local.emr_tag, { Name = "${var.name}-${each.key}" })
}

resource "aws_vpc_security_group_ingress_rule" "emr" {
  for_each                     = merge(local.between, local.service)
  security_group_id            = aws_security_group.emr[each.value.to].id
  referenced_security_group_id = aws_security_group.emr[each.value.from].id
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.first
  to_port                      = each.value.last
  tags                         = var.tags
}

resource "aws_vpc_security_group_egress_rule" "nodes" {
  for_each          = toset(local.nodes)
  security_group_id = aws_security_group.emr[each.key].id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "service" {
  for_each                     = local.emr8 ? toset([]) : toset(local.nodes)
  security_group_id            = aws_security_group.emr["service"].id
  referenced_security_group_id = aws_security_group.emr[each.key].id
  ip_protocol                  = "tcp"
  from_port                    = 8443
  to_port                      = 8443
  tags                         = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "bastion" {
  for_each                     = var.bastion ? toset(local.nodes) : toset([])
  security_group_id            = aws_security_group.emr[each.key].id
  referenced_security_group_id = var.bastion_security_group_id
  description                  = "SSH from the bastion"
  ip_protocol                  = "tcp"
  from_port                    = 22
  to_port                      = 22
  tags                         = var.tags
}

# EMR 8: https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-spark-8.0.0.html
resource "aws_vpc_security_group_ingress_rule" "service_from_vpc" {
  count             = local.emr8 ? 1 : 0
  security_group_id = aws_security_group.emr["service"].id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.vpc_cidr
  tags              = var.tags
}

resource "aws_vpc_endpoint" "emr" {
  count               = local.emr8 ? 1 : 0
  vpc_id              = var.vpc_id
  vpc_endpoint_type   = "Interface"
  service_name        = "aws.api.${data.aws_region.current.id}.emr-service-cell01"
  private_dns_enabled = true
  subnet_ids          = [var.endpoint_subnet_id]
  security_group_ids  = [aws_security_group.emr["service"].id]
  tags                = merge(var.tags, local.emr_tag, { Name = "${var.name}-emr" }) # EMR may modify it
  lifecycle {
    precondition {
      condition     = var.endpoint_subnet_id != null
      error_message = "EMR 8 needs endpoint_subnet_id."
    }
  }
}
