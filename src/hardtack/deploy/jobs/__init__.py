"""The small jobs of a deployment, each done by our own image: no cloud tools, no shell."""
