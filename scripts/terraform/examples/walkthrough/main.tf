# The walk-through's set-up: both VPCs, an HDFS host, a bastion for you, one master and two core nodes.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.30"
    }
  }
}

variable "region" {
  description = "Region of everything, and of the bucket; null for that of the environment, AWS_REGION"
  type        = string
  default     = null
}

variable "bucket" {
  description = "The bucket where emr-static-ip is published"
  type        = string
}

variable "place" {
  description = "The prefix in the bucket of all that the walk-through puts there, without slashes at its ends: PLACE/program is where emr-static-ip is published"
  type        = string
  default     = "emr-static-ip-walkthrough"
}

variable "key_name" {
  description = "Your EC2 key pair"
  type        = string
}

variable "client_cidr" {
  description = "Your own address, as a /32"
  type        = string
}

variable "hadoop_sha512" {
  description = "SHA-512 of PLACE/hadoop-3.4.1.tar.gz; empty for no check"
  type        = string
  default     = ""
}

variable "core_count" {
  description = "Number of core nodes"
  type        = number
  default     = 2
}

provider "aws" {
  region = var.region
}

module "emr_static_ip" {
  source              = "../.."
  bucket              = var.bucket
  prefix              = "${var.place}/program"
  log_prefix          = "${var.place}/logs"
  data_prefix         = "${var.place}/data"
  key_name            = var.key_name
  bastion             = true
  bastion_client_cidr = var.client_cidr
  core_count          = var.core_count
  hdfs_host           = true
  hadoop_key          = "${var.place}/hadoop-3.4.1.tar.gz"
  hadoop_sha512       = var.hadoop_sha512
}

output "cluster_id" {
  description = "CLUSTER"
  value       = module.emr_static_ip.cluster_id
}

output "node_subnet_id" {
  description = "SUBNET"
  value       = module.emr_static_ip.node_subnet_id
}

output "bastion_public_ip" {
  description = "BASTION"
  value       = module.emr_static_ip.bastion_public_ip
}

output "log_uri" {
  description = "LOGS"
  value       = module.emr_static_ip.log_uri
}

output "hdfs_instance_id" {
  description = "HDFS_HOST"
  value       = module.emr_static_ip.hdfs_instance_id
}

output "hdfs_uri" {
  description = "HDFS_DATA"
  value       = module.emr_static_ip.hdfs_uri
}

output "data_uri" {
  description = "DATA"
  value       = module.emr_static_ip.data_uri
}
