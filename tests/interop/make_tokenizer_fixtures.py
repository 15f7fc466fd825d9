"""Fixtures for tokenizers, made by the reference libraries `tokenizers` and `sentencepiece`.

    python make_tokenizer_fixtures.py OUT [LOCALES]

Trains small tokenizers in the configurations of well-known models on words of 26 languages, draws 10,000 strings of
words, emoji, combining marks, exotic white space and special tokens, and writes into OUT

    strings.jsonl.gz         the strings
    NAME.gz                  each tokenizer's file (tokenizer.json, or a sentencepiece model)
    NAME.expected.json.gz    {"ids", "offsets", "decoded"} of the first strings, {"hashes"} of all,
                             {"vocabulary"}; offsets are bytes; a hash is the lower 16 bits of FNV-1a over the ids as
                             little-endian int32

Made with tokenizers 0.23.3 and sentencepiece 0.2.3. The words come from glibc's locale sources (LOCALES, by default /usr/share/i18n/locales), in whose data the FSF claims
no copyright interest, and from a few sentences below.
"""

import gzip
import json
import os
import random
import re
import struct
import sys
import tempfile
import unicodedata

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

LANGUAGES = ("en_US de_DE fr_FR es_ES pt_BR it_IT nl_NL pl_PL cs_CZ sv_SE ru_RU uk_UA el_GR tr_TR ar_EG he_IL fa_IR "
             "hi_IN bn_IN ta_IN th_TH zh_CN ja_JP ko_KR vi_VN ka_GE").split()
STRINGS, IN_FULL = 10_000, 300
VOCABULARY = 2000

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

SENTENCES = """It's a pity that they didn't come: we'll see them tomorrow, won't we? I'd say you're right; I've said so.
The cat that sat on the mat was not the one which we had seen before, and nobody knew where it had come from.
She counted 1, 2, 3, 10, 128, 1024 and 65536 sheep before the clock struck 12:30 on 24.12.1999, then fell asleep.
def add(a, b):\n    return a + b  # adds two numbers\n\nfor (int i = 0; i < 10; ++i) { sum += x[i] * y[i]; }
Jeder Tag beginnt mit einem Kaffee, und jeder Abend endet mit einem Buch. Das große Haus steht über dem Fluß.
Le garçon a mangé une pomme à l'école où il a été élève; c'était déjà l'été. ¿Dónde está mañana el niño pequeño?
Сегодня хорошая погода, и мы пойдём гулять в парк. Завтра будет дождь, поэтому останемся дома.
今日は天気がいいから、公園を散歩しましょう。明日は雨が降るので家にいます。我们明天去北京看朋友,他们住在城里。
오늘은 날씨가 좋아서 공원에서 산책을 합시다. 내일은 비가 오니까 집에 있겠습니다.
आज मौसम अच्छा है, इसलिए हम बगीचे में घूमने जाएँगे। วันนี้อากาศดีเราจะไปเดินเล่นในสวน""".split("\n")

SPACES = [" ", " ", " ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028",
          "\u0085", "\v", "\ufeff", "\u1680", "     \t"]
SIGNS = list(".,;:!?-_/\\|()[]{}<>\"'`~@#$%^&*+=") + ["...", "——", "…", "“", "”", "„", "«", "»", "،", "؟", "。", "、", "！",
                                                       "·", "•", "→", "€", "£", "¥", "°", "±", "½", "²", "№", "™", "।", "'"]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇯🇵", "1️⃣", "❤️", "☺", "👩🏿‍🚀", "🧑‍🤝‍🧑", "🎉🎊", "#️⃣", "🐈‍⬛", "♥︎", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"]
ODD = ["ﬁne", "ﬀ", "Ｆｕｌｌ", "ｶﾀｶﾅ", "𝔘𝔫𝔦", "𝟙𝟚", "İstanbul", "ısı", "ẞ", "STRASSE", "ΣΊΣΥΦΟΣ", "ǅ", "Å", "Å", "Ω", "ﷺ",
       "\u0000", "\u0007", "\ufffd", "\ue000", "\u200d", "\u00ad", "a\u0300\u0323", "q\u0323\u0307", "q\u0307\u0323",
       "각", "\u1100\u1161\u11a8", "क़", "ख़", "ཀྵ", "가\u11a8", "①②", "㎏", "㍿", "ₓ", "Ⅳ", "٣٤٥", "१२३", "𝟎", "''S", "I'LL",
       "we'VE", "it'\u017f", "'T", "'re", "o'clock", "<s>", "</s>", "<|endoftext|>", "[MASK]", "[SEP]", "<|end_of_text|>",
       "<unk>", "[UNK]", "<mask>", "a<mask> b", "▁", "▁▁x", "Ġ", "##ing", "<0x0A>", "\u0301", "e\u0301\u0301", "́a", "x" * 130,
       "ab" * 40, "\u4e00\u4e8c", "\U00020000", "\U0002b820", "ᬅ", "🤷", "don't do not", " ' "]
CASES = [str, str, str, str.upper, str.title, str.lower, str.swapcase]


def words_of(path):
    """The words in quotes of a locale's source."""
    text = open(path, encoding="utf-8", errors="ignore").read()
    found = set()
    for section in re.findall(r"\nLC_(?:TIME|ADDRESS|MESSAGES)\n.*?\nEND ", text, re.S):
        for quoted in re.findall(r'"([^"\n]*)"', section):
            plain = re.sub(r"<U([0-9A-Fa-f]{4,8})>", lambda m: chr(int(m.group(1), 16)), quoted)
            if "%" not in plain and "<" not in plain and "^" not in plain and plain.strip():
                found.add(plain.strip())
    return sorted(found)


def character(rng):
    """One that was assigned long ago and has kept its class, so that all libraries agree on it."""
    while True:
        code = rng.choice([rng.randrange(0x20, 0x2000), rng.randrange(0x2000, 0x10000), rng.randrange(0x10000, 0x30000)])
        category = unicodedata.ucd_3_2_0.category(chr(code))
        if category not in ("Cn", "Cs") and category == unicodedata.category(chr(code)):
            return chr(code)


def element(rng, words, language):
    draw = rng.random()
    if draw < 0.55:
        word = rng.choice(CASES)(rng.choice(words[language]))
        return unicodedata.normalize(rng.choice(["NFC", "NFC", "NFC", "NFD", "NFKD"]), word)
    if draw < 0.63:
        return str(rng.randrange(10 ** rng.randrange(1, 9)))
    if draw < 0.75:
        return rng.choice(SIGNS)
    if draw < 0.80:
        return "".join(rng.choice(EMOJI) for _ in range(rng.randrange(1, 3)))
    if draw < 0.90:
        return rng.choice(ODD)
    if draw < 0.93:
        return "".join(character(rng) for _ in range(rng.randrange(1, 5)))
    if draw < 0.95:
        marks = "".join(chr(rng.randrange(0x300, 0x350)) for _ in range(rng.randrange(1, 6)))
        return rng.choice("aeioun") + marks
    return rng.choice(rng.choice(SENTENCES).split(" "))


def string(rng, words):
    if rng.random() < 0.01:
        return rng.choice(["", " ", "\n", rng.choice(SENTENCES), rng.choice(ODD)])
    language, parts = rng.choice(LANGUAGES), []
    for _ in range(rng.randrange(1, 9)):
        if rng.random() < 0.1:
            language = rng.choice(LANGUAGES)
        parts.append(element(rng, words, language))
        if rng.random() < 0.75:
            parts.append(rng.choice(SPACES))
    return "".join(parts)


def trained(tokenizer, corpus, trainer):
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def byte_level(corpus, split, special, normalizer=None, vocabulary=VOCABULARY):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    if split:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(split), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False,
                                                                                     use_regex=False)])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return trained(tokenizer, corpus, trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))


def gpt2(corpus):
    tokenizer = byte_level(corpus, None, ["<|endoftext|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    return tokenizer


def roberta(corpus):
    tokenizer = byte_level(corpus, None, ["<s>", "<pad>", "</s>", "<unk>"], vocabulary=1000)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def llama3(corpus):
    tokenizer = byte_level(corpus, LLAMA3, ["<|begin_of_text|>", "<|end_of_text|>"])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])
    description = json.loads(tokenizer.to_str())
    description["model"]["ignore_merges"] = True
    whole = [" walking", "Überraschung"]  # words that merges don't make
    for word in whole:
        token = "".join(BYTES[b] for b in word.encode())
        description["model"]["vocab"].setdefault(token, len(description["model"]["vocab"]))
    return Tokenizer.from_str(json.dumps(description))


def qwen2(corpus):
    return byte_level(corpus, QWEN2, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], normalizers.NFC())


def llama2(corpus):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # for training only
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trained(tokenizer, corpus, trainers.BpeTrainer(vocab_size=VOCABULARY, limit_alphabet=400, show_progress=False,
                                                   special_tokens=["<unk>", "<s>", "</s>"] + fallback))
    description = json.loads(tokenizer.to_str())
    description["pre_tokenizer"] = None
    description["added_tokens"] = description["added_tokens"][:3]
    description["model"]["merges"] = [" ".join(pair) for pair in description["model"]["merges"]]  # the older form
    return Tokenizer.from_str(json.dumps(description))


def bert(corpus, lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trained(tokenizer, corpus, trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, show_progress=False, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def clip(corpus):
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>",
                                     continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                                 normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CLIP), "removed", invert=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False,
                                                                                use_regex=False)])
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.BPEDecoder("</w>")])
    return trained(tokenizer, corpus, trainers.BpeTrainer(
        vocab_size=1000, special_tokens=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))


def falcon(corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=False, right=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    tokenizer.decoder = decoders.ByteLevel()
    trained(tokenizer, corpus, trainers.BpeTrainer(
        vocab_size=1000, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    tokenizer.add_tokens([AddedToken("Tag", single_word=True), AddedToken("März", rstrip=True), AddedToken("Mai")])
    return tokenizer


def unigram(corpus):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(),
                                                       pre_tokenizers.Split("-", "merged_with_previous")])
    tokenizer.decoder = decoders.Metaspace()
    return trained(tokenizer, corpus, trainers.UnigramTrainer(
        vocab_size=1000, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False))


def words_alone(corpus):
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFD()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return trained(tokenizer, corpus, trainers.WordLevelTrainer(vocab_size=500, special_tokens=["<unk>", "</s>"],
                                                                show_progress=False))


def trained_model(corpus, **options):
    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus), model_prefix=folder + "/m", vocab_size=1500, num_threads=1,
            minloglevel=2, **options)
        return open(folder + "/m.model", "rb").read()


def byte_characters():
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or (b >= 0xA1 and b != 0xAD)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


BYTES = byte_characters()


def hash_of(ids):
    value = 0xCBF29CE484222325
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value & 0xFFFF:04x}"


def in_bytes(text, offsets):
    starts = [0]
    for c in text:
        starts.append(starts[-1] + len(c.encode()))
    return [[starts[begin], starts[end]] for begin, end in offsets]


def of_library(tokenizer):
    def encode(text):
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, in_bytes(text, encoding.offsets)
    return encode, tokenizer.decode, tokenizer.get_vocab_size()


def of_sentencepiece(model):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def encode(text):
        pieces = processor.encode(text, return_type="proto").pieces
        return [p.id for p in pieces], [[p.begin, p.end] for p in pieces]
    return encode, processor.decode, processor.get_piece_size()


def write(path, data):
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(data)


def expected(strings, encode, decode, vocabulary):
    found = {"vocabulary": vocabulary, "ids": [], "offsets": [], "decoded": [], "hashes": ""}
    for i, text in enumerate(strings):
        ids, offsets = encode(text)
        found["hashes"] += hash_of(ids)
        if i < IN_FULL:
            found["ids"].append(ids)
            found["offsets"].append(offsets)
            found["decoded"].append(decode(ids))
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def main():
    out = sys.argv[1]
    locales = sys.argv[2] if len(sys.argv) > 2 else "/usr/share/i18n/locales"
    os.makedirs(out, exist_ok=True)
    words = {language: words_of(os.path.join(locales, language)) for language in LANGUAGES}
    for language, found in words.items():
        assert len(found) >= 20, f"{language} has {len(found)} words only"
    rng = random.Random(5)
    strings = [string(rng, words) for _ in range(STRINGS)]
    corpus = SENTENCES * 20
    for language in LANGUAGES:
        for _ in range(40):
            corpus.append(" ".join(rng.choice(words[language]) for _ in range(10)))

    write(os.path.join(out, "strings.jsonl.gz"),
          "".join(json.dumps(s, ensure_ascii=False) + "\n" for s in strings).encode())
    made = {"gpt2": gpt2, "roberta": roberta, "llama3": llama3, "qwen2": qwen2, "llama2": llama2,
            "bert_uncased": lambda c: bert(c, True), "bert_cased": lambda c: bert(c, False), "clip": clip,
            "falcon": falcon, "unigram": unigram, "words": words_alone}
    for name, make in made.items():
        tokenizer = make(corpus)
        write(os.path.join(out, name + ".gz"), tokenizer.to_str().encode())
        write(os.path.join(out, name + ".expected.json.gz"), expected(strings, *of_library(tokenizer)))
    lines = [line for text in corpus for line in text.split("\n")]
    models_ = {"sp_unigram": dict(model_type="unigram", character_coverage=0.995),
               "sp_bpe": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                              remove_extra_whitespaces=False, character_coverage=0.98)}
    for name, options in models_.items():
        model = trained_model(lines, **options)
        write(os.path.join(out, name + ".gz"), model)
        write(os.path.join(out, name + ".expected.json.gz"), expected(strings, *of_sentencepiece(model)))
    total = sum(os.path.getsize(os.path.join(out, name)) for name in os.listdir(out))
    print(f"{len(strings)} strings, {len(made) + len(models_)} tokenizers, {total} bytes")


if __name__ == "__main__":
    main()
