"""Image queries answered on the box, over the Groundlight SDK's HTTP API."""
