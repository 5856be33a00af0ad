variable "name" {
  description = "Name tag of the groups, with a suffix for each"
  type        = string
  default     = "emr-static-ip"
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
