"""Run by a test: exports a tiny model where tensorflow-text cannot be imported.

    python export_without_text.py TOKENIZER OUT [MODULE]

MODULE builds it: tiny_classifier or tiny_tagger.

Prints the signatures of what was written and the warnings, as JSON.
"""

import importlib
import json
import sys
import warnings

sys.modules["tensorflow_text"] = None  # before anything imports it
name = sys.argv[3] if len(sys.argv) > 3 else "tiny_classifier"
export, pipelines, loaded_model, tiny = map(
    importlib.import_module,
    ("tfpt.export", "tfpt.pipelines", "tfpt.serving.loaded_model", name),
)

tokenizer = pipelines.load_tokenizer(sys.argv[1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    path = export.saved_model(
        tiny.build(tokenizer),
        tokenizer,
        sys.argv[2],
        labels=tiny.LABELS,
        sequence_length=tiny.SEQUENCE_LENGTH,
    )
signatures = loaded_model.LoadedModel(path, name="films", version=1).signature_defs
said = [str(one.message) for one in caught if "tensorflow-text" in str(one.message)]
print(json.dumps([sorted(name for name in signatures if not name.startswith("__")), said]))
