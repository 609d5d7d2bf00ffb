"""Reports as pages: one file without scripts, which needs nothing from elsewhere.

Imports jinja2 where it renders, not before.
"""

import importlib.util
from typing import Any

# Inside <style>. The reader's system says whether light or dark; the variables are also those of
# the plots, see drawing.py.
STYLE = """\
:root { color-scheme: light dark; --ink: #1a202c; --soft: #5a6778; --paper: #fff; --ground: #f7f8fa;
        --line: #cbd5e0; --rule: #e2e8f0; --blue: #2b6cb0; --orange: #c2701a; }
@media (prefers-color-scheme: dark) {
:root { --ink: #e6eaf0; --soft: #9aa8ba; --paper: #1b222d; --ground: #12171f; --line: #465365;
        --rule: #2e3947; --blue: #6db0f2; --orange: #f0a552; } }
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: var(--ink);
       background: var(--ground); margin: 0; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: .5rem 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 .8rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
section { background: var(--paper); border: 1px solid var(--rule); border-radius: 8px;
          padding: 1.2rem 1.4rem; margin: 1.2rem 0; overflow-x: auto; }
.sub, .note { color: var(--soft); }
.note { font-size: .9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem;
         margin: 1.2rem 0; }
.card { background: var(--paper); border: 1px solid var(--rule); border-radius: 8px;
        padding: .9rem 1.2rem; }
.card b { display: block; font-size: 1.6rem; line-height: 1.2; }
svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--rule);
         vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: .88rem; }
td.n, th.n { text-align: right; white-space: nowrap; }
blockquote { margin: .45rem 0; padding: .4rem .8rem; border-left: 3px solid var(--line);
             background: var(--ground); overflow-wrap: anywhere; font-size: .92rem; }
blockquote span { display: block; color: var(--soft); font-size: .85rem; }
code, pre { font-size: .9em; overflow-wrap: anywhere; white-space: pre-wrap; }
pre { background: var(--ground); border-radius: 6px; padding: .6rem .8rem; margin: .4rem 0; }
"""


def are_possible() -> bool:
    """Whether what draws and renders pages is installed."""
    return all(importlib.util.find_spec(name) for name in ("jinja2", "matplotlib"))


def render(template: str, values: dict[str, Any]) -> str:
    """A page from a template of Jinja; what is no drawing of ours is escaped.

    Args:
        template: Of the page; has `{{ style | safe }}` inside <style>.
        values: By the names in the template.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(template).render(style=STYLE, **values)
