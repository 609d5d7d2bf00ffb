"""Whether transformers makes of a run, as `tfpt convert` writes it, what tfpt makes of it.

    python -m venv peers && peers/bin/pip install 'torch==2.13.*' transformers
    python tests/benchmarks/written_weights.py RUN texts.txt --peer-python peers/bin/python

RUN is of any recipe but embed. Converts it, lets transformers load the folder by the class that its
config.json names, and compares the ids of the texts (a line each, the first 50) and the logits.
Prints which weights that class misses or does not know, how many rows of ids differ, and the
largest difference of a logit.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpt import checkpoints, config, features, recipe_names, weights
from tfpt.pipelines.packing import pack_segments

PEER = Path(__file__).parent / "peers" / "transformers_outputs.py"
NUM_TEXTS, LENGTH = 50, 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--peer-python", required=True)
    arguments = parser.parse_args()
    lines = arguments.texts.read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line.strip()][:NUM_TEXTS]
    run, recipe = checkpoints.open_run(arguments.run), recipe_names.of_run(arguments.run)
    exact = {"training": {"product_dtype": "float32"}}
    settings = config.from_dict(config.from_dict(recipe.config(), run.settings), exact)
    labels = [run.label_names] if recipe_names.is_for_finetuning(recipe) else []
    model = checkpoints.load(
        arguments.run, build=lambda run: recipe.model(settings, run.tokenizer, *labels)
    )
    with tempfile.TemporaryDirectory() as folder:
        written = weights.write(
            Path(folder) / "written",
            model,
            to="hugging-face",
            size=settings.model,
            tokenizer=run.tokenizer,
            label_names=run.label_names,
        )
        length = min(LENGTH, settings.model.max_sequence_length)
        ids, logits = _outputs(model, run.tokenizer, texts, length)
        np.savez(Path(folder) / "outputs.npz", texts=np.array(texts), ids=ids, logits=logits)
        subprocess.run([arguments.peer_python, PEER, written, f"{folder}/outputs.npz"], check=True)


def _outputs(model, tokenizer, texts, length) -> tuple[np.ndarray, np.ndarray]:
    """The ids (B, T) of texts, and the logits that transformers gives, in its order of axes."""
    token_ids, segment_ids, padding_mask = pack_segments(
        [tokenizer.tokenize(texts)],
        sequence_length=length,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
        pad_id=tokenizer.pad_id,
    )
    given = {
        features.TOKEN_IDS: token_ids,
        features.SEGMENT_IDS: segment_ids,
        features.PADDING_MASK: padding_mask,
        features.ANSWER_MASK: tf.ones_like(token_ids),
        features.MASK_POSITIONS: tf.tile(tf.range(length)[None], [len(texts), 1]),
    }
    outputs = model({name: given[name] for name in model.input})
    (name,) = outputs.keys() & {*features.LABELS} - {features.NEXT_SENTENCE}
    logits = outputs[name].numpy()
    if name == features.QUESTION_ANSWERING:
        logits = logits.transpose(0, 2, 1)
    if name == features.REGRESSION:
        logits = logits[:, None]
    return np.where(padding_mask > 0, token_ids, -1), logits


if __name__ == "__main__":
    main()
