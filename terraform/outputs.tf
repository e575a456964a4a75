output "cluster_name" {
  description = "For `aws eks update-kubeconfig --name`."
  value       = aws_eks_cluster.main.name
}

output "region" {
  description = "For the AWS Load Balancer Controller, which the nodes' metadata service does not answer."
  value       = var.region
}

output "vpc_id" {
  description = "For the AWS Load Balancer Controller, as the region."
  value       = aws_vpc.main.id
}

output "repository_url" {
  description = "Where the image is pushed to."
  value       = aws_ecr_repository.main.repository_url
}

output "queue_url" {
  description = "The queue with the bucket's events."
  value       = aws_sqs_queue.events.url
}

output "dead_letters_url" {
  description = "The queue with the events that could not be handled."
  value       = aws_sqs_queue.dead_letters.url
}

output "keda_role_arn" {
  description = "For KEDA's service account."
  value       = module.keda_role.arn
}

output "load_balancer_controller_role_arn" {
  description = "For the AWS Load Balancer Controller's service account; null without its policy."
  value       = one(module.load_balancer_controller_role[*].arn)
}

output "settings" {
  description = "The overlay's settings.env."
  value       = <<-EOT
    AWS_DEFAULT_REGION=${var.region}
    BUCKET_NAME=${var.bucket_name}
    QUEUE_URL=${aws_sqs_queue.events.url}
    API_ROLE=${module.program_role["api"].arn}
    SCORER_ROLE=${module.program_role["scorer"].arn}
    BACKFILL_ROLE=${module.program_role["backfill"].arn}
  EOT
}

output "secrets" {
  description = "The overlay's secrets.env."
  sensitive   = true
  value       = <<-EOT
    REDIS_URL=rediss://:${random_password.store.result}@${aws_elasticache_replication_group.store.primary_endpoint_address}:6379
    RELOAD_TOKEN=${random_password.reload_token.result}
  EOT
}
