# For each program a role with the calls that it makes, and no other. A test derives the calls from the sources.

locals {
  list   = [{ Effect = "Allow", Action = ["s3:ListBucket"], Resource = [local.bucket_arn] }]
  inputs = [for path in ["models/*", "features/*", "data/*", "raw.csv"] : "${local.bucket_arn}/${path}"]

  programs = {
    api = [
      # GET /reload asks for a whole look at the bucket.
      { Effect = "Allow", Action = ["sqs:SendMessage"], Resource = [aws_sqs_queue.events.arn] },
    ]

    scorer = concat(local.list,
      [
        { Effect = "Allow", Action = ["s3:GetObject"], Resource = local.inputs },
        {
          Effect = "Allow"
          Action = [
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:ChangeMessageVisibility",
            "sqs:GetQueueAttributes",
          ]
          Resource = [aws_sqs_queue.events.arn]
        },
      ],
      var.retraining ? [{
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = [for path in ["features/*", "models/*"] : "${local.bucket_arn}/${path}"]
      }] : [],
    )

    backfill = concat(local.list, [
      { Effect = "Allow", Action = ["s3:GetObject"], Resource = concat(local.inputs, ["${local.bucket_arn}/predictions/*"]) },
      # It removes parts that were split in another way.
      { Effect = "Allow", Action = ["s3:PutObject", "s3:DeleteObject"], Resource = ["${local.bucket_arn}/predictions/*"] },
    ])
  }
}

module "program_role" {
  source   = "./modules/service_role"
  for_each = local.programs

  name              = "${local.name}-${each.key}"
  oidc_provider_arn = aws_iam_openid_connect_provider.cluster.arn
  issuer            = aws_eks_cluster.main.identity[0].oidc[0].issuer
  namespace         = var.namespace
  service_account   = each.key
  policy            = jsonencode({ Version = "2012-10-17", Statement = each.value })
}

# KEDA asks how long the queue is.
module "keda_role" {
  source = "./modules/service_role"

  name              = "${local.name}-keda"
  oidc_provider_arn = aws_iam_openid_connect_provider.cluster.arn
  issuer            = aws_eks_cluster.main.identity[0].oidc[0].issuer
  namespace         = "keda"
  service_account   = "keda-operator"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["sqs:GetQueueAttributes"], Resource = [aws_sqs_queue.events.arn] },
    ]
  })
}

# The controller that makes a load balancer of the Ingress. Its policy is its release's.
module "load_balancer_controller_role" {
  source = "./modules/service_role"
  count  = var.load_balancer_controller_policy == null ? 0 : 1

  name              = "${local.name}-load-balancers"
  oidc_provider_arn = aws_iam_openid_connect_provider.cluster.arn
  issuer            = aws_eks_cluster.main.identity[0].oidc[0].issuer
  namespace         = "kube-system"
  service_account   = "aws-load-balancer-controller"
  policy            = file(var.load_balancer_controller_policy)
}
