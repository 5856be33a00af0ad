# Everything, from a published bucket to a running cluster: the VPC for EMR, a VPC that plays the data centre, the peering between them, reservations
# for the static IPs, roles, security groups, the cluster. Each part is a module of its own.

locals {
  log_bucket  = coalesce(var.log_bucket, var.bucket)
  data_bucket = coalesce(var.data_bucket, var.bucket)
  # Known before anything is made, which a key of another resource is not.
  encryption_key = var.s3_encryption == "SSE-KMS" || var.local_disk_encryption

  # The pools of all subnets that are not in their subnet: its first address, with the subnet's prefix length, is another subnet.
  subnets = concat([{ cidr = var.node_subnet_cidr, master_ips = var.master_ips, core_ips = var.core_ips, task_ips = var.task_ips }], var.more_subnets)
  outside = flatten([for s in local.subnets : [for pool in compact([s.master_ips, s.core_ips, s.task_ips]) : "${pool} (subnet ${s.cidr})"
  if tonumber(split("/", pool)[1]) < tonumber(split("/", s.cidr)[1]) || cidrsubnet("${split("/", pool)[0]}/${split("/", s.cidr)[1]}", 0, 0) != cidrsubnet(s.cidr, 0, 0)]])
}

module "network" {
  source               = "./modules/network"
  name                 = var.name
  tags                 = var.tags
  availability_zone    = var.availability_zone
  vpc_cidr             = var.vpc_cidr
  node_subnet_cidr     = var.node_subnet_cidr
  more_node_subnets    = [for s in var.more_subnets : { cidr = s.cidr, availability_zone = s.availability_zone }]
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
  subnet_id  = module.network.subnet_id
  master_ips = var.master_ips
  core_ips   = var.core_ips
  task_ips   = var.task_ips
}

module "more_reservations" {
  count      = var.reserve_pool ? length(var.more_subnets) : 0
  source     = "./modules/reservation"
  subnet_id  = module.network.more_subnet_ids[count.index]
  master_ips = var.more_subnets[count.index].master_ips
  core_ips   = var.more_subnets[count.index].core_ips
  task_ips   = var.more_subnets[count.index].task_ips
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
  more_subnets      = [for s in var.more_subnets : { master_ips = s.master_ips, core_ips = s.core_ips, task_ips = s.task_ips }]
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
  route_table_id      = module.network.route_table_id
  peer_vpc_id         = module.datacenter[0].peer_vpc_id
  peer_vpc_cidr       = module.datacenter[0].peer_vpc_cidr
  peer_route_table_id = module.datacenter[0].peer_route_table_id
}

module "roles" {
  source              = "./modules/roles"
  name                = var.name
  tags                = var.tags
  subnet_id           = module.network.subnet_id
  more_subnet_ids     = module.network.more_subnet_ids
  parameter_prefix    = var.parameter_prefix
  claim_tags          = var.claim_tags
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
  release_label             = var.release_label
  vpc_cidr                  = var.vpc_cidr
  endpoint_subnet_id        = module.network.endpoint_subnet_id
}

module "dns" {
  count            = var.zone_name != null ? 1 : 0
  source           = "./modules/dns"
  tags             = var.tags
  name             = var.name
  zone_name        = var.zone_name
  master_addresses = var.master_addresses
  vpc_id           = module.network.vpc_id
  peer_vpc_id      = one(module.datacenter[*].peer_vpc_id)
}

module "cluster" {
  source                    = "./modules/cluster"
  name                      = var.name
  tags                      = var.tags
  subnet_id                 = module.network.subnet_id
  more_subnets              = [for i, s in var.more_subnets : { subnet_id = module.network.more_subnet_ids[i], master_ips = s.master_ips, core_ips = s.core_ips, task_ips = s.task_ips }]
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
  claim_tags                = var.claim_tags
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
  depends_on = [module.network, module.reservation, module.more_reservations, module.peering, module.groups, module.roles]
}
