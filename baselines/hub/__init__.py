"""Models named by where they come from: Hugging Face (`hf:owner/name`) and timm (`timm:name`)."""
