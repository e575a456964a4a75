# The bucket, and the queue that hears of every model and table that is put into it.

locals {
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket_name}"

  # What the programs read, and the end of its name.
  watched = {
    models     = { prefix = "models/", suffix = ".joblib" }
    parameters = { prefix = "models/", suffix = ".safetensors" }
    features   = { prefix = "features/", suffix = ".parquet" }
    data       = { prefix = "data/", suffix = ".csv" }
    raw        = { prefix = "raw", suffix = ".csv" }
  }
}

# Encrypted with S3's own keys: with a customer's key every reader, the data scientists' too, would need the right to
# use it, for public market prices. No copy in another region and no access log: the bucket is filled anew every day from
# its sources, and CloudTrail can log data events where someone has to know who read.
resource "aws_s3_bucket" "main" {
  #checkov:skip=CKV_AWS_145:S3's own keys, see above
  #checkov:skip=CKV_AWS_144:no second region, see above
  #checkov:skip=CKV_AWS_18:no access log, see above
  count = var.create_bucket ? 1 : 0

  # `terraform destroy` leaves it alone as long as there is something in it.
  bucket = var.bucket_name
}

resource "aws_s3_bucket_public_access_block" "main" {
  count = var.create_bucket ? 1 : 0

  bucket                  = aws_s3_bucket.main[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "main" {
  count = var.create_bucket ? 1 : 0

  bucket = aws_s3_bucket.main[0].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

# A model that was overwritten by mistake can be brought back.
resource "aws_s3_bucket_versioning" "main" {
  count = var.create_bucket ? 1 : 0

  bucket = aws_s3_bucket.main[0].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "main" {
  count = var.create_bucket ? 1 : 0

  bucket = aws_s3_bucket.main[0].id

  rule {
    id     = "clean-up"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    noncurrent_version_expiration {
      noncurrent_days = 90
    }
  }

  depends_on = [aws_s3_bucket_versioning.main]
}

resource "aws_s3_bucket_policy" "main" {
  count = var.create_bucket ? 1 : 0

  bucket = aws_s3_bucket.main[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyEncryptedConnections"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.main]
}

resource "aws_s3_bucket_notification" "main" {
  bucket = var.create_bucket ? aws_s3_bucket.main[0].id : var.bucket_name

  dynamic "queue" {
    for_each = local.watched

    content {
      id            = queue.key
      queue_arn     = aws_sqs_queue.events.arn
      events        = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
      filter_prefix = queue.value.prefix
      filter_suffix = queue.value.suffix
    }
  }

  # S3 tries whether it may send.
  depends_on = [aws_sqs_queue_policy.events]
}

resource "aws_sqs_queue" "events" {
  name = "${local.name}-events"
  # The scorer extends it while it works: VISIBILITY_TIMEOUT in k8s/.
  visibility_timeout_seconds = 60
  message_retention_seconds  = 4 * 24 * 3600
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = true

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    # A change that is given back, because the store is away for instance, counts as received, too.
    maxReceiveCount = 10
  })
}

# Longer than the queue: a message's age counts from when it was first sent.
resource "aws_sqs_queue" "dead_letters" {
  name                      = "${local.name}-dead-letters"
  message_retention_seconds = 14 * 24 * 3600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id

  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.events.arn]
  })
}

resource "aws_sqs_queue_policy" "events" {
  queue_url = aws_sqs_queue.events.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TheBucketsEvents"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.events.arn
        Condition = {
          ArnEquals    = { "aws:SourceArn" = local.bucket_arn }
          StringEquals = { "aws:SourceAccount" = local.account_id }
        }
      },
      {
        Sid       = "OnlyEncryptedConnections"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.events.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}
