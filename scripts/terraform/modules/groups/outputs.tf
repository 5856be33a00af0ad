output "master_security_group_id" {
  description = "Security group of the masters"
  value       = aws_security_group.emr["master"].id
}

output "core_security_group_id" {
  description = "Security group of the core and task nodes"
  value       = aws_security_group.emr["core"].id
}

output "service_security_group_id" {
  description = "Security group of EMR's service access"
  value       = aws_security_group.emr["service"].id
}
