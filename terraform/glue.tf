# Training as a Glue job, where the models are not trained elsewhere. `training = true` turns it on.

locals {
  training = var.training ? 1 : 0
  # Where the job's script is put; not among the watched names.
  script_key = "glue/train_models.py"
}

resource "aws_s3_object" "training" {
  #checkov:skip=CKV_AWS_186:The bucket's own encryption, as for everything in it (storage.tf)
  count = local.training

  bucket      = var.create_bucket ? aws_s3_bucket.main[0].id : var.bucket_name
  key         = local.script_key
  source      = "${path.module}/../glue/train_models.py"
  source_hash = filemd5("${path.module}/../glue/train_models.py")
}

resource "aws_iam_role" "training" {
  count = local.training

  name = "${local.name}-training"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "glue.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "training" {
  count = local.training

  name = "calls"
  role = aws_iam_role.training[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.list, [
      {
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${local.bucket_arn}/features/*", "${local.bucket_arn}/${local.script_key}"]
      },
      {
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = ["${local.bucket_arn}/models/*"]
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:AssociateKmsKey"]
        Resource = ["arn:${local.partition}:logs:${var.region}:${local.account_id}:log-group:/aws-glue/*"]
      },
      {
        Effect   = "Allow"
        Action   = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [aws_kms_key.main.arn]
      },
    ])
  })
}

resource "aws_glue_security_configuration" "training" {
  count = local.training

  name = "${local.name}-training"

  encryption_configuration {
    cloudwatch_encryption {
      cloudwatch_encryption_mode = "SSE-KMS"
      kms_key_arn                = aws_kms_key.main.arn
    }

    job_bookmarks_encryption {
      job_bookmarks_encryption_mode = "CSE-KMS"
      kms_key_arn                   = aws_kms_key.main.arn
    }

    # The models are encrypted as everything in the bucket.
    s3_encryption {
      s3_encryption_mode = "SSE-S3"
    }
  }
}

resource "aws_glue_job" "training" {
  count = local.training

  name                   = "${local.name}-training"
  role_arn               = aws_iam_role.training[0].arn
  security_configuration = aws_glue_security_configuration.training[0].name
  max_capacity           = 1
  timeout                = 120
  max_retries            = 1

  command {
    name            = "pythonshell"
    python_version  = "3.9"
    script_location = "s3://${var.bucket_name}/${aws_s3_object.training[0].key}"
  }

  # The last releases for Python 3.9.
  default_arguments = {
    "--BUCKET_NAME"               = var.bucket_name
    "--additional-python-modules" = "scikit-learn==1.6.1,pandas==2.2.3,numpy==2.0.2,joblib==1.5.1,pyarrow==21.0.0"
  }
}

resource "aws_glue_trigger" "training" {
  count = local.training

  name     = "${local.name}-training"
  type     = "SCHEDULED"
  schedule = var.training_schedule

  actions {
    job_name = aws_glue_job.training[0].name
  }
}
