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

variable "release_label" {
  description = "EMR release of the clusters. EMR 8 (emr-spark-8.0.0, emr-spark-8.1.0) talks to its clusters through an endpoint, and needs other rules"
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

variable "vpc_cidr" {
  description = "CIDR of the VPC, which may reach EMR 8's endpoint. Earlier releases do not use it"
  type        = string
  default     = "10.0.0.0/16"
  validation {
    condition     = can(cidrnetmask(var.vpc_cidr))
    error_message = "An IPv4 CIDR."
  }
}

variable "endpoint_subnet_id" {
  description = "The subnet of EMR 8's endpoint, needed with EMR 8 alone"
  type        = string
  default     = null
}
