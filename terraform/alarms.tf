resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${local.name}-dead-letters"
  alarm_description   = "A change in the bucket could not be handled 10 times. docs/deploy.md, 'Dead letters'."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  # An idle queue reports nothing.
  treat_missing_data = "notBreaching"
  alarm_actions      = var.alarm_topics
  ok_actions         = var.alarm_topics
}

resource "aws_cloudwatch_metric_alarm" "oldest_message" {
  alarm_name          = "${local.name}-oldest-message"
  alarm_description   = "Changes in the bucket wait: the scorer is down, too slow or cannot reach the store. docs/deploy.md, 'The queue grows'."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.events.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.oldest_message_minutes * 60
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topics
  ok_actions          = var.alarm_topics
}

# The scorer deletes a message once what it tells of is published. If none was for longer than the time between two
# tables, either no table came or nothing was published: what is served is old, and the programs may all be well.
resource "aws_cloudwatch_metric_alarm" "freshness" {
  alarm_name          = "${local.name}-freshness"
  alarm_description   = "Nothing new was scored for ${var.freshness_hours} hours. docs/deploy.md, 'Predictions are old'."
  namespace           = "AWS/SQS"
  metric_name         = "NumberOfMessagesDeleted"
  dimensions          = { QueueName = aws_sqs_queue.events.name }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = var.freshness_hours
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topics
  ok_actions          = var.alarm_topics
}

# It does not evict (cache.tf), so it has to be made larger before it is full. ElastiCache measures each node, which it
# names after the store and by number: the fuller one counts, whichever is the primary.
resource "aws_cloudwatch_metric_alarm" "store_memory" {
  alarm_name          = "${local.name}-store-memory"
  alarm_description   = "The prediction store is almost full; the next generation may not fit. docs/deploy.md, 'The store is full'."
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 80
  treat_missing_data  = "missing"
  alarm_actions       = var.alarm_topics
  ok_actions          = var.alarm_topics

  metric_query {
    id          = "fullest"
    expression  = "MAX(METRICS())"
    label       = "The fuller node's memory"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = range(1, aws_elasticache_replication_group.store.num_cache_clusters + 1)

    content {
      id = "node${metric_query.value}"

      metric {
        namespace   = "AWS/ElastiCache"
        metric_name = "DatabaseMemoryUsagePercentage"
        dimensions  = { CacheClusterId = format("%s-%03d", aws_elasticache_replication_group.store.replication_group_id, metric_query.value) }
        stat        = "Maximum"
        period      = 300
      }
    }
  }
}
