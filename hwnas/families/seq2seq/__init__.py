"""HAT's encoder-decoder Transformer: post-LN, fixed query-key-value width, arbitrary cross-attention."""
