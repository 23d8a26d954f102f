"""Files of saved models, checked before transformers and PEFT read them."""
