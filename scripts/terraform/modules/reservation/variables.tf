variable "subnet_id" {
  description = "The subnet of the cluster's nodes"
  type        = string
}

variable "master_ips" {
  description = "Pool of the masters, a block inside the subnet. It must not overlap another reservation"
  type        = string
  validation {
    condition     = can(cidrnetmask(var.master_ips)) && can(regex("/(2[2-9]|3[0-2])$", var.master_ips))
    error_message = "An IPv4 CIDR from /22 to /32."
  }
}

variable "core_ips" {
  description = "Pool of the core nodes, a block inside the subnet"
  type        = string
  validation {
    condition     = can(cidrnetmask(var.core_ips)) && can(regex("/(2[2-9]|3[0-2])$", var.core_ips))
    error_message = "An IPv4 CIDR from /22 to /32."
  }
}

variable "task_ips" {
  description = "Pool of the task nodes, a block inside the subnet; null for none"
  type        = string
  default     = null
  validation {
    condition     = var.task_ips == null || (can(cidrnetmask(var.task_ips)) && can(regex("/(2[2-9]|3[0-2])$", var.task_ips)))
    error_message = "An IPv4 CIDR from /22 to /32, or null."
  }
}
