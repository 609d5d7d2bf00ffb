"""Run by a test: exports a classifier where tensorflow-text cannot be imported.

    python export_without_text.py TOKENIZER OUT

Prints the signatures of what was written and the warnings, as JSON.
"""

import importlib
import json
import sys
import warnings

sys.modules["tensorflow_text"] = None  # before anything imports it
export, pipelines, loaded_model, tiny_classifier = map(
    importlib.import_module,
    ("tfpt.export", "tfpt.pipelines", "tfpt.serving.loaded_model", "tiny_classifier"),
)

tokenizer = pipelines.load_tokenizer(sys.argv[1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    path = export.saved_model(
        tiny_classifier.build(tokenizer),
        tokenizer,
        sys.argv[2],
        labels=tiny_classifier.LABELS,
        sequence_length=tiny_classifier.SEQUENCE_LENGTH,
    )
signatures = loaded_model.LoadedModel(path, name="films", version=1).signature_defs
said = [str(one.message) for one in caught if "tensorflow-text" in str(one.message)]
print(json.dumps([sorted(name for name in signatures if not name.startswith("__")), said]))
