output "document_name" {
  description = "The document, for aws ssm send-command --document-name"
  value       = aws_ssm_document.node.name
}

output "association_id" {
  description = "The association; null without a cluster"
  value       = one(aws_ssm_association.node[*].association_id)
}
