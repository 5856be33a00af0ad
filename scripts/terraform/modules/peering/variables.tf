variable "name" {
  description = "Name tag of the peering"
  type        = string
  default     = "emr-static-ip"
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$", var.name))
    error_message = "One to 41 letters, digits, hyphens, underscores."
  }
}

variable "tags" {
  description = "Tags of the peering"
  type        = map(string)
  default     = {}
}

variable "vpc_id" {
  description = "The cluster's VPC"
  type        = string
}

variable "vpc_cidr" {
  description = "CIDR of the cluster's VPC"
  type        = string
}

variable "route_table_id" {
  description = "Route table of the nodes' subnet"
  type        = string
}

variable "peer_vpc_id" {
  description = "The data centre's VPC"
  type        = string
}

variable "peer_vpc_cidr" {
  description = "CIDR of the data centre's VPC"
  type        = string
}

variable "peer_route_table_id" {
  description = "Route table of the data centre's subnet"
  type        = string
}
