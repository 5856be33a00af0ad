# Everything, from a published bucket to a running cluster: the VPC for EMR, a VPC that plays the data centre, the peering between them, reservations
# for the static IPs, roles, security groups, the cluster. Each part is a module of its own.

locals {
  log_bucket  = coalesce(var.log_bucket, var.bucket)
  data_bucket = coalesce(var.data_bucket, var.bucket)
  # Known before anything is made, which a key of another resource is not.
  encryption_key = var.s3_encryption == "SSE-KMS" || var.local_disk_encryption
}

module "network" {
  source               = "./modules/network"
  name                 = var.name
  tags                 = var.tags
  availability_zone    = var.availability_zone
  vpc_cidr             = var.vpc_cidr
  node_subnet_cidr     = var.node_subnet_cidr
  endpoint_subnet_cidr = var.endpoint_subnet_cidr
  public_subnet_cidr   = var.public_subnet_cidr
  nat_gateway          = var.nat_gateway
  kms_endpoint         = local.encryption_key
  bastion              = var.bastion
  key_name             = var.key_name
  bastion_client_cidr  = var.bastion_client_cidr
}

module "reservation" {
  count      = var.reserve_pool ? 1 : 0
  source     = "./modules/reservation"
  subnet_id  = module.network.node_subnet_id
  master_ips = var.master_ips
  core_ips   = var.core_ips
  task_ips   = var.task_ips
}

module "datacenter" {
  count             = var.data_centre ? 1 : 0
  source            = "./modules/datacenter"
  name              = "${var.name}-datacentre"
  tags              = var.tags
  availability_zone = var.availability_zone
  vpc_cidr          = var.data_centre_vpc_cidr
  subnet_cidr       = var.data_centre_subnet_cidr
  master_ips        = var.master_ips
  core_ips          = var.core_ips
  task_ips          = var.task_ips
  hdfs_host         = var.hdfs_host
  hdfs_host_ip      = var.hdfs_host_ip
  hadoop_bucket     = var.bucket
  hadoop_key        = var.hadoop_key
  hadoop_sha512     = var.hadoop_sha512
}

module "peering" {
  count               = var.data_centre ? 1 : 0
  source              = "./modules/peering"
  name                = var.name
  tags                = var.tags
  vpc_id              = module.network.vpc_id
  vpc_cidr            = module.network.vpc_cidr
  route_table_id      = module.network.node_route_table_id
  peer_vpc_id         = module.datacenter[0].vpc_id
  peer_vpc_cidr       = module.datacenter[0].vpc_cidr
  peer_route_table_id = module.datacenter[0].route_table_id
}

module "roles" {
  source              = "./modules/roles"
  name                = var.name
  tags                = var.tags
  subnet_id           = module.network.node_subnet_id
  parameter_prefix    = var.parameter_prefix
  bucket              = var.bucket
  prefix              = var.prefix
  log_bucket          = local.log_bucket
  log_prefix          = var.log_prefix
  data_bucket         = local.data_bucket
  data_prefix         = var.data_prefix
  encryption_key      = local.encryption_key
  kms_key_arn         = var.kms_key_arn
  certificates_object = var.certificates_object
}

module "groups" {
  source                    = "./modules/groups"
  name                      = var.name
  tags                      = var.tags
  vpc_id                    = module.network.vpc_id
  bastion                   = var.bastion
  bastion_security_group_id = module.network.bastion_security_group_id
}

module "cluster" {
  source                    = "./modules/cluster"
  name                      = var.name
  tags                      = var.tags
  subnet_id                 = module.network.node_subnet_id
  master_security_group_id  = module.groups.master_security_group_id
  core_security_group_id    = module.groups.core_security_group_id
  service_security_group_id = module.groups.service_security_group_id
  key_name                  = var.key_name
  bucket                    = var.bucket
  prefix                    = var.prefix
  master_ips                = var.master_ips
  core_ips                  = var.core_ips
  task_ips                  = var.task_ips
  parameter_prefix          = var.parameter_prefix
  extra_arguments           = var.extra_arguments
  release_label             = var.release_label
  provisioning              = var.provisioning
  master_count              = var.master_count
  master_instance_type      = var.master_instance_type
  core_count                = var.core_count
  core_instance_type        = var.core_instance_type
  task_count                = var.task_count
  task_instance_type        = var.task_instance_type
  task_bid_price            = var.task_bid_price
  second_instance_type      = var.second_instance_type
  service_role_arn          = module.roles.service_role_arn
  instance_profile_arn      = module.roles.instance_profile_arn
  log_bucket                = local.log_bucket
  log_prefix                = var.log_prefix
  imds_hop_limit            = var.imds_hop_limit
  s3_encryption             = var.s3_encryption
  local_disk_encryption     = var.local_disk_encryption
  kms_key_arn               = var.kms_key_arn
  certificates_object       = var.certificates_object
  termination_protected     = var.termination_protected
  idle_timeout              = var.idle_timeout
  # Routes, endpoints and rules before the nodes that need them, the pool before EC2 fills the subnet; and after the cluster when it is destroyed.
  depends_on = [module.network, module.reservation, module.peering, module.groups, module.roles]
}
