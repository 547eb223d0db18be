"""Facts of countries and words from packages -> build/facts.json.

countries-list (npm, MIT): capitals, dialling codes, continents. Babel (PyPI, BSD; data of CLDR, Unicode
licence): names of countries, currencies and languages in English and Chinese, which currency and
languages a country has, Chinese names of many capitals. WordNet 3.0 (Debian wordnet-base): meanings of
words. Typed by us: the Chinese names of the other capitals, and corrections.
"""

import json
import re
import sys

from babel import Locale
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies

import tables

MAX_LANGUAGES = 4
MAX_GLOSS_WORDS = 11


def clean(name):
    name = name.replace(" & ", " and ").replace("’", "'")
    return re.sub(r"^St\. ", "Saint ", name)


def join(names, comma, last):
    return names[0] if len(names) == 1 else comma.join(names[:-1]) + last + names[-1]


def countries(path):
    en, zh = Locale("en"), Locale("zh")
    cities = {}
    for zone, entry in zh.time_zones.items():
        if "city" in entry:
            name = en.time_zones.get(zone, {}).get("city") or zone.split("/")[-1].replace("_", " ")
            cities[name] = entry["city"]
    result = []
    for code, c in sorted(json.load(open(path)).items()):
        if code not in tables.TERRITORIES:
            continue
        capital = tables.CAPITALS.get(code, c["capital"])
        capital_zh = tables.CAPITALS_ZH.get(capital) or cities.get(capital)
        currencies = get_territory_currencies(code)
        currency = next((x for x in c["currency"] if x in currencies), currencies[0])
        languages = [x for x in get_official_languages(code, regional=False, de_facto=True)
                     if x in en.languages and x in zh.languages]
        if not capital or not capital_zh:
            sys.exit(f"facts: {code}: capital {capital!r} has no Chinese name")
        phone = str(c["phone"][0])
        fact = {
            "code": code,
            "name": {"en": tables.NAMES.get(code, clean(en.territories[code])),
                     "zh": tables.NAMES_ZH.get(code, zh.territories[code])},
            "aliases": tables.ALIASES.get(code, []),
            "capital": {"en": capital, "zh": capital_zh},
            "currency": {"en": en.currencies[currency], "zh": zh.currencies[currency]},
            "dialling": {"en": "+" + phone, "zh": "+" + phone},
            "continent": {"en": tables.CONTINENTS[c["continent"]][0], "zh": tables.CONTINENTS[c["continent"]][1]},
        }
        if languages and len(languages) <= MAX_LANGUAGES:
            fact["language"] = {"en": join([en.languages[x] for x in languages], ", ", " and "),
                                "zh": join([zh.languages[x] for x in languages], "、", "和")}
        result.append(fact)
    return result


def gloss(word, dictionary):
    """The first meaning of a noun, shortened to its first clause."""
    offset = None
    for line in open(dictionary + "/index.noun", encoding="utf-8"):
        if line.startswith(word + " "):
            fields = line.split()
            offset = fields[-int(fields[2])]
            break
    want = tables.SENSES.get(word, 0)
    if offset is None or want is None:
        return None
    offset = fields[-int(fields[2]):][want]
    with open(dictionary + "/data.noun", "rb") as f:
        f.seek(int(offset))
        text = f.readline().decode().split("|")[1]
    text = re.sub(r"\([^)]*\)", "", text.split(";")[0])
    text = re.sub(r"\s+", " ", text).strip().replace(" ,", ",").replace('"', "")
    words = text.split()
    if len(words) > MAX_GLOSS_WORDS:
        cut = re.split(r", | that | which | who | where | used ", text)[0].rstrip(",")
        words = cut.split()
        if len(words) > MAX_GLOSS_WORDS or len(words) < 3:
            return None
    return " ".join(words)


def main():
    countries_list, dictionary, out = sys.argv[1:4]
    words = []
    for word, chinese in tables.WORDS:
        meaning = gloss(word, dictionary)
        words.append({"en": word, "zh": chinese, "meaning": meaning})
    facts = {"countries": countries(countries_list), "words": words}
    json.dump(facts, open(out, "w"), ensure_ascii=False, indent=1)
    n = sum(w["meaning"] is not None for w in words)
    print(f"facts: {len(facts['countries'])} countries, {len(words)} words, {n} of them with a meaning")


if __name__ == "__main__":
    main()
