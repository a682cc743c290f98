"""LoRA, QLoRA and a paged 8-bit AdamW for Anima."""
