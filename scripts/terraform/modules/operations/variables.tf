variable "name" {
  description = "Name of the document, with the suffix -node, and of the association"
  type        = string
  default     = "emr-static-ip"
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$", var.name))
    error_message = "One to 41 letters, digits, hyphens, underscores."
  }
}

variable "tags" {
  description = "Tags of the document"
  type        = map(string)
  default     = {}
}

variable "bucket" {
  description = "The bucket where emr-static-ip is published, in the provider's region"
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "The name of a bucket."
  }
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

variable "cluster_id" {
  description = "The cluster of the association, j-...; null for no association"
  type        = string
  default     = null
  validation {
    condition     = var.cluster_id == null || can(regex("^j-[0-9A-Z]{1,20}$", var.cluster_id))
    error_message = "The ID of a cluster, j-..., or null."
  }
}

variable "schedule" {
  description = "When the association runs, beside once on each new node"
  type        = string
  default     = "rate(1 day)"
  validation {
    condition     = can(regex("^(rate\\([0-9]{1,3} (minutes?|hours?|days?)\\)|cron\\([-0-9A-Za-z*/?,# ]{11,80}\\))$", var.schedule))
    error_message = "A rate or cron expression, of at least 30 minutes."
  }
}

variable "action" {
  description = "What the association does. check changes nothing; upgrade installs what is published and repeats the last run; run needs arguments on new nodes"
  type        = string
  default     = "check"
  validation {
    condition     = contains(["check", "doctor", "install", "run", "upgrade"], var.action)
    error_message = "One of check, doctor, install, run, upgrade."
  }
}

variable "arguments" {
  description = "Of the action run, as of the bootstrap action: addresses and flags, with blanks between them; null repeats the last run"
  type        = string
  default     = null
  validation {
    condition     = var.arguments == null || can(regex("^[A-Za-z0-9 .,:/=_-]{0,1000}$", var.arguments))
    error_message = "Letters, digits, blanks and . , : / = _ -"
  }
}
