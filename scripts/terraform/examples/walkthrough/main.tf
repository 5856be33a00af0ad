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
  description = "Region of everything, and of the bucket"
  type        = string
  default     = "us-east-1"
}

variable "bucket" {
  description = "The bucket where emr-static-ip is published"
  type        = string
}

variable "key_name" {
  description = "Your EC2 key pair"
  type        = string
}

variable "client_cidr" {
  description = "Your own address, as a /32"
  type        = string
}

provider "aws" {
  region = var.region
}

module "emr_static_ip" {
  source              = "../.."
  bucket              = var.bucket
  key_name            = var.key_name
  bastion             = true
  bastion_client_cidr = var.client_cidr
  hdfs_host           = true
  hadoop_key          = "emr-static-ip/hadoop-3.4.1.tar.gz"
}

output "all" {
  description = "What the walk-through goes on with"
  value       = module.emr_static_ip
}
