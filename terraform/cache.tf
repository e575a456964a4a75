# The prediction store: what the scorer publishes and the API serves.

resource "random_password" "store" {
  length = 48
  # It is part of a URL.
  special = false
}

resource "random_password" "reload_token" {
  length  = 48
  special = false
}

resource "aws_elasticache_subnet_group" "store" {
  name       = local.name
  subnet_ids = aws_subnet.private[*].id
}

resource "aws_security_group" "store" {
  name_prefix = "${local.name}-store-"
  description = "The prediction store, reached by the cluster's pods only"
  vpc_id      = aws_vpc.main.id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "store" {
  security_group_id            = aws_security_group.store.id
  description                  = "Redis protocol over TLS from the cluster's nodes and pods"
  referenced_security_group_id = aws_eks_cluster.main.vpc_config[0].cluster_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
}

resource "aws_elasticache_parameter_group" "store" {
  name   = local.name
  family = "valkey8"

  # A store that is full refuses the next generation, and the one before it is still served. One that evicts would serve
  # a generation with holes.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

resource "aws_elasticache_replication_group" "store" {
  replication_group_id       = local.name
  description                = "Predictions of ${local.name}"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = var.store_node_type
  num_cache_clusters         = 2
  automatic_failover_enabled = true
  multi_az_enabled           = true
  port                       = 6379
  parameter_group_name       = aws_elasticache_parameter_group.store.name
  subnet_group_name          = aws_elasticache_subnet_group.store.name
  security_group_ids         = [aws_security_group.store.id]

  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token                 = random_password.store.result
  auth_token_update_strategy = "ROTATE"
  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.main.arn

  snapshot_retention_limit   = 1
  auto_minor_version_upgrade = true
}
