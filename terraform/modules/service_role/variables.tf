variable "name" {
  description = "The role's name."
  type        = string
}

variable "oidc_provider_arn" {
  description = "The cluster's OpenID Connect provider in IAM."
  type        = string
}

variable "issuer" {
  description = "The URL of the issuer of the cluster's service account tokens."
  type        = string
}

variable "namespace" {
  description = "The service account's namespace."
  type        = string
}

variable "service_account" {
  description = "The service account's name."
  type        = string
}

variable "policy" {
  description = "What the role may do: a policy document as JSON."
  type        = string
}
