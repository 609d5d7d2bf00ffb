"""The five special tokens every recipe knows by its role, and what they are called elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

ROLES = ("pad", "unknown", "cls", "sep", "mask")

# What a role is called in files of others, the first that is there: BERT's names, then those of
# RoBERTa, XLNet, T5 and GPT-2.
_NAMES = {
    "pad": ("[PAD]", "<pad>"),
    "unknown": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<cls>", "<s>"),
    "sep": ("[SEP]", "<sep>", "</s>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>"),
}


def find_roles(entries: Mapping[str, int]) -> dict[str, int]:
    """The id of each role that an entry of a known name fills, in the order of `ROLES`."""
    roles = {}
    for role in ROLES:
        for name in _NAMES[role]:
            if name in entries:
                roles[role] = entries[name]
                break
    return roles


def missing_tokens(roles: Mapping[str, int]) -> list[str]:
    """What `with_special_tokens` has to append: a token for each role that is not filled."""
    return [token for role, token in zip(ROLES, SPECIAL_TOKENS, strict=True) if role not in roles]


def all_special_ids(roles: Mapping[str, int], others: Sequence[int] = ()) -> tuple[int, ...]:
    """The ids of the roles, in the order of `ROLES`, then those of other special tokens."""
    first = [roles[role] for role in ROLES if role in roles]
    return tuple(dict.fromkeys([*first, *sorted(others)]))


def require_roles(tokenizer: Any, *roles: str) -> None:
    """Raise a ValueError where the vocabulary of a tokenizer does not fill a role."""
    for role in roles:
        if role not in tokenizer.roles:
            raise ValueError(
                f"This vocabulary of {tokenizer.vocabulary_size:,} entries has no {role} token "
                f"({', '.join(_NAMES[role])}), which is needed here. Append what is missing: "
                "`pipelines.load_tokenizer(...).with_special_tokens().save(...)`."
            )


def special_id(role: str) -> property:
    """A property that gives the id of a role out of the object's `roles`.

    A role that the vocabulary does not fill is a ValueError when it is asked for, not before: a
    vocabulary without [MASK] still tokenizes.
    """

    def get(tokenizer: Any) -> int:
        require_roles(tokenizer, role)
        return tokenizer.roles[role]

    return property(get, doc=f"The id of the {role} token.")
