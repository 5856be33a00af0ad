output "vpc_id" {
  description = "The VPC"
  value       = aws_vpc.this.id
}

output "vpc_cidr" {
  description = "CIDR of the VPC"
  value       = aws_vpc.this.cidr_block
}

output "subnet_id" {
  description = "The subnet of the nodes, which is also the name of the ledger"
  value       = aws_subnet.nodes.id
}

output "more_subnet_ids" {
  description = "The more subnets of the nodes"
  value       = aws_subnet.more_nodes[*].id
}

output "route_table_id" {
  description = "Route table of these subnets"
  value       = aws_route_table.nodes.id
}

output "endpoint_subnet_id" {
  description = "The subnet of the interface endpoints"
  value       = aws_subnet.endpoints.id
}

output "bastion_security_group_id" {
  description = "Security group of the bastion; null without one"
  value       = one(aws_security_group.bastion[*].id)
}

output "bastion_public_ip" {
  description = "Where to SSH to, as ec2-user; null without a bastion"
  value       = one(aws_instance.bastion[*].public_ip)
}
