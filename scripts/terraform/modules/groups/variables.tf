variable "name" {
  description = "Name tag of the groups, with a suffix for each"
  type        = string
  default     = "emr-static-ip"
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$", var.name))
    error_message = "One to 41 letters, digits, hyphens, underscores."
  }
}

variable "tags" {
  description = "Tags of the groups and their rules"
  type        = map(string)
  default     = {}
}

variable "vpc_id" {
  description = "The VPC of the cluster"
  type        = string
}

variable "bastion" {
  description = "Whether a bastion may reach the nodes by SSH"
  type        = bool
  default     = false
}

variable "bastion_security_group_id" {
  description = "Security group of that bastion"
  type        = string
  default     = null
}
