"""The web page of the policy service: what people who decide see and do, over ``orders``."""
