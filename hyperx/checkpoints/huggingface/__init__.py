"""T5 as Hugging Face transformers saves it, with neither it nor torch.

Their linear layers are ``[out, in]``, ours ``[in, out]``; their layers lie in separate
tensors, ours are stacked; the relative position bias, kept in the first layer of each
stack, is ``[buckets, heads]`` there and ``[heads, buckets]`` here.
"""
