"""The columns of a CSV file of orders, in their order."""

COLUMNS = ("order_id", "customer_id", "currency", "placed_at", "sku", "quantity", "unit_price")
