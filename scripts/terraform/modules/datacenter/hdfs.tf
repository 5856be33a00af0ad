# A host with a single-node HDFS and a little data.

data "aws_partition" "current" {}

data "aws_ssm_parameter" "hdfs_image" {
  count = var.hdfs_host ? 1 : 0
  name  = var.hdfs_host_image
}

resource "aws_vpc_endpoint" "s3" { # Amazon Linux's packages and the Hadoop release come from S3
  count             = var.hdfs_host ? 1 : 0
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${data.aws_region.current.id}.s3"
  route_table_ids   = [aws_route_table.this.id]
  tags              = merge(var.tags, { Name = "${var.name}-s3" })
}

locals {
  # Where service principals do not end as elsewhere. In aws-cn documented; in the iso partitions as public tools have it, not verified.
  principal_suffix = lookup({ aws-cn = "amazonaws.com.cn", aws-iso = "c2s.ic.gov", aws-iso-b = "sc2s.sgov.gov" }, data.aws_partition.current.partition, "amazonaws.com")
}

resource "aws_iam_role" "hdfs" {
  count       = var.hdfs_host ? 1 : 0
  name_prefix = "${substr(var.name, 0, 32)}-"
  tags        = merge(var.tags, { Name = var.name })
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.${local.principal_suffix}" } }]
  })
}

resource "aws_iam_role_policy" "hdfs" {
  count = var.hdfs_host ? 1 : 0
  name  = "hadoop-release"
  role  = aws_iam_role.hdfs[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = "arn:${data.aws_partition.current.partition}:s3:::${var.hadoop_bucket}/${var.hadoop_key}"
    }]
  })
}

resource "aws_iam_instance_profile" "hdfs" {
  count       = var.hdfs_host ? 1 : 0
  name_prefix = "${substr(var.name, 0, 32)}-"
  role        = aws_iam_role.hdfs[0].name
  tags        = var.tags
}

resource "aws_instance" "hdfs" {
  count                  = var.hdfs_host ? 1 : 0
  ami                    = data.aws_ssm_parameter.hdfs_image[0].value
  instance_type          = var.hdfs_host_instance_type
  iam_instance_profile   = aws_iam_instance_profile.hdfs[0].name
  subnet_id              = aws_subnet.this.id
  private_ip             = var.hdfs_host_ip
  vpc_security_group_ids = [aws_security_group.firewall.id]
  tags                   = merge(var.tags, { Name = "${var.name}-hdfs" })
  depends_on             = [aws_vpc_endpoint.s3, aws_route_table_association.this, aws_iam_role_policy.hdfs, aws_vpc_security_group_egress_rule.firewall]

  user_data = templatefile("${path.module}/hdfs-setup.sh.tftpl", {
    region        = data.aws_region.current.id
    hadoop_bucket = var.hadoop_bucket
    hadoop_key    = var.hadoop_key
    hadoop_sha512 = var.hadoop_sha512
    hdfs_host_ip  = var.hdfs_host_ip
  })

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  root_block_device {
    encrypted   = true
    volume_type = "gp3"
    volume_size = 30
  }
  lifecycle {
    ignore_changes = [ami] # a newer image is no reason for another host
    precondition {
      condition     = var.hadoop_bucket != null && var.hadoop_key != null
      error_message = "The HDFS host needs hadoop_bucket and hadoop_key."
    }
  }
}
