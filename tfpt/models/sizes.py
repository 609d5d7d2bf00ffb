"""Sizes of transformers: numbers only, no TensorFlow."""

from dataclasses import dataclass

from tfpt.config import check, check_choice


@dataclass(frozen=True, kw_only=True)
class Model:
    """The size of a transformer encoder, and what BERT's relatives have otherwise than BERT."""

    num_layers: int  # transformer layers
    hidden_dim: int  # width of the residual stream
    num_heads: int  # attention heads; hidden_dim is divided among them
    intermediate_dim: int  # width inside the feed-forward block
    dropout_rate: float = 0.1  # share of activations dropped in training, in [0, 1)
    max_sequence_length: int = 512  # positions that have an embedding, in tokens
    # Segments that have an embedding. 1: one for all, as in RoBERTa; 0: none has, as in DistilBERT.
    num_segments: int = 2
    embedding_dim: int | None = None  # width of the embeddings; None: hidden_dim. ELECTRA's differs
    norm_epsilon: float = 1e-12  # added to variances; RoBERTa has 1e-5
    has_pooler: bool = True  # False: `pooled_output` is the first state itself
    pooler_activation: str = "tanh"  # or "gelu", "relu": classifiers of ELECTRA and DistilBERT

    def __post_init__(self) -> None:
        for name in ("num_layers", "hidden_dim", "num_heads", "intermediate_dim"):
            check(self, name, getattr(self, name) > 0, "a positive number")
        check(self, "dropout_rate", 0 <= self.dropout_rate < 1, "a share in [0, 1)")
        check(self, "max_sequence_length", self.max_sequence_length > 0, "a positive number")
        check(self, "num_segments", self.num_segments >= 0, "a number of at least 0")
        width = self.embedding_dim
        check(self, "embedding_dim", width is None or width > 0, "a positive number, or none")
        check(self, "norm_epsilon", self.norm_epsilon > 0, "a positive number")
        check_choice(self, "pooler_activation", ("tanh", "gelu", "relu"))
        check(
            self,
            "num_heads",
            self.hidden_dim % self.num_heads == 0,
            f"a divisor of hidden_dim={self.hidden_dim}",
        )


# Devlin et al. 2019 (base, large), https://arxiv.org/abs/1810.04805; Turc et al. 2019 (the smaller
# ones), https://arxiv.org/abs/1908.08962.
BERT_TINY = Model(num_layers=2, hidden_dim=128, num_heads=2, intermediate_dim=512)
BERT_MINI = Model(num_layers=4, hidden_dim=256, num_heads=4, intermediate_dim=1024)
BERT_SMALL = Model(num_layers=4, hidden_dim=512, num_heads=8, intermediate_dim=2048)
BERT_BASE = Model(num_layers=12, hidden_dim=768, num_heads=12, intermediate_dim=3072)
BERT_LARGE = Model(num_layers=24, hidden_dim=1024, num_heads=16, intermediate_dim=4096)
