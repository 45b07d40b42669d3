output "outputs" {
  description = "All outputs of the stack, for example outputs.splunkQueueUrl and outputs.EnqueuePolicyArn."
  value       = aws_cloudformation_stack.connectors.outputs
}

output "stack_id" {
  description = "ARN of the stack."
  value       = aws_cloudformation_stack.connectors.id
}

output "version" {
  description = "Version of the connectors."
  value       = local.version
}
