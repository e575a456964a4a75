# Applies the configuration to providers that only pretend, so that Terraform evaluates every expression.
# test_configuration.py reads what comes out.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_eks_cluster" {
    defaults = { identity = [{ oidc = [{ issuer = "https://oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE" }] }] }
  }
}

mock_provider "random" {}

variables {
  cluster_api_cidrs = ["203.0.113.7/32"]
}

run "defaults" {
  command = apply
}

run "everything" {
  command = apply

  variables {
    create_bucket                   = false
    retraining                      = true
    training                        = true
    alarm_topics                    = ["arn:aws:sns:us-east-1:111122223333:alarms"]
    load_balancer_controller_policy = "tests/load_balancer_controller.json"
  }
}

run "the_cluster_is_not_open_to_everyone" {
  command = plan

  variables {
    cluster_api_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.cluster_api_cidrs]
}
