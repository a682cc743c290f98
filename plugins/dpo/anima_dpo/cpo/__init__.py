"""Contrastive Preference Optimisation: DPO without a reference, beside fine-tuning."""
