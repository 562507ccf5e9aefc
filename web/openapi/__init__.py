"""The declaration of each operation, and the OpenAPI document that is made of them."""
