"""What it learns from: rows, splits, rendering, the supervision mask, batches."""
