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
    vpc_cidr                        = "172.31.0.0/16"
    deletion_protection             = false
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

run "the_network_is_one_of_16_bits" {
  command = plan

  variables {
    vpc_cidr = "10.40.0.0/20"
  }

  expect_failures = [var.vpc_cidr]
}

run "the_store_is_where_the_network_policies_look_for_it" {
  command = plan

  variables {
    vpc_cidr = "100.64.0.0/16"
  }

  expect_failures = [var.vpc_cidr]
}

run "the_store_is_just_outside_of_where_they_look" {
  command = plan

  variables {
    vpc_cidr = "172.32.0.0/16"
  }

  expect_failures = [var.vpc_cidr]
}
