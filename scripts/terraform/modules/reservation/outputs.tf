output "reservation_ids" {
  description = "The reservations, by role"
  value       = { for role, reservation in aws_ec2_subnet_cidr_reservation.pool : role => reservation.id }
}
