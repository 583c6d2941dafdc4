"""JSON that may stand inside a script element, whatever the strings hold."""

import json
import math
import re
from typing import Any

# `<` could end the element or begin a comment, the two separators end a line of JavaScript, and a lone surrogate has no
# UTF-8. All of them may be written as escapes.
_ESCAPED = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def finite(value: Any) -> Any:
    """`value` with NaN as null and ±inf as the strings "inf" and "-inf", since JSON has none of them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value


def dumps(value: Any) -> str:
    """`value` as JSON without `<`, `>`, `&`, line separators and lone surrogates, which are written as `\\uXXXX`."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
