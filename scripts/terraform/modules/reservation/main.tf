# Subnet CIDR reservations for the static IPs, so that EC2 gives them to nothing else.

resource "aws_ec2_subnet_cidr_reservation" "pool" {
  for_each         = { for role, cidr in { master = var.master_ips, core = var.core_ips, task = var.task_ips } : role => cidr if cidr != null }
  subnet_id        = var.subnet_id
  cidr_block       = each.value
  reservation_type = "explicit"
  description      = "static IPs of EMR nodes: ${each.key}"
}
