variable "name" {
  description = "Name tag of the zone"
  type        = string
  default     = "emr-static-ip"
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$", var.name))
    error_message = "One to 41 letters, digits, hyphens, underscores."
  }
}

variable "tags" {
  description = "Tags of the zone"
  type        = map(string)
  default     = {}
}

variable "zone_name" {
  description = "The private zone, such as emr.example.internal. The masters are master.ZONE"
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9-]+([.][a-z0-9-]+)+$", var.zone_name))
    error_message = "The name of a zone, in lower case, without a dot at its end."
  }
}

variable "master_addresses" {
  description = "The masters' static IPs. Give as many as there are masters, since clients ask spare ones, too"
  type        = list(string)
  validation {
    condition     = alltrue([for a in var.master_addresses : can(cidrnetmask("${a}/32"))])
    error_message = "IPv4 addresses."
  }
}

variable "vpc_id" {
  description = "The cluster's VPC"
  type        = string
}

variable "peer_vpc_id" {
  description = "Another VPC of this account and region that sees the zone, such as the data centre's; null for none"
  type        = string
  default     = null
}
