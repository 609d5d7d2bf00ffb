"""Small checkpoints of transformers' families with random weights, and what torch makes of them.

    peers/bin/python tests/benchmarks/peers/reference_outputs.py tests/data/hugging_face
    peers/bin/python tests/benchmarks/peers/reference_outputs.py tests/data/minilm.safetensors \
        --model FOLDER

For each family a folder as `save_pretrained` writes it (that of BERT in shards), and in
`expected.safetensors` ids, masks and outputs in float32. With --model, the outputs alone, of a real
checkpoint. Needs torch and transformers; the tests that read the files do not.
"""

import argparse
from pathlib import Path

import tokenizers
import torch
import transformers
from safetensors.torch import save_file

WORDS = ["a", "cat", "sat", "on", "the", "mat", "dog", "lay", "by", "door", "##s", "##ed", ".", ","]
TEXTS = [
    "A gripping film, told without haste.",
    "The committee's 3rd report (2019) was never published!",
    "It rained; we stayed inside and read all afternoon long.",
]
CLASSES = {"id2label": {0: "no", 1: "so", 2: "yes"}}
COMMON = {"vocab_size": 300, "initializer_range": 0.3}
ENCODER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    if arguments.model:
        save_file(real(arguments.model), arguments.out)
        return
    for name, (config, kind, vocabulary) in families().items():
        torch.manual_seed(0)
        model = kind(config).eval()
        with torch.no_grad():
            for weight in model.parameters():  # zeros and ones would hide mistakes
                weight.add_(torch.randn_like(weight) * 0.1)
        folder = arguments.out / name
        folder.mkdir(parents=True)
        size = {"max_shard_size": "20KB"} if name == "bert" else {}
        model.save_pretrained(folder, **size)
        vocabulary(folder)
        save_file(outputs(model, name), folder / "expected.safetensors")


def families():
    t = transformers
    positions = {"max_position_embeddings": 24}
    of_roberta = {"max_position_embeddings": 26, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    of_electra = {**positions, "embedding_size": 8}
    of_distilbert = {**positions, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    return {
        "bert": (
            t.BertConfig(**COMMON, **ENCODER, **positions),
            t.BertForPreTraining,
            wordpiece,
        ),
        "bert_classifier": (
            t.BertConfig(**COMMON, **ENCODER, **positions, **CLASSES),
            t.BertForSequenceClassification,
            wordpiece,
        ),
        "roberta": (
            t.RobertaConfig(**COMMON, **ENCODER, **of_roberta),
            t.RobertaForMaskedLM,
            byte_pair,
        ),
        "roberta_classifier": (
            t.RobertaConfig(**COMMON, **ENCODER, **of_roberta, **CLASSES),
            t.RobertaForSequenceClassification,
            byte_pair,
        ),
        "electra": (
            t.ElectraConfig(**COMMON, **ENCODER, **of_electra),
            t.ElectraForMaskedLM,
            wordpiece,
        ),
        "electra_classifier": (
            t.ElectraConfig(**COMMON, **ENCODER, **of_electra, **CLASSES),
            t.ElectraForSequenceClassification,
            wordpiece,
        ),
        "distilbert": (
            t.DistilBertConfig(**COMMON, **of_distilbert),
            t.DistilBertForMaskedLM,
            wordpiece,
        ),
        "distilbert_classifier": (
            t.DistilBertConfig(**COMMON, **of_distilbert, **CLASSES),
            t.DistilBertForSequenceClassification,
            wordpiece,
        ),
    }


def outputs(model, name: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 280, (3, 12), generator=generator)
    mask = (torch.arange(12) < torch.tensor([[12], [7], [10]])).long()
    if name.startswith("roberta"):
        ids = torch.where(mask == 1, ids, 1)  # positions are counted from what is no padding
    segments = (torch.arange(12) >= 5).long().expand(3, -1) * mask
    given = {"input_ids": ids, "attention_mask": mask}
    if name.startswith(("bert", "electra")):
        given["token_type_ids"] = segments
    with torch.no_grad():
        found = model(**given, output_hidden_states=True)
    logits = found.prediction_logits if name == "bert" else found.logits
    tensors = {
        "token_ids": ids,
        "padding_mask": mask,
        "segment_ids": segments if "token_type_ids" in given else torch.zeros_like(mask),
        "states": found.hidden_states[-1],
        "logits": logits,
    }
    if name == "bert":
        with torch.no_grad():
            tensors["pooled"] = model.bert(**given).pooler_output
        tensors["next_sentence"] = found.seq_relationship_logits
    return {key: value.contiguous().clone() for key, value in tensors.items()}


def real(folder: Path) -> dict[str, torch.Tensor]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    given = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(**given)
    return {
        "token_ids": given["input_ids"],
        "padding_mask": given["attention_mask"],
        "states": found.last_hidden_state.contiguous(),
        "pooled": found.pooler_output.contiguous(),
    }


def wordpiece(folder: Path) -> None:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    fillers = [f"word{number}" for number in range(300 - len(specials) - len(WORDS))]
    (folder / "vocab.txt").write_text("\n".join([*specials, *WORDS, *fillers]) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}\n')


def byte_pair(folder: Path) -> None:
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        [" ".join(WORDS)] * 3,
        vocab_size=300,
        min_frequency=1,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
    )
    tokenizer.save_model(str(folder))


if __name__ == "__main__":
    main()
