"""A tagger of words by transformers on torch; see torch_fine_tuning.py.

    python tests/benchmarks/peers/transformers_tagger.py ROWS --checkpoint FOLDER --seed 0

Run by ../entity_tagging.py; ROWS holds train.jsonl, validation.jsonl and test.jsonl, with the
fields `words` and `tags`. The tag of a word is the label of its first token.
"""

import json

import torch
import torch_fine_tuning
import transformers
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
)

OUTSIDE = "O"
NO_LABEL = -100  # transformers' losses pass it over


def main() -> None:
    parser = torch_fine_tuning.parser(str(__doc__))
    parser.add_argument("--length", type=int, default=96)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    splits = torch_fine_tuning.read(arguments.rows)
    names = sorted({tag for row in splits["train"] for tag in row["tags"]})
    rows, firsts = {}, {}
    for split, found in splits.items():
        rows[split], firsts[split] = _rows(found, names, tokenizer, arguments.length)
    batches = torch_fine_tuning.Batches(
        rows, DataCollatorForTokenClassification(tokenizer), arguments.batch_size
    )
    model = AutoModelForTokenClassification.from_pretrained(
        arguments.checkpoint, num_labels=len(names)
    )
    seconds = torch_fine_tuning.train(model, batches, arguments)
    answers = [
        row
        for _, found in torch_fine_tuning.answers(model, batches, "test", arguments)
        for row in found.tolist()
    ]
    predicted = [
        [OUTSIDE if place is None else names[row[place]] for place in places]
        for row, places in zip(answers, firsts["test"], strict=True)
    ]
    print(json.dumps({"predicted": predicted, "epoch_seconds": seconds}))


def _rows(rows, names, tokenizer, length):
    """Tokens and labels of each row, and of each of its words the first token, or None."""
    encoded = tokenizer(
        [row["words"] for row in rows],
        is_split_into_words=True,
        truncation=True,
        max_length=length,
    )
    found, firsts = [], []
    for number, row in enumerate(rows):
        words = encoded.word_ids(number)
        first = [words.index(i) if i in words else None for i in range(len(row["words"]))]
        labels = [NO_LABEL] * len(words)
        for place, tag in zip(first, row["tags"], strict=True):
            if place is not None:
                labels[place] = names.index(tag)
        found.append({"input_ids": encoded["input_ids"][number], "labels": labels})
        firsts.append(first)
    return found, firsts


if __name__ == "__main__":
    main()
