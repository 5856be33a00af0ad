# VPC peering between the cluster's VPC and the data centre's, with the routes both ways. Both in the provider's account and region.

resource "aws_vpc_peering_connection" "this" {
  vpc_id      = var.vpc_id
  peer_vpc_id = var.peer_vpc_id
  auto_accept = true
  tags        = merge(var.tags, { Name = var.name })
}

resource "aws_route" "to_data_centre" {
  route_table_id            = var.route_table_id
  destination_cidr_block    = var.peer_vpc_cidr
  vpc_peering_connection_id = aws_vpc_peering_connection.this.id
}

resource "aws_route" "to_cluster" {
  route_table_id            = var.peer_route_table_id
  destination_cidr_block    = var.vpc_cidr
  vpc_peering_connection_id = aws_vpc_peering_connection.this.id
}
