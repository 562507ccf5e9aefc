"""The declaration of operations, and the OpenAPI document that is made of them."""
