# An EMR cluster in a private subnet whose nodes get static IPs by the bootstrap action.

locals {
  groups       = var.provisioning == "instance-groups"
  task         = var.task_count > 0
  encrypt_s3   = var.s3_encryption != "none"
  encrypt_rest = local.encrypt_s3 || var.local_disk_encryption
  encrypt      = local.encrypt_rest || var.certificates_object != null

  emr8 = startswith(var.release_label, "emr-spark-8.")

  # The pools of each subnet; EMR launches an instance fleet in one of them.
  subnets = concat([{ subnet_id = var.subnet_id, master_ips = var.master_ips, core_ips = var.core_ips, task_ips = var.task_ips }], var.more_subnets)

  bootstrap_arguments = concat(
    ["--master-ips=${join(",", local.subnets[*].master_ips)}", "--core-ips=${join(",", local.subnets[*].core_ips)}", "--prefix=${var.parameter_prefix}"],
    var.task_ips == null ? [] : ["--task-ips=${join(",", compact(local.subnets[*].task_ips))}"],
    [for tag in compact(split(" ", var.claim_tags)) : "--claim-tag=${tag}"],
    var.extra_arguments,
  )

  # Without three masters in fleets: https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-plan-ha.html
  one_master = can(regex("^emr-(5[.]3[2-5][.]|5[.]36[.]0$|6[.][2-7][.]|6[.]([89]|1[01])[.]0$)", var.release_label))

  s3_encryption = merge(
    { EncryptionMode = var.s3_encryption },
    var.s3_encryption == "SSE-KMS" ? { AwsKmsKey = var.kms_key_arn } : {},
  )
  at_rest = merge(
    { for k, v in { S3EncryptionConfiguration = local.s3_encryption } : k => v if local.encrypt_s3 },
    { for k, v in {
      LocalDiskEncryptionConfiguration = { EncryptionKeyProviderType = "AwsKms", AwsKmsKey = var.kms_key_arn, EnableEbsEncryption = true }
    } : k => v if var.local_disk_encryption },
  )
  in_transit = { TLSCertificateConfiguration = { CertificateProviderType = "PEM", S3Object = "s3://${coalesce(var.certificates_object, "-")}" } }
  encryption = merge(
    { EnableAtRestEncryption = local.encrypt_rest, EnableInTransitEncryption = var.certificates_object != null },
    { for k, v in { AtRestEncryptionConfiguration = local.at_rest } : k => v if local.encrypt_rest },
    { for k, v in { InTransitEncryptionConfiguration = local.in_transit } : k => v if var.certificates_object != null },
  )
  security = merge(
    { InstanceMetadataServiceConfiguration = { MinimumInstanceMetadataServiceVersion = 2, HttpPutResponseHopLimit = var.imds_hop_limit } },
    { for k, v in { EncryptionConfiguration = local.encryption } : k => v if local.encrypt },
  )
}

resource "aws_emr_security_configuration" "this" {
  name_prefix   = "${var.name}-"
  configuration = jsonencode(local.security)
}

resource "aws_emr_cluster" "this" {
  name                              = var.name
  release_label                     = var.release_label
  applications                      = local.emr8 ? ["Spark"] : ["Hadoop", "Spark"] # EMR 8 has no application Hadoop to choose
  service_role                      = var.service_role_arn
  security_configuration            = aws_emr_security_configuration.this.name
  log_uri                           = "s3://${var.log_bucket}/${var.log_prefix}/"
  scale_down_behavior               = "TERMINATE_AT_TASK_COMPLETION"
  keep_job_flow_alive_when_no_steps = true
  termination_protection            = var.termination_protected
  # EMR gives them to the nodes; AmazonEMRServicePolicy_v2 allows what has the second.
  tags = merge(var.tags, { Name = var.name, for-use-with-amazon-emr-managed-policies = "true" })

  ec2_attributes {
    subnet_id                         = local.groups ? var.subnet_id : null
    subnet_ids                        = local.groups ? null : local.subnets[*].subnet_id
    key_name                          = var.key_name
    instance_profile                  = var.instance_profile_arn
    emr_managed_master_security_group = var.master_security_group_id
    emr_managed_slave_security_group  = var.core_security_group_id
    service_access_security_group     = var.service_security_group_id
  }

  bootstrap_action {
    name = "emr-static-ip"
    path = "s3://${var.bucket}/${var.prefix}/bootstrap.sh"
    args = local.bootstrap_arguments
  }

  dynamic "auto_termination_policy" {
    for_each = var.idle_timeout > 0 ? [var.idle_timeout] : []
    content {
      idle_timeout = auto_termination_policy.value
    }
  }

  dynamic "master_instance_group" {
    for_each = local.groups ? [1] : []
    content {
      name           = "master"
      instance_type  = var.master_instance_type
      instance_count = var.master_count
    }
  }

  dynamic "core_instance_group" {
    for_each = local.groups ? [1] : []
    content {
      name           = "core"
      instance_type  = var.core_instance_type
      instance_count = var.core_count
    }
  }

  dynamic "master_instance_fleet" {
    for_each = local.groups ? [] : [1]
    content {
      name                      = "master"
      target_on_demand_capacity = var.master_count
      dynamic "instance_type_configs" {
        for_each = compact([var.master_instance_type, var.second_instance_type])
        content {
          instance_type     = instance_type_configs.value
          weighted_capacity = 1
        }
      }
    }
  }

  dynamic "core_instance_fleet" {
    for_each = local.groups ? [] : [1]
    content {
      name                      = "core"
      target_on_demand_capacity = var.core_count # a weight of 1 makes the capacity the number of nodes, each of which takes one address
      dynamic "instance_type_configs" {
        for_each = compact([var.core_instance_type, var.second_instance_type])
        content {
          instance_type     = instance_type_configs.value
          weighted_capacity = 1
        }
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.kms_key_arn != null || !(var.s3_encryption == "SSE-KMS" || var.local_disk_encryption)
      error_message = "SSE-KMS and local_disk_encryption need kms_key_arn."
    }
    precondition {
      condition     = alltrue([for s in local.subnets : var.core_count <= pow(2, 32 - tonumber(split("/", s.core_ips)[1]))])
      error_message = "core_ips has fewer addresses than there are core nodes, in one of the subnets."
    }
    precondition {
      condition     = alltrue([for s in local.subnets : var.master_count <= pow(2, 32 - tonumber(split("/", s.master_ips)[1]))])
      error_message = "master_ips has fewer addresses than there are masters, in one of the subnets."
    }
    precondition {
      condition     = !(local.groups && length(var.more_subnets) > 0)
      error_message = "Only instance fleets choose between subnets: more_subnets needs provisioning = \"instance-fleets\"."
    }
    precondition {
      condition     = var.task_ips == null || alltrue([for s in local.subnets : s.task_ips != null])
      error_message = "With task_ips, each of more_subnets needs task_ips."
    }
    precondition {
      condition     = local.groups || var.master_count == 1 || !local.one_master
      error_message = "Three masters in fleets need emr-5.36.1, 5.36.2, 6.8.1, 6.9.1, 6.10.1, 6.11.1, 6.12.0 or later."
    }
  }
}

resource "aws_emr_instance_group" "task" {
  count          = local.task && local.groups ? 1 : 0
  cluster_id     = aws_emr_cluster.this.id
  name           = "task"
  instance_type  = var.task_instance_type
  instance_count = var.task_count
  bid_price      = var.task_bid_price
}

resource "aws_emr_instance_fleet" "task" {
  count                     = local.task && !local.groups ? 1 : 0
  cluster_id                = aws_emr_cluster.this.id
  name                      = "task"
  target_on_demand_capacity = var.task_bid_price == null ? var.task_count : 0
  target_spot_capacity      = var.task_bid_price == null ? 0 : var.task_count

  dynamic "instance_type_configs" {
    for_each = compact([var.task_instance_type, var.second_instance_type])
    content {
      instance_type     = instance_type_configs.value
      weighted_capacity = 1
      bid_price         = var.task_bid_price
    }
  }

  dynamic "launch_specifications" {
    for_each = var.task_bid_price == null ? [] : [1]
    content {
      spot_specification {
        allocation_strategy      = "capacity-optimized"
        timeout_action           = "SWITCH_TO_ON_DEMAND"
        timeout_duration_minutes = 10
      }
    }
  }
}
