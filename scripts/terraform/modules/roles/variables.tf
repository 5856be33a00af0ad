variable "name" {
  description = "Name tag of the roles, and how their names begin"
  type        = string
  default     = "emr-static-ip"
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$", var.name))
    error_message = "One to 41 letters, digits, hyphens, underscores."
  }
}

variable "tags" {
  description = "Tags of the roles"
  type        = map(string)
  default     = {}
}

variable "subnet_id" {
  description = "The subnet of the cluster's nodes"
  type        = string
}

variable "more_subnet_ids" {
  description = "More subnets that instance fleets may be launched in"
  type        = list(string)
  default     = []
}

variable "claim_tags" {
  description = "The cluster's claim_tags. With tags, the nodes may tag their records in Parameter Store"
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([^ =]+=[^ ]*( [^ =]+=[^ ]*)*)?$", var.claim_tags))
    error_message = "KEY=VALUE with exactly one blank between several, or empty."
  }
}

variable "parameter_prefix" {
  description = "Where the claims are in Parameter Store, the --prefix of emr-static-ip"
  type        = string
  default     = "/emr-static-ip"
  validation {
    condition     = can(regex("^(/[A-Za-z0-9_.-]+){1,10}$", var.parameter_prefix))
    error_message = "One to ten levels, each a slash and letters, digits, underscores, dots, hyphens."
  }
}

variable "bucket" {
  description = "The bucket where emr-static-ip is published, in the provider's region"
  type        = string
}

variable "prefix" {
  description = "The prefix in that bucket, without slashes at its ends"
  type        = string
  default     = "emr-static-ip"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.prefix))
    error_message = "A prefix without slashes at its ends."
  }
}

variable "log_bucket" {
  description = "The bucket of the cluster's logs"
  type        = string
}

variable "log_prefix" {
  description = "The prefix of the logs, without slashes at its ends"
  type        = string
  default     = "emr-logs"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.log_prefix))
    error_message = "A prefix without slashes at its ends."
  }
}

variable "data_bucket" {
  description = "The bucket that the cluster's jobs read and write"
  type        = string
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

variable "encryption_key" {
  description = "Whether the cluster encrypts with kms_key_arn"
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "The KMS key of encryption at rest; its policy must let both roles use it"
  type        = string
  default     = null
}

variable "certificates_object" {
  description = "BUCKET/KEY of the ZIP file with the PEM certificates of encryption in transit; null for none"
  type        = string
  default     = null
}
