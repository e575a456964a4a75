variable "region" {
  description = "The AWS region."
  type        = string
  default     = "us-east-1"
}

variable "environment" {
  description = "What this installation is called; part of every name."
  type        = string
  default     = "prod"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,11}$", var.environment))
    error_message = "At most 12 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "tags" {
  description = "Further tags for every resource."
  type        = map(string)
  default     = {}
}

variable "deletion_protection" {
  description = "Whether `terraform destroy` is kept from the cluster, and from the registry as long as there are images in it."
  type        = bool
  default     = true
}

# The bucket.

variable "bucket_name" {
  description = "The bucket with the models and the feature tables."
  type        = string
  default     = "criptos-data"
}

variable "create_bucket" {
  description = "Whether the bucket is made here. An existing one gets only its notification, which takes the place of any that it has."
  type        = bool
  default     = true
}

variable "retraining" {
  description = "Whether the scorer may also write features/* and models/*, for training in the cluster."
  type        = bool
  default     = false
}

# The network and the cluster.

variable "vpc_cidr" {
  description = "The network's private addresses, a /16."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && endswith(var.vpc_cidr, "/16")
    error_message = "An IPv4 network of 16 bits, such as 10.40.0.0/16."
  }

  # The store is in it, and k8s/base/network-policies.yaml lets the programs reach a store at these addresses only.
  validation {
    condition     = can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.vpc_cidr))
    error_message = "A network of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16."
  }
}

variable "availability_zones" {
  description = "The availability zones that are used, by name: asked of AWS they would change when it adds one."
  type        = list(string)
  default     = ["us-east-1a", "us-east-1b"]

  validation {
    condition     = length(var.availability_zones) >= 2 && length(var.availability_zones) <= 4
    error_message = "2 to 4: the cluster and the store each need at least two."
  }

  validation {
    condition     = alltrue([for zone in var.availability_zones : startswith(zone, var.region)])
    error_message = "They have to be zones of the region."
  }
}

variable "cluster_api_cidrs" {
  description = "The networks from which kubectl may reach the cluster's API, such as [\"203.0.113.7/32\"]. With none it is reached from within the network only."
  type        = list(string)

  validation {
    condition     = !contains(var.cluster_api_cidrs, "0.0.0.0/0")
    error_message = "Name the networks; the cluster's API is not for everyone."
  }
}

variable "kubernetes_version" {
  description = "The cluster's Kubernetes version. The manifests need 1.32 or newer."
  type        = string
  default     = "1.35"
}

variable "namespace" {
  description = "The Kubernetes namespace of the programs."
  type        = string
  default     = "cripto-prediction"
}

variable "node_instance_types" {
  description = "The nodes' instance types (x86-64, as the image is)."
  type        = list(string)
  default     = ["m6i.large"]
}

variable "node_count" {
  description = "The fewest, the first and the most nodes."
  type        = object({ min = number, desired = number, max = number })
  default     = { min = 2, desired = 2, max = 6 }
}

variable "load_balancer_controller_policy" {
  description = "The file with the policy that the AWS Load Balancer Controller's release comes with. Without it the controller gets no role."
  type        = string
  default     = null
}

# The store.

variable "store_node_type" {
  description = "The prediction store's node type."
  type        = string
  default     = "cache.t4g.small"
}

# Alarms.

variable "alarm_topics" {
  description = "The ARNs of the SNS topics that alarms go to."
  type        = list(string)
  default     = []
}

variable "oldest_message_minutes" {
  description = "How long a change in the bucket may wait in the queue before there is an alarm."
  type        = number
  default     = 15
}

variable "freshness_hours" {
  description = "How long nothing new may be scored before there is an alarm: a day between two tables, and some hours."
  type        = number
  default     = 30

  validation {
    condition     = var.freshness_hours >= 1 && var.freshness_hours <= 168
    error_message = "1 to 168; CloudWatch looks back a week at most."
  }
}

# Training.

variable "training" {
  description = "Whether a Glue job trains the models."
  type        = bool
  default     = false
}

variable "training_schedule" {
  description = "When the models are trained, in UTC."
  type        = string
  default     = "cron(0 3 ? * SUN *)"
}
