"""A tiny Hugging Face T5 to count what the PEFT library adds to it."""

import transformers

from hyperx.config import T5Config


def tiny_t5(config: T5Config):
    """The same architecture in PyTorch."""
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=config.vocab_size,
            d_model=config.embed_dim,
            d_kv=config.head_dim,
            d_ff=config.mlp_dim,
            num_layers=config.num_encoder_layers,
            num_decoder_layers=config.num_decoder_layers,
            num_heads=config.num_heads,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
        )
    )


def trained(module) -> int:
    """Parameters that are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
