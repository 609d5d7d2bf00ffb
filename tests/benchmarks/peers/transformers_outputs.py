"""What transformers makes of a folder, beside what tfpt made of the run; see written_weights.py."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers


def main(folder: str, outputs: str) -> None:
    transformers.logging.set_verbosity_error()
    with np.load(outputs) as file:
        texts, ids, logits = file["texts"].tolist(), file["ids"], file["logits"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(
        texts, padding="max_length", truncation=True, max_length=ids.shape[1], return_tensors="pt"
    )
    found = np.where(given["attention_mask"] > 0, given["input_ids"], -1)
    (name,) = json.loads((Path(folder) / "config.json").read_text())["architectures"]
    model, loading = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    model.eval()
    with torch.no_grad():
        told = model(**given)
    if "start_logits" in told:
        theirs = np.stack([told["start_logits"], told["end_logits"]], axis=-1)
    else:
        theirs = np.asarray(told["prediction_logits" if "prediction_logits" in told else "logits"])
    if theirs.ndim == 3:  # of tokens: those that are padding were never asked for
        theirs, logits = theirs[ids >= 0], logits[ids >= 0]
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        print(f"{name}, {kind.replace('_', ' ')}: {sorted(loading[kind]) or 'none'}")
    print(f"rows of ids that differ: {int((found != ids).any(axis=1).sum())} of {len(ids)}")
    print(f"largest difference of a logit: {np.abs(theirs - logits).max():.2e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
