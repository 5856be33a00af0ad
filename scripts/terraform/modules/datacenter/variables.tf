variable "name" {
  description = "Name tag of all that this module makes"
  type        = string
  default     = "emr-static-ip-datacentre"
}

variable "tags" {
  description = "Tags of all that this module makes"
  type        = map(string)
  default     = {}
}

variable "availability_zone" {
  description = "Zone of all subnets; null for the first of the region. It must have the instance types of the cluster"
  type        = string
  default     = null
}

variable "vpc_cidr" {
  description = "CIDR of the VPC. It must not overlap the cluster's VPC"
  type        = string
  default     = "10.1.0.0/16"
  validation {
    condition     = can(cidrnetmask(var.vpc_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "subnet_cidr" {
  description = "CIDR of the private subnet"
  type        = string
  default     = "10.1.1.0/24"
  validation {
    condition     = can(cidrnetmask(var.subnet_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "master_ips" {
  description = "Pool of the masters: what the firewall admits"
  type        = string
  validation {
    condition     = can(cidrnetmask(var.master_ips)) && can(regex("/(2[2-9]|3[0-2])$", var.master_ips))
    error_message = "An IPv4 CIDR from /22 to /32."
  }
}

variable "core_ips" {
  description = "Pool of the core nodes: what the firewall admits"
  type        = string
  validation {
    condition     = can(cidrnetmask(var.core_ips)) && can(regex("/(2[2-9]|3[0-2])$", var.core_ips))
    error_message = "An IPv4 CIDR from /22 to /32."
  }
}

variable "task_ips" {
  description = "Pool of the task nodes: what the firewall admits; null for none"
  type        = string
  default     = null
  validation {
    condition     = var.task_ips == null || (can(cidrnetmask(var.task_ips)) && can(regex("/(2[2-9]|3[0-2])$", var.task_ips)))
    error_message = "An IPv4 CIDR from /22 to /32, or null."
  }
}

variable "more_subnets" {
  description = "Pools of the nodes in other subnets: what the firewall admits, too"
  type        = list(object({ master_ips = string, core_ips = string, task_ips = optional(string) }))
  default     = []
}

variable "hdfs_host" {
  description = "A host with a single-node HDFS. It needs hadoop_key"
  type        = bool
  default     = false
}

variable "hdfs_host_ip" {
  description = "Private IP of the HDFS host, inside the data centre's subnet"
  type        = string
  default     = "10.1.1.10"
  validation {
    condition     = can(cidrnetmask("${var.hdfs_host_ip}/32"))
    error_message = "An IPv4 address."
  }
}

variable "hdfs_host_instance_type" {
  description = "Instance type of the HDFS host, of the architecture of hdfs_host_image"
  type        = string
  default     = "t3.large"
}

variable "hdfs_host_image" {
  description = "Public parameter with the AMI of the HDFS host, an Amazon Linux 2023"
  type        = string
  default     = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

variable "hadoop_bucket" {
  description = "Bucket, in the provider's region, where you put Apache's Hadoop release"
  type        = string
  default     = null
}

variable "hadoop_key" {
  description = "Key of Apache's Hadoop release in the bucket, such as emr-static-ip/hadoop-3.4.1.tar.gz"
  type        = string
  default     = null
}

variable "hadoop_sha512" {
  description = "SHA-512 of the Hadoop release, as Apache publishes it; empty for no check"
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-f]{128})?$", var.hadoop_sha512))
    error_message = "128 hexadecimal digits in lower case, or empty."
  }
}
