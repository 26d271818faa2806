"""Does a model repository hold? What a server does not tell of it: /v2/health/ready is 200 beside a model that did not load."""
