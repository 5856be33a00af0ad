# The ways out and in: a NAT gateway, a bastion. The static IPs need neither.

resource "aws_subnet" "public" {
  count             = local.public ? 1 : 0
  vpc_id            = aws_vpc.this.id
  cidr_block        = var.public_subnet_cidr
  availability_zone = local.zone
  tags              = merge(var.tags, { Name = "${var.name}-public" })
}

resource "aws_internet_gateway" "this" {
  count  = local.public ? 1 : 0
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.name })
}

resource "aws_route_table" "public" {
  count  = local.public ? 1 : 0
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.name}-public" })
}

resource "aws_route_table_association" "public" {
  count          = local.public ? 1 : 0
  subnet_id      = aws_subnet.public[0].id
  route_table_id = aws_route_table.public[0].id
}

resource "aws_route" "public" {
  count                  = local.public ? 1 : 0
  route_table_id         = aws_route_table.public[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_eip" "nat" {
  count      = var.nat_gateway ? 1 : 0
  domain     = "vpc"
  tags       = merge(var.tags, { Name = "${var.name}-nat" })
  depends_on = [aws_internet_gateway.this]
}

resource "aws_nat_gateway" "this" {
  count         = var.nat_gateway ? 1 : 0
  subnet_id     = aws_subnet.public[0].id
  allocation_id = aws_eip.nat[0].id
  tags          = merge(var.tags, { Name = var.name })
}

resource "aws_route" "nodes" {
  count                  = var.nat_gateway ? 1 : 0
  route_table_id         = aws_route_table.nodes.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[0].id
}

data "aws_ssm_parameter" "bastion_image" {
  count = var.bastion ? 1 : 0
  name  = var.bastion_image
}

resource "aws_security_group" "bastion" {
  count       = var.bastion ? 1 : 0
  name_prefix = "${var.name}-bastion-"
  description = "Bastion - SSH from outside, SSH to the nodes"
  vpc_id      = aws_vpc.this.id
  tags        = merge(var.tags, { Name = "${var.name}-bastion" })
}

resource "aws_vpc_security_group_ingress_rule" "bastion" {
  count             = var.bastion ? 1 : 0
  security_group_id = aws_security_group.bastion[0].id
  description       = "SSH from the operators"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = var.bastion_client_cidr
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "bastion" {
  count             = var.bastion ? 1 : 0
  security_group_id = aws_security_group.bastion[0].id
  description       = "SSH to the nodes"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = var.node_subnet_cidr
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "more_bastion" {
  count             = var.bastion ? length(var.more_node_subnets) : 0
  security_group_id = aws_security_group.bastion[0].id
  description       = "SSH to the nodes"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = var.more_node_subnets[count.index].cidr
  tags              = var.tags
}

resource "aws_instance" "bastion" {
  count                       = var.bastion ? 1 : 0
  ami                         = data.aws_ssm_parameter.bastion_image[0].value
  instance_type               = var.bastion_instance_type
  key_name                    = var.key_name
  subnet_id                   = aws_subnet.public[0].id
  associate_public_ip_address = true
  vpc_security_group_ids      = [aws_security_group.bastion[0].id]
  tags                        = merge(var.tags, { Name = "${var.name}-bastion" })
  depends_on                  = [aws_route.public]

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  root_block_device {
    encrypted   = true
    volume_type = "gp3"
  }
  lifecycle {
    ignore_changes = [ami] # a newer image is no reason for another bastion
    precondition {
      condition     = var.key_name != null
      error_message = "A bastion needs key_name."
    }
  }
}
