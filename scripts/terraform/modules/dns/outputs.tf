output "master_name" {
  description = "The name of the masters' static IPs"
  value       = aws_route53_record.master.name
}
