"""Puts the measured tables into docs/QUANTIZATION.md, between its marks.

    python quantization.py ../../docs/QUANTIZATION.md build/quantization.md build/zeros.md build/accuracy.md
"""

import os
import re
import sys

document, *tables = sys.argv[1:]
text = open(document, encoding="utf-8").read()
for path in tables:
    name = os.path.splitext(os.path.basename(path))[0]
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    assert begin in text and end in text, f"{document} has no place for {name}"
    table = open(path, encoding="utf-8").read()
    text = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + table + end, text, flags=re.S)
open(document, "w", encoding="utf-8").write(text)
