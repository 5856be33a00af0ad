output "cluster_id" {
  description = "The cluster"
  value       = module.cluster.cluster_id
}

output "log_uri" {
  description = "Where the logs of the bootstrap action are, in CLUSTER/node/INSTANCE/bootstrap-actions"
  value       = module.cluster.log_uri
}

output "node_subnet_id" {
  description = "The subnet of the nodes, which is also the name of the ledger"
  value       = module.network.subnet_id
  precondition {
    condition     = length(local.outside) == 0
    error_message = "Each pool must lie in its subnet. Outside: ${join(", ", local.outside)}."
  }
}

output "more_node_subnet_ids" {
  description = "The more subnets of the nodes"
  value       = module.network.more_subnet_ids
}

output "master_name" {
  description = "The name of the masters' static IPs; null without a zone"
  value       = one(module.dns[*].master_name)
}

output "bastion_public_ip" {
  description = "Where to SSH to, as ec2-user; null without a bastion"
  value       = module.network.bastion_public_ip
}

output "firewall_id" {
  description = "The security group that is the data centre's firewall; null without a data centre"
  value       = one(module.datacenter[*].firewall_id)
}

output "hdfs_instance_id" {
  description = "The HDFS host; null without one"
  value       = one(module.datacenter[*].hdfs_instance_id)
}

output "hdfs_uri" {
  description = "What to copy; null without an HDFS host"
  value       = one(module.datacenter[*].hdfs_uri)
}

output "data_uri" {
  description = "Where to copy it"
  value       = "s3://${local.data_bucket}/${var.data_prefix}"
}

output "peering_id" {
  description = "The peering; null without a data centre"
  value       = one(module.peering[*].peering_id)
}

output "node_role_arn" {
  description = "The nodes' role, for the policies of KMS keys and buckets"
  value       = module.roles.node_role_arn
}

output "reservation_ids" {
  description = "The subnet CIDR reservations, by role; null without any"
  value       = one(module.reservation[*].reservation_ids)
}
