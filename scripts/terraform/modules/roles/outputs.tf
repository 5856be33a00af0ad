# What depends on the roles waits for their policies too.

output "service_role_arn" {
  description = "EMR's service role"
  value       = aws_iam_role.service.arn
  depends_on  = [aws_iam_role_policy_attachment.service, aws_iam_role_policy.service, aws_iam_role_policy.service_key, aws_iam_role_policy.spot]
}

output "instance_profile_arn" {
  description = "Instance profile of the nodes"
  value       = aws_iam_instance_profile.nodes.arn
  depends_on  = [aws_iam_role_policy.static_ip, aws_iam_role_policy.claim_tags, aws_iam_role_policy.s3, aws_iam_role_policy.key, aws_iam_role_policy.certificates]
}

output "node_role_arn" {
  description = "The nodes' role, for the policies of KMS keys and buckets"
  value       = aws_iam_role.nodes.arn
}
