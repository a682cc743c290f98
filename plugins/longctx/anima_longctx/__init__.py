"""Long contexts for Anima: chunked log-probs, FlashAttention-2 and RoPE scaling.

One module a strategy (`xentropy`, `flash_attention`, `rope_scaling`), each importable without
torch; what needs torch stands beside it (`chunked_logps`, `varlen`) and is imported when used.
"""
