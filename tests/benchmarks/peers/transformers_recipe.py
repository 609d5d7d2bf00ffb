"""Masked words by the recipe of transformers: a line to a row, padded, with its Trainer.

    python tests/benchmarks/peers/transformers_recipe.py WORK 'novels/*.txt' --vocabulary vocab.txt

Run by ../end_to_end.py. As the example script for masked words with --line_by_line and
--pad_to_max_length: lines are tokenized and padded beforehand, DataCollatorForLanguageModeling
draws the masks, the loss is over all positions, bf16 autocast, fused AdamW, linear schedule. Lines
are a random sample of the files'.
"""

import argparse
import glob
import json
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
from tokenizers import BertWordPieceTokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    import step_work

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=step_work.Work.read)
    parser.add_argument("texts", help="a glob")
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--product-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warmup", type=int, default=3)
    arguments = parser.parse_args()
    work, num_steps = arguments.work, arguments.warmup + arguments.steps
    tokenizer = BertTokenizerFast(
        tokenizer_object=BertWordPieceTokenizer(arguments.vocabulary, lowercase=True)._tokenizer,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    rows = Rows(arguments.texts, tokenizer, num_steps * work.batch_size, work.sequence_length)
    clock = step_work.Clock(arguments.warmup)
    with tempfile.TemporaryDirectory() as folder:
        trainer = CountingTrainer(
            model=_model(work, tokenizer),
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=work.batch_size,
                max_steps=num_steps,
                learning_rate=1e-4,
                warmup_steps=10,
                weight_decay=0.01,
                bf16=arguments.product_dtype == "bfloat16",
                use_cpu=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,  # the collator is faster when told the special tokens
            ),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
            train_dataset=rows,
            callbacks=[Ticks(clock)],
        )
        trainer.train()
    result = clock.result()
    tokens = np.mean(trainer.tokens[arguments.warmup :])
    result["tokens_a_second"] = 1e3 * tokens / result["mean_wall_ms"]
    result["real_share"] = tokens / work.batch_size / work.sequence_length
    print(json.dumps({**result, "memory_mb": step_work.peak_memory()}))


class Rows:
    """Tokenized and padded lines, as lists: what the `datasets` library would give."""

    def __init__(self, texts: str, tokenizer, num_rows: int, length: int):
        lines: list[str] = []
        for path in sorted(glob.glob(texts)):
            lines += filter(str.strip, Path(path).read_text(encoding="utf-8").splitlines())
        self.columns = tokenizer(
            random.Random(0).choices(lines, k=num_rows),
            padding="max_length",
            truncation=True,
            max_length=length,
            return_special_tokens_mask=True,
            return_tensors="np",
        )

    def __len__(self) -> int:
        return len(self.columns["input_ids"])

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return {name: values[row].tolist() for name, values in self.columns.items()}


class CountingTrainer(Trainer):
    """Counts the real tokens of each step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tokens: list[int] = []

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.tokens.append(int(inputs["attention_mask"].sum()))
        return super().compute_loss(model, inputs, *args, **kwargs)


class Ticks(TrainerCallback):
    """Tells a clock that a step has ended."""

    def __init__(self, clock):
        self.clock = clock

    def on_step_end(self, *_, **__):
        self.clock.tick()


def _model(work, tokenizer) -> BertForMaskedLM:
    return BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=work.hidden_dim,
            num_hidden_layers=work.num_layers,
            num_attention_heads=work.num_heads,
            intermediate_size=work.intermediate_dim,
            hidden_dropout_prob=work.dropout_rate,
            attention_probs_dropout_prob=work.dropout_rate,
            max_position_embeddings=max(512, work.sequence_length),
        )
    )


if __name__ == "__main__":
    main()
