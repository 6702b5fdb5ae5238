"""Built-in report sections, one file each."""
