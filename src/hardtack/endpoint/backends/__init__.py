"""What runs inference servers: processes of this box, or Kubernetes."""
