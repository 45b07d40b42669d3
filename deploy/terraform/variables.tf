variable "release" {
  description = "Folder with the files of a release: its template and the functions' zips."
  type        = string
}

variable "bucket" {
  description = "S3 bucket for the code, in the region of the provider. CloudFormation copies the code from it."
  type        = string
}

variable "prefix" {
  description = "Prefix of the code in the bucket, without a slash at either end."
  type        = string
  default     = "arbitex-siem"
}

variable "name" {
  description = "Name of the stack. All names derive from it; siemctl finds the stack by it."
  type        = string
  default     = "arbitex-siem"
}

variable "architecture" {
  description = "Architecture of the functions: arm64 or x86_64."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "The architecture must be arm64 or x86_64."
  }
}

variable "parameters" {
  description = "Parameters of the template, for example { Connectors = \"splunk,elastic\" }."
  type        = map(string)
  default     = {}
}

variable "tags" {
  description = "Tags of the stack, which CloudFormation copies to its resources."
  type        = map(string)
  default     = {}
}

variable "iam_role_arn" {
  description = "Role that CloudFormation assumes; null means the caller's."
  type        = string
  default     = null
}
