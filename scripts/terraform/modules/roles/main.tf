# EMR's service role and the instance profile of the nodes.

data "aws_region" "current" {}
data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  partition = data.aws_partition.current.partition
  # Where service principals do not end as elsewhere. In aws-cn documented; in the iso partitions as public tools have it, not verified.
  suffix  = lookup({ aws-cn = "amazonaws.com.cn", aws-iso = "c2s.ic.gov", aws-iso-b = "sc2s.sgov.gov" }, local.partition, "amazonaws.com")
  region  = data.aws_region.current.id
  account = data.aws_caller_identity.current.account_id
  s3      = "arn:${local.partition}:s3:::"

  # The files, which tests hold against the program, with their placeholders filled in. What names the subnet is repeated for each.
  subnet_ids = concat([var.subnet_id], var.more_subnet_ids)
  policies = { for name in ["instance-profile-policy", "claim-tags-policy"] : name => jsondecode(replace(replace(replace(replace(
    file("${path.module}/../../../../agent/iam/${name}.json"),
    "arn:aws:", "arn:${local.partition}:"),
    ":parameter/emr-static-ip/", ":parameter${var.parameter_prefix}/"),
    "REGION", local.region),
  "ACCOUNT_ID", local.account)) }
  filled_in = { for name, policy in local.policies : name => merge(policy, { Statement = [for s in policy.Statement : merge(s,
    { Resource = flatten([for r in flatten([s.Resource]) : strcontains(r, "SUBNET_ID") ? [for id in local.subnet_ids : replace(r, "SUBNET_ID", id)] : [r]]) },
    { for key, condition in { Condition = try(s.Condition, {}) } : key => { for operator, keys in condition : operator => { for k, v in keys : k =>
      flatten([for text in flatten([v]) : strcontains(text, "SUBNET_ID") ? [for id in local.subnet_ids : replace(text, "SUBNET_ID", id)] : [text]])
    } } if condition != {} },
  )] }) }
  static_ip_policy  = jsonencode(local.filled_in["instance-profile-policy"])
  claim_tags_policy = jsonencode(local.filled_in["claim-tags-policy"])
}

resource "aws_iam_role" "service" {
  name_prefix = "${substr(var.name, 0, 26)}-service-" # at most 38 characters
  description = "EMR's service role"
  tags        = merge(var.tags, { Name = var.name })
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "elasticmapreduce.${local.suffix}" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "arn:${local.partition}:elasticmapreduce:${local.region}:${local.account}:*" }
      }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "service" { # allows what is tagged for-use-with-amazon-emr-managed-policies=true
  role       = aws_iam_role.service.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEMRServicePolicy_v2"
}

resource "aws_iam_role_policy" "service" {
  name = "pass-the-nodes-role"
  role = aws_iam_role.service.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "iam:PassRole"
      Resource  = aws_iam_role.nodes.arn
      Condition = { StringLike = { "iam:PassedToService" = ["ec2.amazonaws.com*", "ec2.${local.suffix}"] } }
    }]
  })
}

# What AmazonElasticMapReduceRole allowed, and its successor does not: the account's first Spot Instance.
resource "aws_iam_role_policy" "spot" {
  name = "spot"
  role = aws_iam_role.service.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "iam:CreateServiceLinkedRole"
      Resource  = "arn:${local.partition}:iam::*:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot*"
      Condition = { StringLike = { "iam:AWSServiceName" = "spot.amazonaws.com" } }
    }]
  })
}

resource "aws_iam_role_policy" "service_key" {
  count = var.encryption_key ? 1 : 0
  name  = "encrypted-volumes"
  role  = aws_iam_role.service.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
        Resource = var.kms_key_arn
      },
      {
        Effect    = "Allow"
        Action    = "kms:CreateGrant"
        Resource  = var.kms_key_arn
        Condition = { Bool = { "kms:GrantIsForAWSResource" = "true" } }
      },
    ]
  })
}

resource "aws_iam_role" "nodes" {
  name_prefix = "${substr(var.name, 0, 26)}-nodes-"
  description = "The nodes of EMR clusters with static IPs"
  tags        = merge(var.tags, { Name = var.name })
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.${local.suffix}" } }]
  })
}

resource "aws_iam_role_policy" "static_ip" {
  name   = "emr-static-ip"
  role   = aws_iam_role.nodes.id
  policy = local.static_ip_policy
}

resource "aws_iam_role_policy" "claim_tags" {
  count  = var.claim_tags != "" ? 1 : 0
  name   = "claim-tags"
  role   = aws_iam_role.nodes.id
  policy = local.claim_tags_policy
}

resource "aws_iam_role_policy" "s3" {
  name = "s3"
  role = aws_iam_role.nodes.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "BootstrapAction", Effect = "Allow", Action = "s3:GetObject", Resource = "${local.s3}${var.bucket}/${var.prefix}/*" },
      {
        Sid       = "TellMissingFromForbidden"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = "${local.s3}${var.bucket}"
        Condition = { StringLike = { "s3:prefix" = ["${var.prefix}/*"] } }
      },
      { # EMR's own public bucket of the region: command-runner, script-runner
        Sid      = "EmrLibraries"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:ListBucket"]
        Resource = ["${local.s3}${local.region}.elasticmapreduce", "${local.s3}${local.region}.elasticmapreduce/*"]
      },
      { Sid = "WriteLogs", Effect = "Allow", Action = ["s3:PutObject", "s3:GetObject"], Resource = "${local.s3}${var.log_bucket}/${var.log_prefix}/*" },
      {
        Sid    = "UseData"
        Effect = "Allow"
        Action = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        Resource = [ # an EMRFS directory has a marker beside it, PREFIX_$folder$
          "${local.s3}${var.data_bucket}/${var.data_prefix}",
          "${local.s3}${var.data_bucket}/${var.data_prefix}/*",
          "${local.s3}${var.data_bucket}/${var.data_prefix}_$folder$",
        ]
      },
      {
        Sid      = "ListLogsAndData"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = ["${local.s3}${var.log_bucket}", "${local.s3}${var.data_bucket}"]
        Condition = {
          StringLike = { "s3:prefix" = [var.log_prefix, "${var.log_prefix}/*", var.data_prefix, "${var.data_prefix}/*", "${var.data_prefix}_$folder$"] }
        }
      },
      {
        Sid      = "KnowBuckets"
        Effect   = "Allow"
        Action   = ["s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
        Resource = ["${local.s3}${var.bucket}", "${local.s3}${var.log_bucket}", "${local.s3}${var.data_bucket}"]
      },
    ]
  })
}

resource "aws_iam_role_policy" "key" {
  count = var.encryption_key ? 1 : 0
  name  = "encryption-at-rest"
  role  = aws_iam_role.nodes.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
      Resource = var.kms_key_arn
    }]
  })
}

resource "aws_iam_role_policy" "certificates" {
  count = var.certificates_object != null ? 1 : 0
  name  = "encryption-in-transit"
  role  = aws_iam_role.nodes.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "s3:GetObject", Resource = "${local.s3}${var.certificates_object}" }]
  })
}

resource "aws_iam_instance_profile" "nodes" {
  name_prefix = "${substr(var.name, 0, 26)}-nodes-"
  role        = aws_iam_role.nodes.name
  tags        = var.tags
}
