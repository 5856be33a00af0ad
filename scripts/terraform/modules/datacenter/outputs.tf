output "peer_vpc_id" {
  description = "The VPC"
  value       = aws_vpc.this.id
}

output "peer_vpc_cidr" {
  description = "CIDR of the VPC"
  value       = aws_vpc.this.cidr_block
}

output "peer_route_table_id" {
  description = "Route table of the subnet"
  value       = aws_route_table.this.id
}

output "firewall_id" {
  description = "The security group that is the firewall"
  value       = aws_security_group.firewall.id
}

output "hdfs_instance_id" {
  description = "The HDFS host; null without one"
  value       = one(aws_instance.hdfs[*].id)
}

output "hdfs_uri" {
  description = "Where hadoop distcp copies from; null without an HDFS host"
  value       = var.hdfs_host ? "hdfs://${var.hdfs_host_ip}:8020/data/sample" : null
}
