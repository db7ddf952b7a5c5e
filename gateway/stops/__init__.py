"""Emergency stops at the gateway."""
