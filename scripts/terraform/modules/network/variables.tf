variable "name" {
  description = "Name tag of all that this module makes, with a suffix for each kind"
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

variable "availability_zone" {
  description = "Zone of the subnets but more_node_subnets; null for the first of the region. It must have the instance types of the cluster"
  type        = string
  default     = null
}

variable "vpc_cidr" {
  description = "CIDR of the VPC. It must not overlap the data centre's networks"
  type        = string
  default     = "10.0.0.0/16"
  validation {
    condition     = can(cidrnetmask(var.vpc_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "node_subnet_cidr" {
  description = "The private subnet of the cluster's nodes. The static IPs lie in it"
  type        = string
  default     = "10.0.1.0/24"
  validation {
    condition     = can(cidrnetmask(var.node_subnet_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "more_node_subnets" {
  description = "More subnets for the nodes, of which EMR chooses one when it launches an instance fleet. The zone of each: null for the next of the region"
  type        = list(object({ cidr = string, availability_zone = optional(string) }))
  default     = []
  validation {
    condition     = alltrue([for s in var.more_node_subnets : can(cidrnetmask(s.cidr))])
    error_message = "An IPv4 CIDR for each."
  }
}

variable "endpoint_subnet_cidr" {
  description = "A private subnet of the interface endpoints alone, so that none of them takes an address of the pool"
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

variable "kms_endpoint" {
  description = "An interface endpoint for KMS. Without a NAT gateway, encryption with KMS keys needs it"
  type        = bool
  default     = false
}

variable "bastion" {
  description = "A bastion in the public subnet, for SSH to the nodes. It needs key_name"
  type        = bool
  default     = false
}

variable "key_name" {
  description = "The EC2 key pair of the bastion"
  type        = string
  default     = null
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

variable "bastion_instance_type" {
  description = "Instance type of the bastion, of the architecture of bastion_image"
  type        = string
  default     = "t3.micro"
}

variable "bastion_image" {
  description = "Public parameter with the bastion's AMI"
  type        = string
  default     = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}
