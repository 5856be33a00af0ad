# A private DNS zone with a name for the masters' static IPs. They are known before the launch, so the record is made once, and holds for every cluster
# with these addresses.

resource "aws_route53_zone" "this" {
  name    = var.zone_name
  comment = "static IPs of EMR clusters"
  tags    = merge(var.tags, { Name = var.name })

  dynamic "vpc" {
    for_each = concat([var.vpc_id], var.peer_vpc_id == null ? [] : [var.peer_vpc_id])
    content {
      vpc_id = vpc.value
    }
  }

  lifecycle {
    precondition {
      condition     = length(var.master_addresses) > 0
      error_message = "The zone needs master_addresses."
    }
  }
}

resource "aws_route53_record" "master" {
  zone_id = aws_route53_zone.this.zone_id
  name    = "master.${var.zone_name}"
  type    = "A"
  ttl     = 60
  records = var.master_addresses
}
