output "peering_id" {
  description = "The peering"
  value       = aws_vpc_peering_connection.this.id
}
