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
