# Deploys the template of a release as a CloudFormation stack.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

locals {
  template = file("${var.release}/${var.architecture == "arm64" ? "template.yaml" : "template-x86_64.yaml"}")
  code     = fileset(var.release, "function-*-${var.architecture}.zip")
  version  = regex("(?m)^  Version: \\{.*Value: (.*)\\}$", local.template)[0]

  # The hash makes changed code a changed key, which makes CloudFormation update the functions.
  hash = sha256(join("", [for name in sort(local.code) : filesha256("${var.release}/${name}")]))
  key  = "${var.prefix}/${local.version}-${substr(local.hash, 0, 16)}"

  # The template names the zips in its own folder; CloudFormation needs their place in S3.
  body = replace(local.template, "/CodeUri: \\.\\/(.*)/", "CodeUri: {Bucket: ${var.bucket}, Key: !Sub \"${local.key}/$1\"}")
}

data "aws_s3_bucket" "code" {
  bucket = var.bucket
}

resource "aws_s3_object" "code" {
  for_each = local.code

  bucket      = var.bucket
  key         = "${local.key}/${each.value}"
  source      = "${var.release}/${each.value}"
  source_hash = filesha256("${var.release}/${each.value}")

  # The stack needs the old code until its update has succeeded, for a rollback.
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_s3_object" "template" {
  bucket       = var.bucket
  key          = "${var.prefix}/${local.version}-${substr(sha256(local.body), 0, 16)}/template.yaml"
  content      = local.body
  content_type = "application/yaml"
}

resource "aws_cloudformation_stack" "connectors" {
  name         = var.name
  template_url = "https://${data.aws_s3_bucket.code.bucket_regional_domain_name}/${aws_s3_object.template.key}"
  parameters   = var.parameters
  tags         = merge({ "arbitex:version" = local.version }, var.tags)
  iam_role_arn = var.iam_role_arn

  # AUTO_EXPAND: the template has transforms, and Terraform creates the stack without a change set.
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]

  depends_on = [aws_s3_object.code]
}
