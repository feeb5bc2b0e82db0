"""The page at /docs: the routes and a form to try them, in one file that asks no other host for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 25%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 0 auto; padding: 1.5rem 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .35rem .5rem; vertical-align: top;
  border-bottom: 1px solid var(--line); } td { overflow-wrap: anywhere; } code { white-space: nowrap; }
#answer { margin-top: 1rem; }
textarea { width: 100%; box-sizing: border-box; font: inherit; padding: .5rem; min-height: 6rem; }
button { font: inherit; padding: .4rem 1.2rem; margin-top: .5rem; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid var(--line); border-radius: .4rem; }
pre code { white-space: pre; }
[role=alert] { color: light-dark(#a40000, #ff9c9c); }
"""

SCRIPT = """
"use strict";
const columns = JSON.parse(document.getElementById("columns").textContent);
const form = document.getElementById("form"), out = document.getElementById("answer");
const say = (text, role) => {
  const line = document.createElement("p");
  line.textContent = text;
  if (role) line.setAttribute("role", role);
  out.replaceChildren(line);
};
const SHOWN = 5;
const readable = value => {
  if (typeof value === "number") return value.toFixed(4);
  if (value === null || typeof value !== "object") return String(value);
  const pairs = Object.entries(value).sort((a, b) => (b[1] > a[1]) - (b[1] < a[1]));
  const more = pairs.length > SHOWN ? `, and ${pairs.length - SHOWN} more` : "";
  return pairs.slice(0, SHOWN).map(([name, inner]) => `${name} ${readable(inner)}`).join(", ") + more;
};
const show = (rows, predictions) => {
  const table = document.createElement("table");
  const keys = [...new Set(predictions.flatMap(Object.keys))];
  const add = (cells, tag) => {
    const line = table.insertRow();
    for (const text of cells) {
      const cell = document.createElement(tag);
      cell.textContent = text;
      line.append(cell);
    }
  };
  add(["input", ...keys], "th");
  predictions.forEach((one, i) =>
    add([Object.values(rows[i]).join(" | "), ...keys.map(key => key in one ? readable(one[key]) : "")], "td"));
  out.replaceChildren(table);
};
form.addEventListener("submit", async event => {
  event.preventDefault();
  const filled = columns.map((_, i) => document.getElementById(`column-${i}`).value.split("\\n"));
  const rows = filled[0].map((_, i) => Object.fromEntries(columns.map((name, c) => [name, filled[c][i] ?? ""])))
    .filter(row => Object.values(row).some(cell => cell.trim()));
  if (!rows.length) return say("Write at least one line.", "alert");
  say("Waiting for the answer...");
  try {
    const answer = await fetch("v1/predict", {
      method: "POST",
      headers: {"content-type": "application/json"},
      body: JSON.stringify({inputs: rows, on_error: "return"}),
    });
    const body = await answer.json();
    if (answer.ok) show(rows, body.predictions);
    else say(`${answer.status}: ${body.error.message}`, "alert");
  } catch (error) {
    say(`No answer: ${error.message}`, "alert");
  }
});
"""


@dataclass(frozen=True)
class Page:
    """The page of one app.

    Args:
        title: of the page.
        columns: that the bundle reads.
        example: a row as a client sends it, by column.
        routes: (method, path, summary) of each.
    """

    title: str
    columns: Sequence[str]
    example: Mapping[str, Any]
    routes: Sequence[tuple[str, str, str]]

    @property
    def headers(self) -> dict[str, str]:
        """Headers under which a browser runs this script and style and nothing else, and asks no other host."""
        policy = (
            f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return {"content-security-policy": policy, "x-content-type-options": "nosniff"}

    @property
    def html(self) -> str:
        """The page."""
        title = html.escape(self.title)
        columns = json.dumps(list(self.columns)).replace("<", "\\u003c")
        return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body>
<h1>{title}</h1>
<h2>Try it</h2>
<form id="form">{"".join(_field(i, name) for i, name in enumerate(self.columns))}
<button type="submit">Predict</button></form>
<div id="answer" aria-live="polite"></div>
<h2>Routes</h2>
<table><thead><tr><th>Method</th><th>Path</th><th>What for</th></tr></thead><tbody>
{"".join(_route(*route) for route in self.routes)}
</tbody></table>
<p>The full description for programs: <a href="openapi.json">openapi.json</a></p>
<h2>From a shell</h2>
<pre><code>{html.escape(self._example())}</code></pre>
<script type="application/json" id="columns">{columns}</script>
<script>{SCRIPT}</script>
</body></html>
"""

    def _example(self) -> str:
        body = json.dumps({"inputs": [self.example]}, ensure_ascii=False)
        quoted = body.replace("'", "'\\''")
        return f"curl -H 'content-type: application/json' -d '{quoted}' \"$ADDRESS/v1/predict\""


def _field(number: int, column: str) -> str:
    name = html.escape(column)
    box = f'<textarea id="column-{number}"></textarea>'
    return f'<p><label for="column-{number}">{name}, one row per line</label><br>{box}</p>'


def _route(method: str, path: str, summary: str) -> str:
    cells = (html.escape(method), f"<code>{html.escape(path)}</code>", html.escape(summary))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
