variable "name" {
  description = "Name of the cluster, and Name tag of all else, with a suffix for each kind. A change replaces the cluster"
  type        = string
  default     = "emr-static-ip"
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$", var.name))
    error_message = "One to 41 letters, digits, hyphens, underscores."
  }
}

variable "tags" {
  description = "Tags of all that this module makes"
  type        = map(string)
  default     = {}
}

variable "bucket" {
  description = "The bucket where emr-static-ip is published, in the provider's region. A change replaces the cluster"
  type        = string
}

variable "prefix" {
  description = "The prefix in that bucket, without slashes at its ends. A change replaces the cluster"
  type        = string
  default     = "emr-static-ip"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.prefix))
    error_message = "A prefix without slashes at its ends."
  }
}

variable "master_ips" {
  description = "Pool of the masters, a block inside the subnet. A spare address lets a replaced master start before the old one is gone. A change replaces the cluster"
  type        = string
  default     = "10.0.1.32/30"
  validation {
    condition     = can(cidrnetmask(var.master_ips)) && can(regex("/(2[2-9]|3[0-2])$", var.master_ips))
    error_message = "An IPv4 CIDR from /22 to /32."
  }
}

variable "core_ips" {
  description = "Pool of the core nodes, a block inside the subnet with at least core_count addresses. A change replaces the cluster"
  type        = string
  default     = "10.0.1.40/29"
  validation {
    condition     = can(cidrnetmask(var.core_ips)) && can(regex("/(2[2-9]|3[0-2])$", var.core_ips))
    error_message = "An IPv4 CIDR from /22 to /32."
  }
}

variable "task_ips" {
  description = "Pool of the task nodes, a block inside the subnet; null leaves task nodes as they are. A change replaces the cluster"
  type        = string
  default     = null
  validation {
    condition     = var.task_ips == null || (can(cidrnetmask(var.task_ips)) && can(regex("/(2[2-9]|3[0-2])$", var.task_ips)))
    error_message = "An IPv4 CIDR from /22 to /32, or null."
  }
}

variable "reserve_pool" {
  description = "Subnet CIDR reservations for the pools. Say false where they are there already"
  type        = bool
  default     = true
}

variable "parameter_prefix" {
  description = "Where the claims are in Parameter Store, the --prefix of emr-static-ip. A change replaces the cluster"
  type        = string
  default     = "/emr-static-ip"
  validation {
    condition     = can(regex("^(/[A-Za-z0-9_.-]+){1,10}$", var.parameter_prefix))
    error_message = "One to ten levels, each a slash and letters, digits, underscores, dots, hyphens."
  }
}

variable "claim_tags" {
  description = "Tags of the records in Parameter Store, for accounts that demand them, KEY=VALUE with one blank between several; empty for none. A change replaces the cluster"
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([^ =]+=[^ ]*( [^ =]+=[^ ]*)*)?$", var.claim_tags))
    error_message = "KEY=VALUE with exactly one blank between several, or empty."
  }
}

variable "extra_arguments" {
  description = "More arguments of emr-static-ip, such as --snat-scope=all. Not --prefix, which is parameter_prefix. A change replaces the cluster"
  type        = list(string)
  default     = []
}

variable "release_label" {
  description = "EMR release, from emr-5.32.0 or emr-6.2.0 on, or emr-spark-8.0.0, emr-spark-8.1.0. The nodes have IMDSv2 alone, with which earlier ones do not start. A change replaces the cluster"
  type        = string
  default     = "emr-7.13.0"
  validation {
    condition     = !can(regex("^emr-[89][.]", var.release_label))
    error_message = "There is no emr-8.0.0: the labels of EMR 8 are emr-spark-8.0.0 and emr-spark-8.1.0."
  }
  validation {
    condition     = can(regex("^(emr-(5[.]3[2-9]|6[.]([2-9]|[1-9][0-9])|[7-9][.][0-9]+)[.][0-9]+|emr-spark-8[.][01][.]0)$", var.release_label))
    error_message = "emr-5.32.0, emr-6.2.0 or later, or emr-spark-8.0.0, emr-spark-8.1.0: earlier ones do not start with IMDSv2 alone."
  }
}

variable "provisioning" {
  description = "Instance groups, or instance fleets, which may choose between two instance types. A change replaces the cluster"
  type        = string
  default     = "instance-groups"
  validation {
    condition     = contains(["instance-groups", "instance-fleets"], var.provisioning)
    error_message = "instance-groups or instance-fleets."
  }
}

variable "master_count" {
  description = "One master, or three for high availability. EMR protects a cluster with three against termination by itself. A change replaces the cluster"
  type        = number
  default     = 1
  validation {
    condition     = contains([1, 3], var.master_count)
    error_message = "1 or 3."
  }
}

variable "master_instance_type" {
  description = "Instance type of the masters. A change replaces the cluster"
  type        = string
  default     = "m5.xlarge"
}

variable "core_count" {
  description = "Number of core nodes. With instance fleets, Terraform (unlike CloudFormation) makes another cluster for another number"
  type        = number
  default     = 2
  validation {
    condition     = var.core_count >= 1
    error_message = "At least 1."
  }
}

variable "core_instance_type" {
  description = "Instance type of the core nodes. A change replaces the cluster"
  type        = string
  default     = "m5.xlarge"
}

variable "task_count" {
  description = "Number of task nodes"
  type        = number
  default     = 0
  validation {
    condition     = var.task_count >= 0
    error_message = "0 or more."
  }
}

variable "task_instance_type" {
  description = "Instance type of the task nodes"
  type        = string
  default     = "m5.xlarge"
}

variable "task_bid_price" {
  description = "Highest price of a Spot task node in USD an hour; null for On-Demand"
  type        = string
  default     = null
}

variable "second_instance_type" {
  description = "A second instance type that each fleet may choose, other than the three above; null for none. Instance groups do not use it. A change replaces the cluster"
  type        = string
  default     = null
}

variable "availability_zone" {
  description = "Zone of the subnets but more_subnets; null for the first of the region. It must have the instance types of the cluster. A change replaces the cluster"
  type        = string
  default     = null
}

variable "vpc_cidr" {
  description = "CIDR of the cluster's VPC. It must not overlap the data centre's networks. A change replaces the cluster"
  type        = string
  default     = "10.0.0.0/16"
  validation {
    condition     = can(cidrnetmask(var.vpc_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "node_subnet_cidr" {
  description = "The private subnet of the cluster's nodes. The static IPs lie in it. A change replaces the cluster"
  type        = string
  default     = "10.0.1.0/24"
  validation {
    condition     = can(cidrnetmask(var.node_subnet_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "more_subnets" {
  description = "More subnets for the nodes, of which EMR chooses one when it launches an instance fleet, with pools of their own. The zone of each: null for the next of the region. A change replaces the cluster"
  type        = list(object({ cidr = string, availability_zone = optional(string), master_ips = string, core_ips = string, task_ips = optional(string) }))
  default     = []
  validation {
    condition = alltrue([for s in var.more_subnets : can(cidrnetmask(s.cidr)) && alltrue([for pool in compact([s.master_ips, s.core_ips, s.task_ips]) :
    can(cidrnetmask(pool)) && can(regex("/(2[2-9]|3[0-2])$", pool))])])
    error_message = "An IPv4 CIDR, and pools that are IPv4 CIDRs from /22 to /32, for each."
  }
}

variable "endpoint_subnet_cidr" {
  description = "A private subnet of the interface endpoints alone"
  type        = string
  default     = "10.0.0.0/27"
  validation {
    condition     = can(cidrnetmask(var.endpoint_subnet_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "public_subnet_cidr" {
  description = "The public subnet. It is made for a NAT gateway or a bastion only"
  type        = string
  default     = "10.0.0.32/27"
  validation {
    condition     = can(cidrnetmask(var.public_subnet_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "nat_gateway" {
  description = "A NAT gateway, for nodes that need the Internet. The static IPs do not"
  type        = bool
  default     = false
}

variable "key_name" {
  description = "EC2 key pair for SSH to the bastion and to the nodes; null for none. A bastion needs it. A change replaces the cluster"
  type        = string
  default     = null
}

variable "bastion" {
  description = "A bastion in the public subnet, for SSH to the nodes"
  type        = bool
  default     = false
}

variable "bastion_client_cidr" {
  description = "Who may reach the bastion by SSH, such as your own address as a /32. The default is nobody"
  type        = string
  default     = "127.0.0.1/32"
  validation {
    condition     = can(cidrnetmask(var.bastion_client_cidr)) && !endswith(var.bastion_client_cidr, "/0")
    error_message = "An IPv4 CIDR; the whole Internet is refused."
  }
}

variable "data_centre" {
  description = "A VPC that plays the data centre, with peering. Say false where you have a real one"
  type        = bool
  default     = true
}

variable "data_centre_vpc_cidr" {
  description = "CIDR of the data centre's VPC. It must not overlap the cluster's"
  type        = string
  default     = "10.1.0.0/16"
  validation {
    condition     = can(cidrnetmask(var.data_centre_vpc_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "data_centre_subnet_cidr" {
  description = "CIDR of the data centre's private subnet"
  type        = string
  default     = "10.1.1.0/24"
  validation {
    condition     = can(cidrnetmask(var.data_centre_subnet_cidr))
    error_message = "An IPv4 CIDR."
  }
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

variable "zone_name" {
  description = "A private DNS zone with a name for the masters, master.ZONE, seen from both VPCs; null for none"
  type        = string
  default     = null
  validation {
    condition     = var.zone_name == null || can(regex("^[a-z0-9-]+([.][a-z0-9-]+)+$", var.zone_name))
    error_message = "The name of a zone, in lower case, without a dot at its end, or null."
  }
}

variable "master_addresses" {
  description = "The masters' static IPs for that name. Give as many as there are masters, since clients ask spare ones, too"
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for a in var.master_addresses : can(cidrnetmask("${a}/32"))])
    error_message = "IPv4 addresses."
  }
}

variable "log_bucket" {
  description = "The bucket of the cluster's logs; null for the bucket above. A change replaces the cluster"
  type        = string
  default     = null
}

variable "log_prefix" {
  description = "The prefix of the logs, without slashes at its ends. A change replaces the cluster"
  type        = string
  default     = "emr-logs"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.log_prefix))
    error_message = "A prefix without slashes at its ends."
  }
}

variable "data_bucket" {
  description = "The bucket that the cluster's jobs read and write; null for the bucket above"
  type        = string
  default     = null
}

variable "data_prefix" {
  description = "The prefix that the cluster's jobs read and write, without slashes at its ends"
  type        = string
  default     = "data"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.data_prefix))
    error_message = "A prefix without slashes at its ends."
  }
}

variable "imds_hop_limit" {
  description = "How many hops an answer of the instance metadata service may go. Containers with a network of their own (bridge) need 2 if they are to have the node's credentials. A change replaces the cluster"
  type        = number
  default     = 1
  validation {
    condition     = contains([1, 2], var.imds_hop_limit)
    error_message = "1 or 2."
  }
}

variable "s3_encryption" {
  description = "Encryption at rest of what EMRFS writes to S3. SSE-KMS needs kms_key_arn. A change replaces the cluster"
  type        = string
  default     = "none"
  validation {
    condition     = contains(["none", "SSE-S3", "SSE-KMS"], var.s3_encryption)
    error_message = "none, SSE-S3 or SSE-KMS."
  }
}

variable "local_disk_encryption" {
  description = "Encryption of the nodes' volumes and instance stores. It needs kms_key_arn. A change replaces the cluster"
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "The KMS key of encryption at rest; its policy must let both roles use it. A change replaces the cluster"
  type        = string
  default     = null
}

variable "certificates_object" {
  description = "BUCKET/KEY of the ZIP file with the PEM certificates of encryption in transit; null for none. A change replaces the cluster"
  type        = string
  default     = null
}

variable "termination_protected" {
  description = "Protection against termination. It must be off before the cluster can be destroyed"
  type        = bool
  default     = false
}

variable "idle_timeout" {
  description = "Seconds of idleness after which EMR ends the cluster, from 60 to 604800; 0 for never"
  type        = number
  default     = 0
  validation {
    condition     = var.idle_timeout == 0 || (var.idle_timeout >= 60 && var.idle_timeout <= 604800)
    error_message = "0, or from 60 to 604800."
  }
}
