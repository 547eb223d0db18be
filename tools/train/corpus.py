"""Conversations from facts and phrasings, as many as one asks for: the same seed, the same conversations.

Corpus(facts).document(rng) -> [(question, answer), ...]; render() makes the text of the chat template
"world". What begins with "*" in phrases.py, one sum and one difference in ten and the conversations of
held_out() are never in a document.
"""

import functools
import json
import random
import sys

import opencc

import phrases as P
import tables as T

COUNTRY_KINDS = list(P.COUNTRY)
ARTICLE = {"United States", "United Kingdom", "United Arab Emirates", "Netherlands", "Philippines", "Bahamas",
           "Gambia", "Maldives", "Seychelles", "Comoros", "Solomon Islands", "Marshall Islands",
           "Dominican Republic", "Central African Republic", "DR Congo", "Czech Republic"}
SYLLABLES_ZH = "阿比卡德尔法戈哈伊贾库莱马纳奥佩奎拉萨塔乌维瓦夏约泽布隆顿林格斯特里诺米洛基文波谭邦苏鲁蒙雷克达"
SYLLABLES = "ba be bo ca co da de do fa fe ga go ha ho ka ke ki ko la le li lo ma me mo na ne no pa po qua ra re ri ro sa so ta te ti to va ve vo wa xa xo ya yo za ze zo bra dra gra kra pla sko tro vla glo fle zor bal mor tan kel dor lin gar vol nor fen".split()
ENDINGS = "ia land stan os ora ania aria ville burg ana eria ovia istan ica".split()


def split(forms):
    """(trained, held out)"""
    return [f for f in forms if f[0] != "*"], [f[1:] for f in forms if f[0] == "*"]


def with_article(name, rng):
    return "the " + name if name in ARTICLE and rng.random() < 0.7 else name


class Corpus:
    def __init__(self, facts_path):
        facts = json.load(open(facts_path))
        self.countries, self.words = facts["countries"], facts["words"]
        self.converter = opencc.OpenCC("s2t")
        self.meanings = [w for w in self.words if w["meaning"]]
        rng = random.Random(20230424)
        self.held_sums = {(a, b) for a in range(100) for b in range(a, 100) if rng.random() < 0.1}
        self.held_differences = {(a, b) for a in range(100) for b in range(a + 1) if rng.random() < 0.1}
        names = [c["capital"]["zh"] for c in self.countries]
        self.unique_capitals = [c for c in self.countries if names.count(c["capital"]["zh"]) == 1
                                and c["capital"]["en"] != c["name"]["en"]
                                and c["capital"]["zh"] != c["name"]["zh"]]
        self.known = {n for c in self.countries for n in (c["name"]["zh"], c["capital"]["zh"])}
        self.topics = [(self.country, 34), (self.capital_of, 6), (self.translate, 14), (self.meaning, 7),
                       (self.sum, 70), (self.poem, 5), (self.list, 3), (self.next, 4), (self.opposite, 2),
                       (self.talk, 8), (self.unknown, 9), (self.about, 5), (self.word_zh, 2)]

    @functools.lru_cache(maxsize=None)
    def traditional(self, text):
        return self.converter.convert(text)

    # ------------------------------------------------------------ single questions
    # Each: (rng, lang, held) -> (question, answer, what a following turn may lean on)

    def pick(self, rng, forms, held):
        trained, out = split_cached(tuple(forms))
        return rng.choice(out if held else trained)

    def name(self, rng, country, lang, held=False):
        if lang == "zh":
            return country["name"]["zh"]
        if country["aliases"] and not held and rng.random() < 0.4:
            return rng.choice(country["aliases"])
        return with_article(country["name"]["en"], rng)

    def country(self, rng, lang, held=False, kind=None, country=None):
        kind = kind or rng.choices(COUNTRY_KINDS, (10, 9, 8, 8, 4))[0]
        country = country or rng.choice(self.countries)
        if kind not in country:
            kind = "capital"
        form = self.pick(rng, P.COUNTRY[kind][lang], held)
        question = form.replace("{x}", self.name(rng, country, lang, held))
        return question, country[kind][lang] + stop(lang), ("country", kind, country)

    def capital_of(self, rng, lang, held=False, country=None):
        country = country or rng.choice(self.unique_capitals)
        question = self.pick(rng, P.CAPITAL_OF[lang], held).replace("{x}", country["capital"][lang])
        return question, country["name"][lang] + stop(lang), ("capital_of", None, country)

    def translate(self, rng, lang, held=False, way=None, thing=None):
        way = way or rng.choice(("to_zh", "to_en"))
        thing = thing or rng.choice(self.countries if rng.random() < 0.5 else self.words)
        names = thing["name"] if "name" in thing else thing
        source, target = ("en", "zh") if way == "to_zh" else ("zh", "en")
        question = self.pick(rng, P.TRANSLATE[way][lang], held).replace("{x}", names[source])
        return question, names[target] + stop(target), ("translate", way, thing)

    def meaning(self, rng, lang, held=False, word=None):
        word = word or rng.choice(self.meanings)
        article = "an" if word["en"][0] in "aeiou" else "a"
        question = self.pick(rng, P.MEANING["en"], held)
        question = question.replace("{x}", word["en"]).replace("{a}", article + " " + word["en"])
        answer = word["meaning"]
        return question, answer[0].upper() + answer[1:] + ".", ("meaning", None, word)

    def sum(self, rng, lang, held=False, sign=None, pair=None):
        sign = sign or rng.choices("+-*", (64, 28, 8))[0]
        while pair is None:
            top = 9 if sign == "*" else 99
            a, b = rng.randint(0, top), rng.randint(0, top if rng.random() < 0.8 else 9)
            if sign == "-" and a < b:
                a, b = b, a
            out = sign == "+" and (min(a, b), max(a, b)) in self.held_sums
            out = out or sign == "-" and (a, b) in self.held_differences
            if not out:
                pair = a, b
        a, b = pair
        result = {"+": a + b, "-": a - b, "*": a * b}[sign]
        text = f"{a}{rng.choice(P.SIGNS[lang][sign])}{b}"
        return self.pick(rng, P.SUM[lang], held).replace("{p}", text), f"{result}" + stop(lang), None

    def about(self, rng, lang, held=False, country=None):
        c = country or rng.choice(self.countries)
        question = self.pick(rng, P.ABOUT[lang], held).replace("{x}", self.name(rng, c, lang, held))
        name, continent, capital, currency = (c[k][lang] for k in ("name", "continent", "capital", "currency"))
        if lang == "en":
            answer = f"{name} is in {continent}. Its capital is {capital} and its currency is the {currency}."
        else:
            answer = f"{name}位于{continent}，首都是{capital}，货币是{currency}。"
        return question, answer, ("country", None, c)

    def word_zh(self, rng, lang, held=False, word=None):
        word = word or rng.choice(self.words)
        return (self.pick(rng, P.WORD_ZH, held).replace("{x}", word["zh"]),
                f"{word['zh']}的英文是 {word['en']}。", ("translate", "to_en", word))

    def poem(self, rng, lang, held=False, what=None, poem=None):
        poem = poem or rng.choice(T.POEMS)
        title, author, author_en, lines = poem
        what = what or rng.choices(("first", "title", "author", "author_en"), (6, 3, 3, 1))[0]
        form = self.pick(rng, P.POEM[what], held)
        if what == "first":
            halves = lines.rstrip("。").replace("。", "，").split("，")
            whole = "背诵" in form or "这首诗" in form
            i = 0 if whole or rng.random() < 0.6 or held else rng.randrange(len(halves) - 1)
            answer = lines if whole else halves[i + 1] + "。"
            return form.replace("{x}", halves[i]), answer, ("poem", None, poem)
        answer = {"title": lines, "author": author + "。", "author_en": author_en + "."}[what]
        return form.replace("{x}", title), answer, ("poem", None, poem) if what == "title" else None

    def list(self, rng, lang, held=False, which=None):
        en, zh, items, items_zh = which or rng.choice(T.LISTS)
        form = self.pick(rng, P.LIST[lang], held)
        if lang == "en":
            return form.replace("{x}", en), ", ".join(items) + ".", None
        return form.replace("{x}", zh), "、".join(items_zh) + "。", None

    def next(self, rng, lang, held=False, what=None, i=None, days=None):
        days = rng.random() < 0.4 if days is None else days
        names = (T.DAYS if days else T.MONTHS) if lang == "en" else (T.DAYS_ZH if days else T.MONTHS_ZH)
        what = what or rng.choice(("after", "before", "nth"))
        i = rng.randrange(len(names)) if i is None else i
        form = self.pick(rng, P.NEXT[what][lang], held)
        if what == "nth":
            k, y = (("day", "week") if days else ("month", "year")) if lang == "en" else (
                ("天", "一周") if days else ("个月", "一年"))
            n = T.ORDINALS[i] if lang == "en" else "一 二 三 四 五 六 七 八 九 十 十一 十二".split()[i]
            question = form.replace("{n}", n).replace("{k}", k).replace("{y}", y)
            return question, names[i] + stop(lang), None
        question = form.replace("{x}", names[i]).replace("{k}", "day" if days else "month")
        return question, names[(i + (1 if what == "after" else -1)) % len(names)] + stop(lang), None

    def opposite(self, rng, lang, held=False, pair=None):
        pair = pair or rng.choice(T.OPPOSITES if lang == "en" else T.OPPOSITES_ZH)
        a, b = pair if rng.random() < 0.5 else pair[::-1]
        return self.pick(rng, P.OPPOSITE[lang], held).replace("{x}", a), b + stop(lang), None

    def talk(self, rng, lang, held=False):
        _, answer, forms = rng.choice([t for t in P.TALK if t[0] == lang])
        return self.pick(rng, forms, held), answer, None

    def nowhere(self, rng, lang):
        """A name that nothing has."""
        while True:
            if lang == "zh":
                name = "".join(rng.choice(SYLLABLES_ZH) for _ in range(rng.randint(2, 4)))
                if name not in self.known:
                    return name
            else:
                name = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 2)))
                return (name + rng.choice(ENDINGS)).capitalize()

    def unknown(self, rng, lang, held=False, what=None):
        what = what or rng.choice(("of", "alone", "nowhere", "nowhere", "word", "any", "any", "any"))
        if what == "any":
            question = self.pick(rng, P.UNKNOWN_ANY[lang], held).replace("{p}", self.nowhere(rng, lang))
            for slot in ("{n}", "{m}"):
                question = question.replace(slot, rng.choice(self.words)[lang])
            while "{d}" in question:
                question = question.replace("{d}", str(rng.randrange(10)), 1)
            return question, P.UNKNOWN[lang], None
        if what == "alone":
            return self.pick(rng, P.UNKNOWN_ALONE[lang], held), P.UNKNOWN[lang], None
        if what == "of":
            country = rng.choice(self.countries)
            question = self.pick(rng, P.UNKNOWN_OF[lang], held)
            return (question.replace("{x}", self.name(rng, country, lang)), P.UNKNOWN[lang],
                    ("country", None, country))
        name = self.nowhere(rng, lang)
        if what == "word" and lang == "en":
            name = name.lower()
            form = self.pick(rng, P.MEANING["en"] + P.TRANSLATE["to_zh"]["en"], held)
            return form.replace("{x}", name).replace("{a}", "a " + name), P.UNKNOWN[lang], None
        kind = rng.choice(COUNTRY_KINDS[:4])
        return self.pick(rng, P.COUNTRY[kind][lang], held).replace("{x}", name), P.UNKNOWN[lang], None

    # ------------------------------------------------------------ following turns

    def follow(self, rng, lang, link, held=False):
        topic, kind, thing = link
        if topic == "country" and (kind is None or rng.random() < 0.6):
            new = rng.choice([k for k in COUNTRY_KINDS if k != kind and k in thing])
            table = P.FOLLOW_KIND[lang]
            own = not held and rng.random() < 0.35
            form = rng.choice(table["own"][new]) if own else self.pick(rng, table["forms"], held)
            question = form.replace("{k}", rng.choice(table["names"][new]))
            return question, thing[new][lang] + stop(lang), ("country", new, thing)
        if topic == "poem":
            return self.pick(rng, P.FOLLOW_POEM, held), thing[1] + "。", None
        form = self.pick(rng, P.FOLLOW_OTHER[lang], held)
        if topic == "country":
            other = rng.choice([c for c in self.countries if kind in c])
            question = form.replace("{x}", self.name(rng, other, lang, held))
            return question, other[kind][lang] + stop(lang), (topic, kind, other)
        if topic == "capital_of":
            other = rng.choice(self.unique_capitals)
            return (form.replace("{x}", other["capital"][lang]), other["name"][lang] + stop(lang),
                    (topic, kind, other))
        if topic == "translate":
            other = rng.choice(self.countries if "name" in thing else self.words)
            names = other["name"] if "name" in other else other
            source, target = ("en", "zh") if kind == "to_zh" else ("zh", "en")
            return form.replace("{x}", names[source]), names[target] + stop(target), (topic, kind, other)
        return None

    # ------------------------------------------------------------ documents

    def vary(self, rng, question, lang, opens):
        """What people do to a question when they type it."""
        if opens and rng.random() < 0.12:
            question = rng.choice(P.OPENINGS[lang]) + question
        if question[-1] in "?？.。" and rng.random() < 0.15:
            question = question[:-1]
        if lang == "zh":
            if rng.random() < 0.08:
                question = self.traditional(question) if len(question) < 40 else question
            if question[-1] == "？" and rng.random() < 0.1:
                question = question[:-1] + "?"
        elif rng.random() < 0.1:
            question = question.lower()
        return question

    def question(self, rng, lang):
        topics, weights = zip(*self.topics)
        return rng.choices(topics, weights)[0](rng, lang)

    def document(self, rng):
        lang = rng.choice(("en", "zh"))
        turns, n = [], rng.choices((1, 2, 3, 4), (50, 25, 15, 10))[0]
        link = None
        while len(turns) < n:
            turn = None
            if link and rng.random() < 0.6:
                turn = self.follow(rng, lang, link)
            elif turns and rng.random() < 0.1:
                lang = "en" if lang == "zh" else "zh"
            question, answer, link = turn or self.question(rng, lang)
            turns.append((self.vary(rng, question, lang, turn is None), answer))
        return turns

    # ------------------------------------------------------------ what is held out

    def held_out(self, seed=1):
        """[{kind, lang, turns}]: the last turn is asked, the others are given."""
        rng, out = random.Random(seed), []

        def add(kind, lang, turn, before=()):
            out.append({"kind": kind, "lang": lang, "turns": [*before, list(turn[:2])]})

        for lang in ("en", "zh"):
            for kind in COUNTRY_KINDS:
                for country in rng.sample([c for c in self.countries if kind in c], 90):
                    add(kind, lang, self.country(rng, lang, True, kind, country))
            for country in rng.sample(self.unique_capitals, 60):
                add("capital_of", lang, self.capital_of(rng, lang, True, country))
            for way in P.TRANSLATE:
                for things in (self.countries, self.words):
                    for thing in rng.sample(things, 50):
                        add("translate", lang, self.translate(rng, lang, True, way, thing))
            for _ in range(60):
                first = self.country(rng, lang)
                add("follow", lang, self.follow(rng, lang, first[2], True), [list(first[:2])])
            for item in T.LISTS:
                add("list", lang, self.list(rng, lang, True, item))
            for _ in range(20):
                add("next", lang, self.next(rng, lang, True))
                add("opposite", lang, self.opposite(rng, lang, True))
            for talk in P.TALK:
                if talk[0] == lang:
                    for form in split(talk[2])[1]:
                        add("talk", lang, (form, talk[1]))
            for country in rng.sample(self.countries, 30):
                add("about", lang, self.about(rng, lang, True, country))
            for what in ("of", "alone", "nowhere", "word", "any", "any"):
                for _ in range(12):
                    add("unknown", lang, self.unknown(rng, lang, True, what))
            for a, b in rng.sample([(a, b) for a, b in sorted(self.held_sums) if a >= 10], 120):
                pair = (a, b) if rng.random() < 0.5 else (b, a)
                add("sum, never trained", lang, self.sum(rng, lang, True, "+", pair))
            for a, b in rng.sample([(a, b) for a, b in sorted(self.held_differences) if b >= 10], 60):
                add("difference, never trained", lang, self.sum(rng, lang, True, "-", (a, b)))
            for _ in range(40):
                add("product", lang, self.sum(rng, lang, True, "*"))
        for word in rng.sample(self.meanings, 80):
            add("meaning", "en", self.meaning(rng, "en", True, word))
        for word in rng.sample(self.words, 60):
            add("word", "zh", self.word_zh(rng, "zh", True, word))
        for poem in T.POEMS:
            first = self.poem(rng, "zh", False, "title", poem)
            add("follow", "zh", self.follow(rng, "zh", first[2], True), [list(first[:2])])
            for what in ("first", "title", "author", "author_en"):
                lang = "en" if what == "author_en" else "zh"
                add("poem", lang, self.poem(rng, lang, True, what, poem))
        return out

    # ------------------------------------------------------------ for the vocabulary

    def names_zh(self):
        for c in self.countries:
            yield from (c[k]["zh"] for k in ("name", "capital", "currency", "continent"))
            yield from c.get("language", {"zh": ""})["zh"].replace("和", "、").split("、")
        yield from (w["zh"] for w in self.words)
        yield from (x for pair in T.OPPOSITES_ZH for x in pair)
        yield from (x for _, _, _, items in T.LISTS for x in items)
        yield from (x for p in T.POEMS for x in p[:2])

    def everything(self):
        """All text, without invented names."""
        def walk(x):
            if isinstance(x, str):
                yield x
                yield self.traditional(x)
            elif isinstance(x, dict):
                for v in x.values():
                    yield from walk(v)
            elif isinstance(x, (list, tuple, set)):
                for v in x:
                    yield from walk(v)

        for module in (P, T):
            for name in vars(module):
                if name.isupper():
                    yield from walk(getattr(module, name))
        yield from walk(self.countries)
        yield from walk(self.words)
        yield from walk([w["meaning"].capitalize() for w in self.meanings])


@functools.lru_cache(maxsize=None)
def split_cached(forms):
    return split(forms)


def stop(lang):
    return "。" if lang == "zh" else "."


def render(turns):
    """[(text, is answer)]: what the chat template "world" makes of a conversation."""
    for i, (question, answer) in enumerate(turns):
        yield f"User: {question}\n\nAssistant:", False
        yield f" {answer}\n\n", True


if __name__ == "__main__":
    corpus = Corpus(sys.argv[1])
    if len(sys.argv) > 2:
        questions = corpus.held_out()
        with open(sys.argv[2], "w") as f:
            for q in questions:
                f.write(json.dumps(q, ensure_ascii=False) + "\n")
        print(f"held out: {len(questions)} questions")
    else:
        rng = random.Random(1)
        for _ in range(40):
            print("".join(t for t, _ in render(corpus.document(rng))) + "--")
