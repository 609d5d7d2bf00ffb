"""BERT of transformers with the step that the benchmarks compare; for the scripts beside it."""

import torch
from torch.nn import functional
from transformers import BertConfig, BertForPreTraining


def pretrainer(work, attention: str) -> torch.nn.Module:
    """A model of the size of `step_work.Work`, in training mode."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=work.vocabulary_size,
        hidden_size=work.hidden_dim,
        num_hidden_layers=work.num_layers,
        num_attention_heads=work.num_heads,
        intermediate_size=work.intermediate_dim,
        hidden_dropout_prob=work.dropout_rate,
        attention_probs_dropout_prob=work.dropout_rate,
        max_position_embeddings=max(512, work.sequence_length),
        attn_implementation=attention,
    )
    return Pretrainer(BertForPreTraining(config)).train()


class Pretrainer(torch.nn.Module):
    """Both losses, with the head of masked words at the masks only."""

    def __init__(self, bert: BertForPreTraining):
        super().__init__()
        self.bert = bert

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        states, pooled = self.bert.bert(
            input_ids=batch["tokens"],
            attention_mask=torch.ones_like(batch["tokens"]),
            token_type_ids=batch["segments"],
        )[:2]
        num_rows, length, width = states.shape
        places = batch["positions"] + length * torch.arange(num_rows)[:, None]
        masked = states.reshape(-1, width).index_select(0, places.reshape(-1))
        words = self.bert.cls.predictions(masked).float()
        following = self.bert.cls.seq_relationship(pooled).float()
        return functional.cross_entropy(
            words, batch["labels"].reshape(-1)
        ) + functional.cross_entropy(following, batch["next"])


def optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)


def tensors(batch: dict) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def step(model, optimizer_, batch, product_dtype: str) -> float:
    """One step; reads the loss, as the loops of others do for their progress bars."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=product_dtype == "bfloat16"):
        loss = model(batch)
    loss.backward()
    optimizer_.step()
    optimizer_.zero_grad(set_to_none=True)
    return loss.item()
