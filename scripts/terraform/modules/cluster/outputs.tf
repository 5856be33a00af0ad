output "cluster_id" {
  description = "The cluster"
  value       = aws_emr_cluster.this.id
}

output "log_uri" {
  description = "Where the logs of the bootstrap action are, in CLUSTER/node/INSTANCE/bootstrap-actions"
  value       = aws_emr_cluster.this.log_uri
}
