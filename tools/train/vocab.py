"""A vocabulary of the World grammar: ids 1 to 256 are the bytes, then words, sorted by length and bytes.

Id 0 ends a document and is not in the file. `python vocab.py build/facts.json build/vocab.txt` writes it.
"""

import collections
import functools
import re
import sys

END = 0
WORDS_ZH = """
首都 货币 语言 官方 区号 电话 国际 代码 哪里 什么 哪个 哪座 哪些 哪种 国家 城市 请问 告诉我 你知道 我想知道 多少 怎么说 中文 英文 英语 翻译成 意思 反义词
等于 计算 下一句 下一个 上一个 背诵 作者 谁写的 你好 您好 谢谢 再见 不知道 使用 属于 位于 之后 之前 后面 前面 接下来 人口 总统 天气 首诗 开头 内容 的 吗
呢 大洲 哪个洲 列出 说出 有哪些 今天 明天 现在 你会 你能 我是 模型 演示 名字 语言模型 可以 问题 那么 它的 这个 那个 还有 相反 机器人 程序 聪明 笑话
""".split()


class Tokenizer:
    def __init__(self, path):
        self.ids, self.bytes = {}, [b""] * 1
        for line in open(path, encoding="utf-8"):
            number, rest = line.rstrip("\n").split(" ", 1)
            literal, length = rest.rsplit(" ", 1)
            value = eval(literal)  # a literal that we wrote
            value = value.encode() if isinstance(value, str) else value
            assert len(value) == int(length) and int(number) == len(self.bytes)
            self.bytes.append(value)
            if int(number) > 256:
                self.ids[value.decode()] = int(number)
        self.longest = collections.defaultdict(int)
        for token in self.ids:
            self.longest[token[0]] = max(self.longest[token[0]], len(token))

    def encode(self, text):
        out, i, ids = [], 0, self.ids
        while i < len(text):
            for n in range(min(self.longest.get(text[i], 0), len(text) - i), 0, -1):
                token = ids.get(text[i : i + n])
                if token is not None:
                    out.append(token)
                    i += n
                    break
            else:
                out.extend(b + 1 for b in text[i].encode())
                i += 1
        return out

    def decode(self, tokens):
        return b"".join(self.bytes[t] for t in tokens)


def literal(value):
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return repr(value)
    return repr(text)


def write(tokens, path):
    values = [bytes([b]) for b in range(256)]
    rest = sorted({t.encode() for t in tokens if len(t.encode()) > 1}, key=lambda v: (len(v), v))
    with open(path, "w", encoding="utf-8") as f:
        for i, value in enumerate(values + rest):
            f.write(f"{i + 1} {literal(value)} {len(value)}\n")
    return 1 + 256 + len(rest)


def build(corpus):
    """Words of all that is asked and answered, whole names in Chinese, single characters, parts of words."""
    text = corpus.everything()
    tokens = {"\n\n", "User:", "Assistant:"} | set(WORDS_ZH)
    counts = collections.Counter()
    parts = collections.Counter()
    for line in text:
        for word in re.findall(r" ?[A-Za-zÀ-ÿ]+", " " + line):
            counts[word] += 1
            counts[" " + word.strip()] += 1
        tokens.update(re.findall(r"[^\x00-\x7fÀ-ÿ]", line))
    for word in list(counts):
        tokens.add(word)
        if word[0] == " ":
            tokens.add(word.lower())
        letters = word.strip().lower()
        parts.update(letters[i : i + n] for n in (2, 3) for i in range(len(letters) - n + 1))
    tokens.update(sorted(parts, key=lambda p: (-parts[p], p))[:400])
    tokens.update(" " + c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-*=×")
    for name in corpus.names_zh():
        tokens.add(name)
        tokens.add(corpus.traditional(name))
    tokens.update(corpus.traditional(w) for w in WORDS_ZH)
    return {t for t in tokens if not re.search(r"[0-9]", t)}


if __name__ == "__main__":
    from corpus import Corpus

    size = write(build(Corpus(sys.argv[1])), sys.argv[2])
    print(f"vocabulary: {size} ids")
